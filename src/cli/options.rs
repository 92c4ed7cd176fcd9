//! Options of a command, parsed as Apache's zkCli has them parsed (commons-cli's `DefaultParser`).

/// One option.
#[derive(Clone, Copy, Debug)]
pub struct Opt {
    /// The name behind the dash.
    pub name: &'static str,
    /// Whether a value follows.
    pub has_value: bool,
    /// What the help says of it.
    pub description: &'static str,
}

/// An option without a value.
pub const fn flag(name: &'static str, description: &'static str) -> Opt {
    Opt {
        name,
        has_value: false,
        description,
    }
}

/// An option with a value.
pub const fn value(name: &'static str, description: &'static str) -> Opt {
    Opt {
        name,
        has_value: true,
        description,
    }
}

/// The options of a command.
#[derive(Clone, Copy, Debug)]
pub struct Spec {
    /// The options.
    pub options: &'static [Opt],
    /// Whether they exclude each other, and whether one of them must be given.
    pub group: Group,
}

/// How the options of a command belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// Any of them.
    Any,
    /// At most one.
    AtMostOne,
    /// Exactly one.
    One,
}

/// Why arguments are refused; displays as zkCli prints it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptionError {
    /// An option that the command does not have.
    #[error("org.apache.commons.cli.UnrecognizedOptionException: Unrecognized option: {0}")]
    Unrecognized(String),
    /// An option stands without its value.
    #[error("org.apache.commons.cli.MissingArgumentException: Missing argument for option: {0}")]
    MissingValue(&'static str),
    /// Two options that exclude each other.
    #[error(
        "org.apache.commons.cli.AlreadySelectedException: The option '{second}' was specified \
         but an option from this group has already been selected: '{first}'"
    )]
    AlreadySelected {
        /// The option that came first.
        first: &'static str,
        /// The option that is too many.
        second: &'static str,
    },
    /// None of the options of which one must be given; holds their list.
    #[error("org.apache.commons.cli.MissingOptionException: Missing required option: [{0}]")]
    Missing(String),
}

/// Arguments after parsing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parsed {
    /// The command's name and its arguments without the options.
    pub args: Vec<String>,
    options: Vec<(&'static str, Option<String>)>,
}

impl Parsed {
    /// Whether an option was given.
    pub fn has(&self, name: &str) -> bool {
        self.options.iter().any(|(given, _)| *given == name)
    }

    /// The first value given to an option.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.options
            .iter()
            .filter(|(given, _)| *given == name)
            .find_map(|(_, value)| value.as_deref())
    }
}

impl Spec {
    /// No options.
    pub const NONE: Spec = Spec::any(&[]);

    /// Options that do not depend on each other.
    pub const fn any(options: &'static [Opt]) -> Spec {
        Spec {
            options,
            group: Group::Any,
        }
    }

    /// Parses a command line, the command's name first. Options and arguments may be mixed.
    pub fn parse(&self, words: &[String]) -> Result<Parsed, OptionError> {
        let mut parser = Parser {
            spec: self,
            parsed: Parsed::default(),
            open: None,
        };
        let mut only_arguments = false;
        for word in words {
            if only_arguments {
                parser.parsed.args.push(word.clone());
            } else if word == "--" {
                only_arguments = true;
            } else {
                parser.take(word)?;
            }
        }
        parser.end()
    }

    /// The table of options, one a line, as commons-cli's `HelpFormatter` lays it out.
    pub fn help(&self) -> String {
        let mut options: Vec<&Opt> = self.options.iter().collect();
        options.sort_by_key(|option| option.name.to_lowercase());
        let left = |option: &Opt| {
            let value = if option.has_value { " <arg>" } else { "" };
            format!(" -{}{value}", option.name)
        };
        let width = options.iter().map(|option| left(option).len()).max();
        let width = width.unwrap_or_default();
        options
            .iter()
            .map(|option| format!("{:<width$}   {}\n", left(option), option.description))
            .collect()
    }

    fn find(&self, name: &str) -> Option<&'static Opt> {
        self.options.iter().find(|option| option.name == name)
    }

    /// Whether a word is an option of this command, with or without something attached to it.
    fn is_option(&self, word: &str) -> bool {
        let Some(name) = word.strip_prefix('-') else {
            return false;
        };
        let name = name.split('=').next().unwrap_or_default();
        let first = name.chars().next().map(String::from).unwrap_or_default();
        self.find(name).is_some() || self.find(&first).is_some()
    }
}

struct Parser<'a> {
    spec: &'a Spec,
    parsed: Parsed,
    /// The option that waits for its value.
    open: Option<&'static Opt>,
}

impl Parser<'_> {
    fn take(&mut self, word: &str) -> Result<(), OptionError> {
        if self.open.is_some() && (!self.spec.is_option(word) || word.parse::<f64>().is_ok()) {
            self.give_value(unquote(word));
            return Ok(());
        }
        match word.strip_prefix('-') {
            None | Some("") => {
                self.parsed.args.push(word.to_owned());
                Ok(())
            }
            Some(long) if long.starts_with('-') => Err(OptionError::Unrecognized(word.to_owned())),
            Some(name) => self.take_option(word, name),
        }
    }

    fn take_option(&mut self, word: &str, name: &str) -> Result<(), OptionError> {
        let unrecognized = || OptionError::Unrecognized(word.to_owned());
        if let Some((name, value)) = name.split_once('=') {
            let option = self
                .spec
                .find(name)
                .filter(|option| option.has_value && option.name.len() == 1)
                .ok_or_else(unrecognized)?;
            self.give_option(option)?;
            self.give_value(value);
            return Ok(());
        }
        if let Some(option) = self.spec.find(name) {
            return self.give_option(option);
        }
        // Several of one letter each; what follows one that takes a value is the value.
        for (at, letter) in name.char_indices() {
            let option = self
                .spec
                .find(letter.encode_utf8(&mut [0; 4]))
                .ok_or_else(unrecognized)?;
            self.give_option(option)?;
            let rest = &name[at + letter.len_utf8()..];
            if self.open.is_some() && !rest.is_empty() {
                self.give_value(rest);
                break;
            }
        }
        Ok(())
    }

    fn give_option(&mut self, option: &'static Opt) -> Result<(), OptionError> {
        self.check_closed()?;
        let selected = self.parsed.options.first().map(|(name, _)| *name);
        if let Some(first) = selected
            && self.spec.group != Group::Any
            && first != option.name
        {
            return Err(OptionError::AlreadySelected {
                first,
                second: option.name,
            });
        }
        self.parsed.options.push((option.name, None));
        self.open = option.has_value.then_some(option);
        Ok(())
    }

    fn give_value(&mut self, value: &str) {
        self.open = None;
        let (_, slot) = self
            .parsed
            .options
            .last_mut()
            .expect("a value is given to the option that came last");
        *slot = Some(value.to_owned());
    }

    fn check_closed(&self) -> Result<(), OptionError> {
        match self.open {
            Some(option) => Err(OptionError::MissingValue(option.name)),
            None => Ok(()),
        }
    }

    fn end(self) -> Result<Parsed, OptionError> {
        self.check_closed()?;
        if self.spec.group == Group::One && self.parsed.options.is_empty() {
            let list: Vec<String> = self
                .spec
                .options
                .iter()
                .map(|option| format!("-{} {}", option.name, option.description))
                .collect();
            return Err(OptionError::Missing(list.join(", ")));
        }
        Ok(self.parsed)
    }
}

/// Takes off double quotes that enclose a value without any inside.
fn unquote(value: &str) -> &str {
    value
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
        .filter(|inner| !inner.contains('"'))
        .unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPEC: Spec = Spec::any(&[
        flag("s", "stats"),
        flag("w", "watch"),
        value("v", "version"),
        value("file", "file"),
    ]);
    const ONE: Spec = Spec {
        options: &[value("n", "num"), value("b", "bytes")],
        group: Group::One,
    };

    fn parse(spec: &Spec, line: &str) -> Result<Parsed, String> {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        spec.parse(&words).map_err(|error| error.to_string())
    }

    #[test]
    fn options_and_arguments_mix() {
        for (line, args, version) in [
            ("set /x d -s -v 3", vec!["set", "/x", "d"], Some("3")),
            ("set -sv3 /x", vec!["set", "/x"], Some("3")),
            ("set -s -v=3 /x", vec!["set", "/x"], Some("3")),
            ("set -s -v -1 /x", vec!["set", "/x"], Some("-1")),
            ("set -s -- -v /x", vec!["set", "-v", "/x"], None),
            ("set -s - /x", vec!["set", "-", "/x"], None),
        ] {
            let parsed = parse(&SPEC, line).expect(line);
            assert_eq!(parsed.args, args, "{line}");
            assert_eq!(parsed.value("v"), version, "{line}");
            assert!(parsed.has("s") && !parsed.has("w"), "{line}");
        }
        let parsed = parse(&SPEC, "x -file a").expect("several letters");
        assert_eq!(parsed.value("file"), Some("a"));
    }

    #[test]
    fn refusals_are_worded_as_the_reference_words_them() {
        for (spec, line, message) in [
            (
                &SPEC,
                "get -z /x",
                "UnrecognizedOptionException: Unrecognized option: -z",
            ),
            (
                &SPEC,
                "set /x -5",
                "UnrecognizedOptionException: Unrecognized option: -5",
            ),
            (
                &SPEC,
                "get --s /x",
                "UnrecognizedOptionException: Unrecognized option: --s",
            ),
            (
                &SPEC,
                "delete -v",
                "MissingArgumentException: Missing argument for option: v",
            ),
            (
                &SPEC,
                "delete -v -s",
                "MissingArgumentException: Missing argument for option: v",
            ),
            (
                &ONE,
                "setquota /x",
                "MissingOptionException: Missing required option: [-n num, -b bytes]",
            ),
            (
                &ONE,
                "setquota -n 1 -b 2 /x",
                "AlreadySelectedException: The option 'b' was specified but an option from this \
                 group has already been selected: 'n'",
            ),
        ] {
            let error = parse(spec, line).expect_err(line);
            assert_eq!(error, format!("org.apache.commons.cli.{message}"), "{line}");
        }
    }

    #[test]
    fn help_is_a_table() {
        assert_eq!(
            SPEC.help(),
            " -file <arg>   file\n -s            stats\n -v <arg>      version\n -w            watch\n"
        );
    }
}
