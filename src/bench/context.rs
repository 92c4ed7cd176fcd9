//! The machine that figures depend on.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

/// Processor, kernel and disk.
#[derive(Debug, Serialize)]
pub struct Context {
    processor: String,
    processors: usize,
    memory_bytes: u64,
    kernel: String,
    /// File system and device where the server has its files; where the server's process is not
    /// known, of the current folder.
    disk: String,
    /// The load average of the last minute when the load had ended.
    load_average: f64,
}

impl Context {
    /// What the kernel tells; the disk is that of the first of `servers` that can be asked.
    pub fn of_this_machine(servers: &[u32]) -> Context {
        let processor = line_of("/proc/cpuinfo", "model name").unwrap_or_default();
        let memory = line_of("/proc/meminfo", "MemTotal").unwrap_or_default();
        let memory_kib: u64 = memory
            .split(' ')
            .next()
            .and_then(|kib| kib.parse().ok())
            .unwrap_or(0);
        let folder = servers
            .iter()
            .find_map(|&pid| data_folder(pid))
            .or_else(|| std::env::current_dir().ok())
            .unwrap_or_default();
        let load = text_of("/proc/loadavg");
        Context {
            processor,
            processors: std::thread::available_parallelism().map_or(0, |count| count.get()),
            memory_bytes: memory_kib * 1024,
            kernel: text_of("/proc/sys/kernel/osrelease").trim().to_owned(),
            disk: disk_of(&folder, &text_of("/proc/self/mounts")),
            load_average: load
                .split(' ')
                .next()
                .and_then(|load| load.parse().ok())
                .unwrap_or(0.0),
        }
    }
}

impl fmt::Display for Context {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "{} × {}, {:.1} GiB, Linux {}, {}, load {:.2}",
            self.processors,
            self.processor,
            self.memory_bytes as f64 / f64::from(1 << 30),
            self.kernel,
            self.disk,
            self.load_average
        )
    }
}

/// The folder of a file that a process writes its data to: the longest of its open files.
fn data_folder(pid: u32) -> Option<PathBuf> {
    let files = fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
    let largest = files
        .flatten()
        .filter_map(|entry| fs::read_link(entry.path()).ok())
        .filter(|path| path.is_file() && !path.starts_with("/proc"))
        // Libraries and classes are open too, but not below a data folder of ZooKeeper's.
        .filter(|path| {
            let folder = path.parent().and_then(Path::file_name);
            folder.is_some_and(|name| name == "version-2" || name == "zkore-1")
        })
        .max()?;
    largest.parent().map(Path::to_owned)
}

/// Type and device of the file system that holds `folder`.
fn disk_of(folder: &Path, mounts: &str) -> String {
    let mut best: Option<(&str, &str, &str)> = None;
    for line in mounts.lines() {
        let mut fields = line.split(' ');
        if let (Some(device), Some(mount), Some(kind)) =
            (fields.next(), fields.next(), fields.next())
            && folder.starts_with(mount)
            && best.is_none_or(|(_, known, _)| known.len() <= mount.len())
        {
            best = Some((device, mount, kind));
        }
    }
    best.map_or_else(
        || "unknown disk".to_owned(),
        |(device, _, kind)| format!("{kind} on {device}"),
    )
}

fn text_of(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// What follows the colon in the first line that starts with `name`.
fn line_of(path: &str, name: &str) -> Option<String> {
    let text = text_of(path);
    let line = text.lines().find(|line| line.starts_with(name))?;
    let (_, value) = line.split_once(':')?;
    Some(value.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_disk_is_that_of_the_innermost_mount() {
        let mounts =
            "/dev/vda / ext4 rw 0 0\ntmpfs /tmp tmpfs rw 0 0\n/dev/vdb /tmp/data xfs rw 0 0\n";
        for (folder, disk) in [
            ("/tmp/data/zkore-1", "xfs on /dev/vdb"),
            ("/tmp/other", "tmpfs on tmpfs"),
            ("/home", "ext4 on /dev/vda"),
        ] {
            assert_eq!(disk_of(Path::new(folder), mounts), disk);
        }
        assert_eq!(disk_of(Path::new("/x"), ""), "unknown disk");
    }

    #[test]
    fn this_machine_says_what_it_is() {
        let context = Context::of_this_machine(&[]);
        assert!(context.processors > 0 && context.memory_bytes > 0);
        assert!(!context.kernel.is_empty() && context.disk != "unknown disk");
    }
}
