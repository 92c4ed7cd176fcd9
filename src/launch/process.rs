//! The server's process: its id on file, starting it, ending it.

use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use super::LaunchError;

/// How long a new server is watched before it counts as started, as by zkServer.sh.
const START_WATCH: Duration = Duration::from_secs(1);
/// How long a server is given to end before the command says that it has not.
const END_WAIT: Duration = Duration::from_secs(30);
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// Bytes of a failed server's output that are repeated.
const REPORT_BYTES_MAX: usize = 2000;

/// The process id in this file; `None` without the file.
pub(super) fn read_pid(path: &Path) -> Result<Option<i32>, LaunchError> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(LaunchError::file("read", path)(error)),
    };
    let pid = text.trim().parse().ok().filter(|&pid: &i32| pid > 0);
    pid.map(Some).ok_or_else(|| LaunchError::BadPidFile {
        path: path.display().to_string(),
    })
}

/// Writes the process id, without a line end, as zkServer.sh does.
pub(super) fn write_pid(path: &Path, pid: u32) -> Result<(), LaunchError> {
    fs::write(path, pid.to_string()).map_err(LaunchError::file("write", path))
}

/// Whether this process is there and may be a server: after a crash of the machine, its number in
/// an old file may have gone to any other process. A server is this program, in whatever version,
/// or Java. A process that cannot be looked into may be one.
pub(super) fn is_server(pid: i32) -> bool {
    if !exists(pid) {
        return false;
    }
    let Ok(program) = fs::read_link(format!("/proc/{pid}/exe")) else {
        return !is_zombie(pid);
    };
    let name = |path: &Path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.trim_end_matches(" (deleted)").to_string()
    };
    let own = std::env::current_exe().map(|path| name(&path));
    let program = name(&program);
    program == "java" || program == "zkore" || own.is_ok_and(|own| own == program)
}

fn exists(pid: i32) -> bool {
    // SAFETY: signal 0 touches nothing, it only asks whether the process is there.
    let result = unsafe { libc::kill(pid, 0) };
    result == 0 || io::Error::last_os_error().raw_os_error() == Some(libc::EPERM)
}

/// A process that has ended and waits for its parent to notice.
fn is_zombie(pid: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
        let after_name = stat.rsplit(')').next().unwrap_or_default();
        after_name.trim_start().starts_with('Z')
    })
}

/// Asks the process to end.
pub(super) fn terminate(pid: i32) {
    // SAFETY: kill reads no memory of ours; the process was found to be a server.
    let result = unsafe { libc::kill(pid, libc::SIGTERM) };
    if result != 0 {
        eprintln!("cannot end process {pid}: {}", io::Error::last_os_error());
    }
}

/// Whether the process ends within the time it is given.
pub(super) fn wait_for_end(pid: i32) -> bool {
    polled(END_WAIT, || (!is_server(pid)).then_some(())).is_some()
}

/// The path of this program.
pub(super) fn own_program() -> Result<PathBuf, LaunchError> {
    std::env::current_exe().map_err(LaunchError::file("find", Path::new("this program")))
}

/// Starts this program in a session of its own, so that it outlives the terminal, with its output
/// in a fresh file.
pub(super) fn spawn_detached(
    arguments: &[String],
    log_dir: &Path,
    out_path: &Path,
) -> Result<Child, LaunchError> {
    fs::create_dir_all(log_dir).map_err(LaunchError::file("create", log_dir))?;
    let out = File::create(out_path).map_err(LaunchError::file("write", out_path))?;
    let also_out = out
        .try_clone()
        .map_err(LaunchError::file("write", out_path))?;
    let program = own_program()?;
    let mut command = Command::new(&program);
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(also_out);
    // SAFETY: between fork and exec only setsid is called, which is async-signal-safe and touches
    // no memory.
    unsafe {
        command.pre_exec(|| {
            if libc::setsid() == -1 {
                return Err(io::Error::last_os_error());
            }
            Ok(())
        });
    }
    command.spawn().map_err(LaunchError::file("run", &program))
}

/// Lets a process end, by SIGTERM, when the thread that starts it ends; and keeps from it what the
/// terminal sends to this process.
pub(super) fn bind_to_parent(command: &mut Command) {
    command.process_group(0);
    // SAFETY: between fork and exec only prctl is called, which is a bare system call and touches
    // no memory.
    unsafe {
        command.pre_exec(|| {
            if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM) == -1 {
                return Err(io::Error::last_os_error());
            }
            Ok(())
        });
    }
}

/// Whether a new server still runs after the time it is watched.
pub(super) fn stays(child: &mut Child) -> bool {
    let ended = polled(START_WATCH, || match child.try_wait() {
        Ok(None) => None,
        Ok(Some(_)) | Err(_) => Some(()),
    });
    ended.is_none()
}

/// Ends a server that cannot be kept.
pub(super) fn kill_child(child: &mut Child) {
    if let Err(error) = child.kill().and_then(|()| child.wait()) {
        eprintln!("cannot end process {}: {error}", child.id());
    }
}

/// Repeats the end of what a failed server printed.
pub(super) fn report_end(out_path: &Path) {
    let text = fs::read(out_path).unwrap_or_default();
    let end = &text[text.len().saturating_sub(REPORT_BYTES_MAX)..];
    eprint!("{}", String::from_utf8_lossy(end));
    eprintln!("(from {})", out_path.display());
}

/// Asks until there is an answer or the time is over.
fn polled<T>(time: Duration, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let rounds = time.as_millis() / POLL_INTERVAL.as_millis();
    for _ in 0..rounds {
        if let Some(answer) = ask() {
            return Some(answer);
        }
        thread::sleep(POLL_INTERVAL);
    }
    ask()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn process_ids_on_file() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("pid");
        assert_eq!(read_pid(&path).expect("no file"), None);
        write_pid(&path, 4711).expect("writable");
        assert_eq!(fs::read_to_string(&path).expect("written"), "4711");
        assert_eq!(read_pid(&path).expect("a number"), Some(4711));
        for bad in ["", "x", "-1", "0", "99999999999"] {
            fs::write(&path, bad).expect("writable");
            assert!(read_pid(&path).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn only_servers_are_taken_for_servers() {
        let own = i32::try_from(std::process::id()).expect("process ids fit");
        assert!(is_server(own));
        let mut other = Command::new("sleep")
            .arg("60")
            .spawn()
            .expect("sleep is there");
        let pid = i32::try_from(other.id()).expect("process ids fit");
        assert!(exists(pid) && !is_server(pid));
        kill_child(&mut other);
        assert!(!exists(pid) && !is_server(pid));
    }
}
