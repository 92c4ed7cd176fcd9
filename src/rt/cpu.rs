//! Which processors this process may use, and pinning a thread to one of them.

use std::io;
use std::mem;

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
}
