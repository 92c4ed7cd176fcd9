//! Access control lists as written on a command line (Apache's `AclParser`).

use crate::jute::data::Acl;
use crate::types::perms;

/// Reads `scheme:id:perms,scheme:id:perms`. Identities may hold colons. What cannot be read is
/// left out, and `complain` told why, as the reference does.
pub fn parse(text: &str, mut complain: impl FnMut(String)) -> Vec<Acl> {
    let mut entries: Vec<&str> = text.split(',').collect();
    // Java's `split` leaves out empty strings at the end.
    while entries.len() > 1 && entries.last().is_some_and(|entry| entry.is_empty()) {
        entries.pop();
    }
    let mut acl = Vec::new();
    for entry in entries {
        match (entry.find(':'), entry.rfind(':')) {
            (Some(first), Some(last)) if first < last => acl.push(Acl {
                perms: parse_perms(&entry[last + 1..], &mut complain),
                scheme: entry[..first].to_owned(),
                id: entry[first + 1..last].to_owned(),
            }),
            _ => complain(format!("{entry} does not have the form scheme:id:perm")),
        }
    }
    acl
}

fn parse_perms(letters: &str, complain: &mut impl FnMut(String)) -> i32 {
    let mut bits = 0;
    for letter in letters.chars() {
        bits |= match letter {
            'r' => perms::READ,
            'w' => perms::WRITE,
            'c' => perms::CREATE,
            'd' => perms::DELETE,
            'a' => perms::ADMIN,
            unknown => {
                complain(format!("Unknown perm type: {unknown}"));
                0
            }
        };
    }
    bits
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> (Vec<(i32, String, String)>, Vec<String>) {
        let mut complaints = Vec::new();
        let acl = parse(text, |complaint| complaints.push(complaint));
        let acl = acl.into_iter().map(|acl| (acl.perms, acl.scheme, acl.id));
        (acl.collect(), complaints)
    }

    #[test]
    fn entries_and_complaints() {
        let entry = |perms, scheme: &str, id: &str| (perms, scheme.to_owned(), id.to_owned());
        for (text, entries, complaints) in [
            ("world:anyone:r", vec![entry(1, "world", "anyone")], vec![]),
            (
                "digest:u:pw=:cdrwa,ip:10.0.0.1/8:r,",
                vec![entry(31, "digest", "u:pw="), entry(1, "ip", "10.0.0.1/8")],
                vec![],
            ),
            ("auth::rw", vec![entry(3, "auth", "")], vec![]),
            (
                "world:r,x",
                vec![],
                vec![
                    "world:r does not have the form scheme:id:perm",
                    "x does not have the form scheme:id:perm",
                ],
            ),
            (
                "world:anyone:rz",
                vec![entry(1, "world", "anyone")],
                vec!["Unknown perm type: z"],
            ),
        ] {
            let complaints: Vec<String> = complaints.into_iter().map(str::to_owned).collect();
            assert_eq!(parsed(text), (entries, complaints), "{text}");
        }
    }
}
