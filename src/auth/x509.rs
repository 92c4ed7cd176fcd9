//! Scheme `x509`: the subject of a client's certificate (Apache's `X509AuthenticationProvider`).

/// The attribute names that Java's `X500Principal` knows; others must be numeric identifiers.
const ATTRIBUTES: &[&str] = &[
    "CN",
    "C",
    "L",
    "S",
    "ST",
    "O",
    "OU",
    "T",
    "IP",
    "STREET",
    "DC",
    "DNQUALIFIER",
    "DNQ",
    "SURNAME",
    "GIVENNAME",
    "INITIALS",
    "GENERATION",
    "EMAIL",
    "EMAILADDRESS",
    "UID",
    "SERIALNUMBER",
];

/// Whether `id` is a distinguished name: attributes `name=value` with commas, semicolons or plus
/// signs between them, where quotes and backslashes protect those.
pub(super) fn is_valid(id: &str) -> bool {
    id.trim().is_empty() || attributes(id).is_some_and(|all| all.into_iter().all(is_attribute))
}

/// Splits at separators outside of quotes; `None` where a quote or escape is left open.
fn attributes(id: &str) -> Option<Vec<&str>> {
    let mut parts = Vec::new();
    let (mut start, mut quoted, mut escaped) = (0, false, false);
    for (at, character) in id.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => quoted = !quoted,
            ',' | ';' | '+' if !quoted => {
                parts.push(&id[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&id[start..]);
    (!quoted && !escaped).then_some(parts)
}

fn is_attribute(part: &str) -> bool {
    part.split_once('=').is_some_and(|(name, _)| {
        let name = name.trim().to_ascii_uppercase();
        ATTRIBUTES.contains(&name.as_str()) || is_object_identifier(&name)
    })
}

fn is_object_identifier(name: &str) -> bool {
    let numbers = name.strip_prefix("OID.").unwrap_or(name);
    numbers.contains('.')
        && numbers
            .split('.')
            .all(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::is_valid;

    #[test]
    fn form_of_names() {
        for (id, expected) in [
            ("CN=alice", true),
            ("CN=alice,OU=eng, O=\"Corp, Inc\"", true),
            ("CN=a\\,b;C=de", true),
            ("cn=a+uid=b", true),
            ("1.2.840=x", true),
            ("OID.1.2.840=x", true),
            ("", true),
            ("alice", false),
            ("WHO=alice", false),
            ("CN=a,,C=de", false),
            ("CN=\"a", false),
        ] {
            assert_eq!(is_valid(id), expected, "{id:?}");
        }
    }
}
