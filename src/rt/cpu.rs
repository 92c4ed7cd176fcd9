//! Which processors this process may use, pinning a thread to one of them, how much of its time a
//! thread has used, and how long a thread had to wait for it.

use std::fs::File;
use std::io;
use std::mem;
use std::os::unix::fs::FileExt;
use std::os::unix::thread::JoinHandleExt;
use std::thread::JoinHandle;

/// The processors that this process may run on, in ascending order; never empty.
pub fn allowed() -> Vec<usize> {
    // SAFETY: an all-zero cpu_set_t is a valid empty set.
    let mut set: libc::cpu_set_t = unsafe { mem::zeroed() };
    // SAFETY: the pointer and the size describe `set`, which outlives the call.
    let result = unsafe { libc::sched_getaffinity(0, mem::size_of_val(&set), &mut set) };
    if result != 0 {
        return vec![0];
    }
    let cpus: Vec<usize> = (0..libc::CPU_SETSIZE as usize)
        // SAFETY: the index is below CPU_SETSIZE, the capacity of the set.
        .filter(|&cpu| unsafe { libc::CPU_ISSET(cpu, &set) })
        .collect();
    if cpus.is_empty() { vec![0] } else { cpus }
}

/// Pins the calling thread to one processor, and with it those that it starts.
pub fn pin(cpu: usize) -> io::Result<()> {
    run_on(&[cpu])
}

/// Lets the calling thread run on these processors only.
pub fn run_on(cpus: &[usize]) -> io::Result<()> {
    // SAFETY: an all-zero cpu_set_t is a valid empty set.
    let mut set: libc::cpu_set_t = unsafe { mem::zeroed() };
    for &cpu in cpus {
        if cpu >= libc::CPU_SETSIZE as usize {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("no processor {cpu}"),
            ));
        }
        // SAFETY: the index was checked against the capacity of the set.
        unsafe { libc::CPU_SET(cpu, &mut set) };
    }
    // SAFETY: the pointer and the size describe `set`, which outlives the call.
    match unsafe { libc::sched_setaffinity(0, mem::size_of_val(&set), &set) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Steps of niceness that make Linux weigh a thread at a third of what it did.
const STEPS_BEHIND: libc::c_int = 5;

/// Puts the calling thread, and those that it starts, behind the others that want its processor: it
/// gets a third of what each of them gets, and all of it while they wait.
pub fn run_behind() {
    // SAFETY: the call takes no pointers. On Linux it is about the calling thread alone. Going back
    // is allowed to everybody, so it cannot fail.
    unsafe { libc::nice(STEPS_BEHIND) };
}

/// The clock of the processor time that a thread has used.
#[derive(Clone, Copy, Debug)]
pub struct ThreadClock(libc::clockid_t);

impl ThreadClock {
    /// That of a thread.
    pub fn of<T>(thread: &JoinHandle<T>) -> io::Result<ThreadClock> {
        let mut id = 0;
        // SAFETY: a thread whose handle is there was not joined, so its identifier is valid; `id`
        // outlives the call.
        match unsafe { libc::pthread_getcpuclockid(thread.as_pthread_t(), &mut id) } {
            0 => Ok(ThreadClock(id)),
            error => Err(io::Error::from_raw_os_error(error)),
        }
    }

    /// That of whichever thread reads it.
    pub fn of_the_reader() -> ThreadClock {
        ThreadClock(libc::CLOCK_THREAD_CPUTIME_ID)
    }

    /// Microseconds so far; 0 when the thread has ended.
    pub fn now_us(self) -> u64 {
        let mut time = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: the pointer is to `time`, which outlives the call; the kernel refuses the clock of
        // a thread that has ended, and leaves `time` alone.
        unsafe { libc::clock_gettime(self.0, &mut time) };
        time.tv_sec as u64 * 1_000_000 + time.tv_nsec as u64 / 1_000
    }
}

/// How long a thread could have run and had to wait for its processor.
#[derive(Debug)]
pub struct WaitClock(Option<File>);

impl WaitClock {
    /// That of the calling thread. Counts nothing where the kernel does not (`CONFIG_SCHED_INFO`).
    pub fn of_this_thread() -> WaitClock {
        WaitClock(File::open("/proc/thread-self/schedstat").ok())
    }

    /// Microseconds so far; 0 where they are not counted.
    pub fn now_us(&self) -> u64 {
        let mut text = [0; 64];
        let length = self
            .0
            .as_ref()
            .and_then(|file| file.read_at(&mut text, 0).ok());
        // Nanoseconds that it ran and that it waited, and how often it was given a processor.
        let text = str::from_utf8(&text[..length.unwrap_or(0)]).unwrap_or_default();
        let waited_ns = text.split_whitespace().nth(1);
        waited_ns.and_then(|ns| ns.parse::<u64>().ok()).unwrap_or(0) / 1_000
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_pins_to_an_allowed_processor_and_to_no_other() {
        let all = allowed();
        let first = all[0];
        std::thread::spawn(move || {
            pin(first).expect("an allowed processor");
            assert_eq!(allowed(), vec![first]);
            let inherited = std::thread::spawn(move || {
                let inherited = allowed();
                run_on(&all).expect("allowed processors");
                assert_eq!(allowed(), all);
                inherited
            });
            assert_eq!(inherited.join().expect("the thread ran"), vec![first]);
        })
        .join()
        .expect("the thread ran");
        assert!(pin(1 << 20).is_err());
    }

    #[test]
    fn a_thread_goes_behind_the_others_alone() {
        let nice = || {
            let stat = std::fs::read_to_string("/proc/thread-self/stat").expect("proc is there");
            let (_, fields) = stat.rsplit_once(')').expect("the name is in brackets");
            let nice = fields.split_whitespace().nth(16).expect("field 19 of stat");
            nice.parse::<i32>().expect("a number")
        };
        let before = nice();
        std::thread::spawn(move || {
            run_behind();
            assert_eq!(nice(), (before + STEPS_BEHIND).min(19));
        })
        .join()
        .expect("the thread ran");
        assert_eq!(nice(), before);
    }

    #[test]
    fn a_thread_that_shares_a_processor_waits_for_it() {
        if !std::path::Path::new("/proc/thread-self/schedstat").exists() {
            eprintln!("skipped: the kernel does not count waiting");
            return;
        }
        let first = allowed()[0];
        let busy = move || {
            pin(first).expect("an allowed processor");
            let clock = WaitClock::of_this_thread();
            let start = std::time::Instant::now();
            while clock.now_us() < 1_000 && start.elapsed().as_secs() < 20 {}
            clock.now_us()
        };
        for thread in [std::thread::spawn(busy), std::thread::spawn(busy)] {
            assert!(thread.join().expect("the thread ran") >= 1_000);
        }
    }

    #[test]
    fn a_clock_counts_what_its_thread_works_and_not_what_it_waits() {
        let (sender, receiver) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            let own = ThreadClock::of_the_reader();
            while own.now_us() < 20_000 {
                std::hint::spin_loop();
            }
            receiver.recv().expect("told to end");
        });
        let clock = ThreadClock::of(&thread).expect("the thread is there");
        while clock.now_us() < 20_000 {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        let worked_us = clock.now_us();
        std::thread::sleep(std::time::Duration::from_millis(50));
        let waited_us = clock.now_us() - worked_us;
        assert!(waited_us < 20_000, "{waited_us} us while it slept");
        sender.send(()).expect("it waits");
        thread.join().expect("it ends");
        assert_eq!(clock.now_us(), 0);
    }
}
