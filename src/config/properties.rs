//! The syntax of Java's properties files (`java.util.Properties.load`), which zoo.cfg has.
//!
//! Java reads such a file as ISO 8859-1. Here a file that is valid UTF-8 is read as UTF-8, so that
//! a path with an accent means what its author saw; any other file is read as Java does.

/// A key and its value, with spaces around both removed as Apache's `QuorumPeerConfig` does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Property {
    /// The line on which it begins, the first being 1.
    pub line: usize,
    /// The key, without its escapes.
    pub key: String,
    /// The value, without its escapes; empty where there is none.
    pub value: String,
}

/// A `\u` that four hexadecimal digits do not follow.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed \\uxxxx encoding")]
pub struct BadEscape {
    /// The line on which the property begins.
    pub line: usize,
}

/// Reads the properties of a file in the order in which they stand; a key may occur twice.
pub fn parse(bytes: &[u8]) -> Result<Vec<Property>, BadEscape> {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text.strip_prefix('\u{feff}').unwrap_or(text).to_string(),
        Err(_) => bytes.iter().map(|&byte| char::from(byte)).collect(),
    };
    logical_lines(&text)
        .into_iter()
        .map(|(line, content)| split(line, &content))
        .collect()
}

/// Joins continued lines and leaves out comments and blank lines. Escapes are left as they are.
fn logical_lines(text: &str) -> Vec<(usize, String)> {
    let mut lines = Vec::new();
    let mut pending: Option<(usize, String)> = None;
    for (index, natural) in natural_lines(text).enumerate() {
        let content = natural.trim_start_matches(is_space);
        let (start, mut whole) = match pending.take() {
            Some((start, mut whole)) => {
                whole.push_str(content);
                (start, whole)
            }
            None if content.is_empty() || content.starts_with(['#', '!']) => continue,
            None => (index + 1, content.to_string()),
        };
        if ends_in_continuation(content) {
            whole.pop();
            pending = Some((start, whole));
        } else {
            lines.push((start, whole));
        }
    }
    lines.extend(pending);
    lines
}

/// Lines that end in `\n`, `\r` or both.
fn natural_lines(text: &str) -> impl Iterator<Item = &str> {
    text.split('\n').flat_map(|line| {
        let line = line.strip_suffix('\r').unwrap_or(line);
        line.split('\r')
    })
}

/// A backslash at the end continues the line, unless another one escapes it.
fn ends_in_continuation(content: &str) -> bool {
    let backslashes = content.chars().rev().take_while(|&c| c == '\\').count();
    backslashes % 2 == 1
}

/// The key ends at the first separator that is not escaped; one `=` or `:` among spaces parts it
/// from the value.
fn split(line: usize, content: &str) -> Result<Property, BadEscape> {
    let mut escaped = false;
    let key_end = content
        .char_indices()
        .find(|&(_, character)| {
            let ends = !escaped && (is_space(character) || matches!(character, '=' | ':'));
            escaped = !escaped && character == '\\';
            ends
        })
        .map_or(content.len(), |(at, _)| at);
    let rest = content[key_end..].trim_start_matches(is_space);
    let rest = rest.strip_prefix(['=', ':']).unwrap_or(rest);
    let value = rest.trim_start_matches(is_space);
    let decode = |raw: &str| unescape(raw).ok_or(BadEscape { line });
    Ok(Property {
        line,
        key: decode(&content[..key_end])?.trim().to_string(),
        value: decode(value)?.trim().to_string(),
    })
}

/// Resolves escapes; `None` where a `\u` is malformed. Two escaped halves of a surrogate pair make
/// one character, a half alone becomes the replacement character.
fn unescape(raw: &str) -> Option<String> {
    let mut units: Vec<u16> = Vec::with_capacity(raw.len());
    let mut characters = raw.chars();
    let mut buffer = [0; 2];
    while let Some(character) = characters.next() {
        if character != '\\' {
            units.extend_from_slice(character.encode_utf16(&mut buffer));
            continue;
        }
        let Some(escaped) = characters.next() else {
            break;
        };
        let meant = match escaped {
            'u' => {
                let digits: String = characters.by_ref().take(4).collect();
                let all_hex = digits.len() == 4 && digits.bytes().all(|b| b.is_ascii_hexdigit());
                units.push(u16::from_str_radix(&digits, 16).ok().filter(|_| all_hex)?);
                continue;
            }
            't' => '\t',
            'n' => '\n',
            'r' => '\r',
            'f' => '\u{c}',
            other => other,
        };
        units.extend_from_slice(meant.encode_utf16(&mut buffer));
    }
    Some(String::from_utf16_lossy(&units))
}

fn is_space(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\u{c}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &str) -> Vec<(usize, String, String)> {
        parse(text.as_bytes())
            .expect("no malformed escape")
            .into_iter()
            .map(|p| (p.line, p.key, p.value))
            .collect()
    }

    #[test]
    fn one_line_forms() {
        for (text, key, value) in [
            ("a=b", "a", "b"),
            ("a:b", "a", "b"),
            ("a b", "a", "b"),
            ("a\tb", "a", "b"),
            ("  a = b  ", "a", "b"),
            ("a : b", "a", "b"),
            ("a = = b", "a", "= b"),
            ("a", "a", ""),
            ("a=", "a", ""),
            ("=b", "", "b"),
            ("a=b=c", "a", "b=c"),
            ("a=b # not a comment", "a", "b # not a comment"),
            (
                "server.1=host:2888:3888;2181",
                "server.1",
                "host:2888:3888;2181",
            ),
            ("a\\=b=c", "a=b", "c"),
            ("a\\ b=c", "a b", "c"),
            ("a\\\\=c", "a\\", "c"),
            ("a=C:\\\\data\\tx", "a", "C:\\data\tx"),
            ("a=\\u0041\\u00e9", "a", "A\u{e9}"),
            ("a=\\ud83d\\ude00", "a", "\u{1f600}"),
            ("a=\\q", "a", "q"),
            ("a=b\\\\", "a", "b\\"),
            ("a=b\\", "a", "b"),
            ("a=caf\u{e9}", "a", "caf\u{e9}"),
        ] {
            assert_eq!(
                pairs(text),
                [(1, key.to_string(), value.to_string())],
                "{text:?}"
            );
        }
    }

    #[test]
    fn comments_blank_lines_and_continuations() {
        let text = "# one\n! two\n\n   \n  # three\r\na=b\\\n   c\\\r\n   # d\ne=f\rg=h\\\n\ni=j";
        assert_eq!(
            pairs(text),
            [
                (6, "a".to_string(), "bc# d".to_string()),
                (9, "e".to_string(), "f".to_string()),
                (10, "g".to_string(), "h".to_string()),
                (12, "i".to_string(), "j".to_string()),
            ]
        );
        assert_eq!(pairs("# comment \\\na=b"), [(2, "a".into(), "b".into())]);
        assert_eq!(pairs(""), []);
    }

    #[test]
    fn malformed_escapes_are_refused_with_their_line() {
        for text in ["\na=\\u12", "\na=\\u12g4", "\n\\u+123=a"] {
            assert_eq!(
                parse(text.as_bytes()),
                Err(BadEscape { line: 2 }),
                "{text:?}"
            );
        }
    }

    #[test]
    fn other_bytes_are_read_as_latin_1() {
        let properties = parse(b"a=caf\xe9").expect("no escape");
        assert_eq!(properties[0].value, "caf\u{e9}");
    }
}
