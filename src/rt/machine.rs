//! What the word `envi` tells of the machine and the process (Apache's `Environment`).

use std::env;
use std::fs;

/// Names and values in Apache's order, without the version. What only a Java process has is named
/// for those who look for it, and says that it is not there.
pub fn environment() -> Vec<(String, String)> {
    const NO_JAVA: &str = "not a Java process";
    let memory_kib = |name: &str| -> u64 {
        let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok())
            .unwrap_or(0)
    };
    let mib = |kib: u64| format!("{}MB", kib / 1024);
    let variable = |name: &str| env::var(name).unwrap_or_else(|_| "?".into());
    let kernel = |name: &str| {
        let text = fs::read_to_string(format!("/proc/sys/kernel/{name}")).unwrap_or_default();
        text.trim().to_owned()
    };
    let folder = env::current_dir()
        .map(|path| path.display().to_string())
        .unwrap_or_default();
    [
        ("host.name", kernel("hostname")),
        ("java.version", NO_JAVA.into()),
        ("java.vendor", NO_JAVA.into()),
        ("java.home", NO_JAVA.into()),
        ("java.class.path", NO_JAVA.into()),
        ("java.library.path", NO_JAVA.into()),
        ("java.io.tmpdir", env::temp_dir().display().to_string()),
        ("java.compiler", NO_JAVA.into()),
        ("os.name", kernel("ostype")),
        ("os.arch", env::consts::ARCH.into()),
        ("os.version", kernel("osrelease")),
        ("user.name", variable("USER")),
        ("user.home", variable("HOME")),
        ("user.dir", folder),
        ("os.memory.free", mib(memory_kib("MemAvailable:"))),
        ("os.memory.max", mib(memory_kib("MemTotal:"))),
        ("os.memory.total", mib(memory_kib("MemTotal:"))),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}
