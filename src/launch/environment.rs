//! The environment variables that zkServer.sh and zkEnv.sh read.

use std::env;
use std::path::{Path, PathBuf};

/// What the environment says of configuration, logs and process ids.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// `ZOOCFGDIR`: directory of the configuration.
    pub config_dir: Option<PathBuf>,
    /// `ZOOCFG`: name of the configuration in that directory.
    pub config_name: Option<String>,
    /// `ZOOPIDFILE`: file of the process id.
    pub pid_file: Option<PathBuf>,
    /// `ZOO_LOG_DIR`, by default `logs` in the working directory.
    pub log_dir: PathBuf,
    /// `USER`, for the name of the log.
    pub user: String,
    /// The machine's name, for the same.
    pub host: String,
    /// `ZOO_DATADIR_AUTOCREATE_DISABLE`: whether a missing data directory is an error.
    pub autocreate_disabled: bool,
}

impl Environment {
    /// The environment of this process. An empty variable counts as one that is not set.
    pub fn from_process() -> Environment {
        let text = |name| env::var(name).ok().filter(|value| !value.is_empty());
        Environment {
            config_dir: text("ZOOCFGDIR").map(PathBuf::from),
            config_name: text("ZOOCFG"),
            pid_file: text("ZOOPIDFILE").map(PathBuf::from),
            log_dir: text("ZOO_LOG_DIR").map_or_else(|| PathBuf::from("logs"), PathBuf::from),
            user: text("USER").unwrap_or_default(),
            host: host_name(),
            autocreate_disabled: text("ZOO_DATADIR_AUTOCREATE_DISABLE").is_some(),
        }
    }

    /// The zoo.cfg to use: a bare name is looked for in `ZOOCFGDIR`, anything else stands for
    /// itself; without a name it is `ZOOCFG`, by default zoo.cfg, there. `None` where neither a
    /// name nor a variable is given: the defaults.
    pub(super) fn config_path(&self, named: Option<&str>) -> Option<PathBuf> {
        let name = match (named, &self.config_name, &self.config_dir) {
            (Some(named), _, _) => named,
            (None, Some(name), _) => name,
            (None, None, Some(_)) => "zoo.cfg",
            (None, None, None) => return None,
        };
        Some(match &self.config_dir {
            Some(dir) if !name.contains('/') => dir.join(name),
            _ => PathBuf::from(name),
        })
    }

    /// The file that gets what a server in the background prints.
    pub(super) fn out_file(&self) -> PathBuf {
        let name = format!("zookeeper-{}-server-{}.out", self.user, self.host);
        self.log_dir.join(name)
    }

    /// The file of the process id of a server with this data directory.
    pub(super) fn pid_file(&self, data_dir: &Path) -> PathBuf {
        self.pid_file
            .clone()
            .unwrap_or_else(|| data_dir.join("zookeeper_server.pid"))
    }
}

/// The machine's name, or nothing if the system does not tell.
fn host_name() -> String {
    let mut name = [0_u8; 256];
    // SAFETY: the pointer and the length are those of a buffer that lives through the call; the
    // last byte is kept out of it, so that the name ends in a zero.
    let result = unsafe { libc::gethostname(name.as_mut_ptr().cast(), name.len() - 1) };
    if result != 0 {
        return String::new();
    }
    let end = name.iter().position(|&byte| byte == 0).unwrap_or(0);
    String::from_utf8_lossy(&name[..end]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_is_found_as_zkserver_finds_it() {
        let bare = Environment::default();
        let with_dir = Environment {
            config_dir: Some("/etc/zk".into()),
            ..Environment::default()
        };
        let with_both = Environment {
            config_name: Some("my.cfg".to_string()),
            ..with_dir.clone()
        };
        for (environment, named, expected) in [
            (&bare, None, None),
            (&bare, Some("zoo.cfg"), Some("zoo.cfg")),
            (&bare, Some("conf/zoo.cfg"), Some("conf/zoo.cfg")),
            (&with_dir, None, Some("/etc/zk/zoo.cfg")),
            (&with_dir, Some("a.cfg"), Some("/etc/zk/a.cfg")),
            (&with_dir, Some("./a.cfg"), Some("./a.cfg")),
            (&with_dir, Some("/b/a.cfg"), Some("/b/a.cfg")),
            (&with_both, None, Some("/etc/zk/my.cfg")),
            (&with_both, Some("a.cfg"), Some("/etc/zk/a.cfg")),
        ] {
            assert_eq!(
                environment.config_path(named),
                expected.map(PathBuf::from),
                "{named:?}"
            );
        }
    }

    #[test]
    fn files_are_named_as_zkserver_names_them() {
        let mut environment = Environment {
            log_dir: "/var/log/zk".into(),
            user: "ann".to_string(),
            host: "box".to_string(),
            ..Environment::default()
        };
        assert_eq!(
            environment.out_file(),
            Path::new("/var/log/zk/zookeeper-ann-server-box.out")
        );
        assert_eq!(
            environment.pid_file(Path::new("/d")),
            Path::new("/d/zookeeper_server.pid")
        );
        environment.pid_file = Some("/run/zk.pid".into());
        assert_eq!(
            environment.pid_file(Path::new("/d")),
            Path::new("/run/zk.pid")
        );
        assert!(!host_name().is_empty());
    }
}
