//! What the kernel tells of processes: processor time, memory, limits.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// What a process has used so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Processor time of all its threads, user and system.
    pub processor: Duration,
    /// Resident memory in bytes.
    pub resident_bytes: u64,
}

/// What process `pid` has used. Its processor time comes in ticks, usually of 10 ms.
pub fn usage_of(pid: u32) -> io::Result<Usage> {
    let file = |name: &str| {
        let path: PathBuf = ["/proc", &pid.to_string(), name].iter().collect();
        std::fs::read_to_string(path)
    };
    let strange = || io::Error::new(io::ErrorKind::InvalidData, "unexpected format");
    let ticks = processor_ticks(&file("stat")?).ok_or_else(strange)?;
    let resident_bytes = resident_bytes(&file("status")?).ok_or_else(strange)?;
    Ok(Usage {
        processor: Duration::from_secs_f64(ticks as f64 / ticks_per_s()),
        resident_bytes,
    })
}

/// The processor time of this process, user and system.
pub fn own_processor_time() -> Duration {
    // SAFETY: all-zero bytes are a valid `rusage`, which holds only integers.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a `rusage` of ours, which the call fills in.
    let code = unsafe { libc::getrusage(libc::RUSAGE_SELF, &mut usage) };
    assert_eq!(code, 0, "getrusage of oneself has no way to fail");
    let duration = |time: libc::timeval| {
        Duration::from_secs(time.tv_sec as u64) + Duration::from_micros(time.tv_usec as u64)
    };
    duration(usage.ru_utime) + duration(usage.ru_stime)
}

/// The resident memory of this process, in bytes.
pub fn own_resident_bytes() -> io::Result<u64> {
    Ok(usage_of(std::process::id())?.resident_bytes)
}

/// Allows `count` open files, as far as the hard limit lets us.
pub fn allow_open_files(count: u64) -> io::Result<()> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the pointer is to an `rlimit` of ours, which the call fills in.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    if limit.rlim_cur >= count {
        return Ok(());
    }
    if limit.rlim_max < count {
        let text = format!("{count} open files needed, {} allowed", limit.rlim_max);
        return Err(io::Error::other(text));
    }
    limit.rlim_cur = count;
    // SAFETY: the pointer is to an `rlimit` of ours, which the call only reads.
    if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

fn ticks_per_s() -> f64 {
    // SAFETY: the call takes no pointers.
    let ticks = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    assert!(ticks > 0, "every Linux has a clock tick");
    ticks as f64
}

/// utime and stime of `/proc/PID/stat`, fields 14 and 15.
fn processor_ticks(stat: &str) -> Option<u64> {
    // The name in field 2 may hold spaces and parentheses; what counts is the last one.
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_ascii_whitespace().skip(11);
    let utime: u64 = fields.next()?.parse().ok()?;
    let stime: u64 = fields.next()?.parse().ok()?;
    Some(utime + stime)
}

fn resident_bytes(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_files_are_read() {
        let stat = "42 (a ) name) S 1 42 42 0 -1 4194560 900 0 3 0 170 30 5 6 20 0 9 0 12 100 7";
        assert_eq!(processor_ticks(stat), Some(200));
        assert_eq!(processor_ticks("42 (a"), None);
        let status = "Name:\tjava\nVmHWM:\t  9 kB\nVmRSS:\t  2048 kB\n";
        assert_eq!(resident_bytes(status), Some(2_097_152));
        assert_eq!(resident_bytes("Name:\tkthreadd\n"), None);
    }

    #[test]
    fn this_process_uses_something() {
        let usage = usage_of(std::process::id()).expect("one's own files can be read");
        assert!(usage.resident_bytes > 0);
        assert!(usage_of(u32::MAX).is_err());
    }
}
