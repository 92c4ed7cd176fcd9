//! How a line becomes words (the patterns of Apache's `ZooKeeperMain.MyCommandOptions`).

/// Splits a line into words. A word in single or double quotes keeps its blanks; a quote that is
/// not closed, or that stands between words, is passed over.
pub fn split(line: &str) -> Vec<String> {
    let characters: Vec<char> = line.chars().collect();
    let mut words = Vec::new();
    let mut at = 0;
    while at < characters.len() {
        match word_at(&characters, at) {
            Some((word, end)) => {
                words.push(unquote(word));
                at = end;
            }
            None => at += 1,
        }
    }
    words
}

/// The word that begins at `at` or after the blanks there, and where the next may begin.
fn word_at(characters: &[char], at: usize) -> Option<(String, usize)> {
    let blanks = count(&characters[at..], is_blank);
    // Blanks before a word belong to it only where no word could begin behind them.
    for start in (at..=at + blanks).rev() {
        let Some(&first) = characters.get(start) else {
            continue;
        };
        let length = if first == '"' || first == '\'' {
            let inside = count(&characters[start + 1..], |c| c != first);
            if start + 1 + inside == characters.len() {
                continue;
            }
            inside + 2
        } else {
            1 + count(&characters[start + 1..], |c| !is_blank(c))
        };
        let end = start + length;
        let word = characters[start..end].iter().collect();
        return Some((word, end + count(&characters[end..], is_blank)));
    }
    None
}

fn unquote(word: String) -> String {
    for quote in ['"', '\''] {
        let inner = word
            .strip_prefix(quote)
            .and_then(|rest| rest.strip_suffix(quote));
        if let Some(inner) = inner {
            return inner.to_owned();
        }
    }
    word
}

fn count(characters: &[char], matches: impl Fn(char) -> bool) -> usize {
    characters.iter().take_while(|&&c| matches(c)).count()
}

/// What `\s` matches in Java.
fn is_blank(character: char) -> bool {
    matches!(character, ' ' | '\t'..='\r')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_split_as_the_reference_splits_them() {
        for (line, words) in [
            ("ls /", vec!["ls", "/"]),
            ("  ls\t/  ", vec!["ls", "/"]),
            ("create /x \"a b\"", vec!["create", "/x", "a b"]),
            ("create /x 'a \"b\"'", vec!["create", "/x", "a \"b\""]),
            ("create /x \"\"", vec!["create", "/x", ""]),
            ("set /x a\"b c\"", vec!["set", "/x", "a\"b", "c\""]),
            ("set /x {\"a\":1}", vec!["set", "/x", "{\"a\":1}"]),
            ("get \"/x", vec!["get", "/x"]),
            (" \"/x", vec![" \"/x"]),
            ("'a''b'", vec!["a", "b"]),
            (" ", vec![" "]),
            ("", vec![]),
            ("\"", vec![]),
            (
                "set /x gr\u{fc}\u{df}e",
                vec!["set", "/x", "gr\u{fc}\u{df}e"],
            ),
        ] {
            assert_eq!(split(line), words, "{line:?}");
        }
    }
}
