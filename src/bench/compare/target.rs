//! A target on the command line.

use std::str::FromStr;

use serde::Serialize;

/// Servers that are measured as one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Target {
    /// How reports call it.
    pub name: String,
    /// `HOST:PORT` of each server.
    pub servers: Vec<String>,
    /// Processes whose processor time and memory are its.
    pub pids: Vec<u32>,
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Target, String> {
        let (name, rest) = text.split_once('=').ok_or("NAME=HOST:PORT,… is expected")?;
        let (servers, pids) = match rest.split_once('@') {
            Some((servers, pids)) => (servers, Some(pids)),
            None => (rest, None),
        };
        if name.is_empty() || servers.split(',').any(str::is_empty) {
            return Err("a name and at least one server are expected".to_owned());
        }
        let pid = |text: &str| {
            let parsed = text.parse::<u32>();
            parsed.map_err(|_| format!("`{text}` is not a process"))
        };
        Ok(Target {
            name: name.to_owned(),
            servers: servers.split(',').map(str::to_owned).collect(),
            pids: pids
                .map(|pids| pids.split(',').map(pid).collect())
                .transpose()?
                .unwrap_or_default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_parsed() {
        let target: Target = "z=a:1,b:2@3,4".parse().expect("valid");
        assert_eq!(target.name, "z");
        assert_eq!(target.servers, ["a:1", "b:2"]);
        assert_eq!(target.pids, [3, 4]);
        for bad in ["", "a:1", "=a:1", "z=", "z=a:1,", "z=a:1@", "z=a:1@x"] {
            assert!(bad.parse::<Target>().is_err(), "`{bad}`");
        }
    }
}
