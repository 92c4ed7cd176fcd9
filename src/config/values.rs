//! Readers of single values. Each says what it would have taken when it does not take a value.

use std::ops::RangeInclusive;
use std::path::PathBuf;

/// What a key would have taken instead of the value that it was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Expected(pub String);

/// A decimal number (Java's `parseInt`, as Apache reads the keys of zoo.cfg proper).
pub(super) fn decimal(value: &str, range: RangeInclusive<i64>) -> Result<i64, Expected> {
    value
        .parse()
        .ok()
        .filter(|number| range.contains(number))
        .ok_or_else(|| expected_number(&range))
}

/// A number as Java's `decode` reads it, as Apache reads system properties: decimal, `0x` or `#`
/// hexadecimal, or octal after a leading 0.
pub(super) fn decoded(value: &str, range: RangeInclusive<i64>) -> Result<i64, Expected> {
    decode(value)
        .filter(|number| range.contains(number))
        .ok_or_else(|| expected_number(&range))
}

fn decode(value: &str) -> Option<i64> {
    let (negative, digits) = match value.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, value.strip_prefix('+').unwrap_or(value)),
    };
    let (radix, digits) = if let Some(rest) = digits
        .strip_prefix("0x")
        .or_else(|| digits.strip_prefix("0X"))
        .or_else(|| digits.strip_prefix('#'))
    {
        (16, rest)
    } else if digits.len() > 1 && digits.starts_with('0') {
        (8, &digits[1..])
    } else {
        (10, digits)
    };
    // A second sign would be taken by from_str_radix.
    if !digits.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return None;
    }
    let magnitude = i128::from_str_radix(digits, radix).ok()?;
    i64::try_from(if negative { -magnitude } else { magnitude }).ok()
}

fn expected_number(range: &RangeInclusive<i64>) -> Expected {
    Expected(match (*range.start(), *range.end()) {
        (i64::MIN, i64::MAX) => "a whole number".to_string(),
        (start, i64::MAX) => format!("a whole number from {start}"),
        (start, end) => format!("a whole number from {start} to {end}"),
    })
}

/// `true` or `false` in any case.
pub(super) fn boolean(value: &str) -> Result<bool, Expected> {
    if value.eq_ignore_ascii_case("true") {
        Ok(true)
    } else if value.eq_ignore_ascii_case("false") {
        Ok(false)
    } else {
        Err(Expected("true or false".to_string()))
    }
}

/// `yes` or `no`.
pub(super) fn yes_or_no(value: &str) -> Result<bool, Expected> {
    match value {
        "yes" => Ok(true),
        "no" => Ok(false),
        _ => Err(Expected("yes or no".to_string())),
    }
}

/// A directory's path, which need not exist.
pub(super) fn directory(value: &str) -> Result<PathBuf, Expected> {
    if value.is_empty() || value.contains('\0') {
        return Err(Expected("the path of a directory".to_string()));
    }
    Ok(PathBuf::from(value))
}

/// Any text but none.
pub(super) fn text(value: &str, what: &str) -> Result<String, Expected> {
    if value.is_empty() {
        return Err(Expected(what.to_string()));
    }
    Ok(value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_java_does() {
        let any = i64::MIN..=i64::MAX;
        for (value, expected) in [
            ("12", Some(12)),
            ("-1", Some(-1)),
            ("+5", Some(5)),
            ("0", Some(0)),
            ("0x10", Some(16)),
            ("0XfF", Some(255)),
            ("#a", Some(10)),
            ("-0x10", Some(-16)),
            ("010", Some(8)),
            ("-9223372036854775808", Some(i64::MIN)),
            ("09", None),
            ("0x", None),
            ("0x-1", None),
            ("--1", None),
            ("+-1", None),
            ("", None),
            ("1 2", None),
            ("9223372036854775808", None),
            ("1k", None),
        ] {
            assert_eq!(decoded(value, any.clone()).ok(), expected, "{value:?}");
        }
        assert_eq!(decimal("010", any.clone()), Ok(10));
        assert!(decimal("0x10", any).is_err());
    }

    #[test]
    fn the_allowed_range_is_said() {
        let allowed = |range| decimal("x", range).expect_err("not a number").0;
        assert_eq!(allowed(0..=65_535), "a whole number from 0 to 65535");
        assert_eq!(allowed(1..=i64::MAX), "a whole number from 1");
        assert_eq!(allowed(i64::MIN..=i64::MAX), "a whole number");
    }
}
