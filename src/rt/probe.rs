//! What the machine must offer, checked before anything starts.

use std::io;

use io_uring::IoUring;

/// Why the machine cannot run the server.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// The kernel or a sandbox refuses io_uring.
    #[error(
        "the kernel refuses io_uring ({0}); zkore needs Linux 5.11 or newer with \
         kernel.io_uring_disabled=0 (sysctl), and in a container a seccomp profile that allows \
         io_uring_setup, io_uring_enter and io_uring_register"
    )]
    IoUringRefused(io::Error),
    /// The kernel has io_uring, but cannot wait in it for a limited time.
    #[error("the kernel's io_uring is too old; zkore needs Linux 5.11 or newer")]
    KernelTooOld,
    /// Too few file descriptors are allowed.
    #[error(
        "only {allowed} file descriptors are allowed and {wanted} are needed; raise the limit \
         (ulimit -n {wanted}, or LimitNOFILE={wanted} in the service's unit)"
    )]
    TooFewFiles {
        /// The hard limit.
        allowed: u64,
        /// What the server needs at least.
        wanted: u64,
    },
}

/// Checks that a ring can be made, and that it can do what no loop goes without. What newer kernels
/// can do beside that is looked for where it is used, and done without where it is missing.
pub fn io_uring() -> Result<(), ProbeError> {
    let ring = IoUring::new(8).map_err(ProbeError::IoUringRefused)?;
    if !ring.params().is_feature_ext_arg() {
        return Err(ProbeError::KernelTooOld);
    }
    Ok(())
}

/// Descriptors that this process has open; 0 where it cannot see. Since Linux 6.2 the folder's size says so;
/// to count its entries takes milliseconds where there are many, and a shard asks.
pub fn open_files() -> u64 {
    let said = std::fs::metadata("/proc/self/fd").map_or(0, |folder| folder.len());
    if said > 0 {
        return said;
    }
    std::fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count() as u64)
}

/// Descriptors that this process may have open; 0 where the system does not say.
pub fn open_files_max() -> u64 {
    file_limit().map_or(0, |limit| limit.rlim_cur)
}

fn file_limit() -> Option<libc::rlimit> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the pointer is to a live local.
    (unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) } == 0).then_some(limit)
}

/// Raises the soft limit of file descriptors to the hard one and checks that it is `wanted` at
/// least. Returns the limit.
pub fn file_descriptors(wanted: u64) -> Result<u64, ProbeError> {
    let Some(mut limit) = file_limit() else {
        return Ok(wanted);
    };
    if limit.rlim_cur < limit.rlim_max {
        let raised = libc::rlimit {
            rlim_cur: limit.rlim_max,
            rlim_max: limit.rlim_max,
        };
        // SAFETY: the pointer is to a live local.
        if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raised) } == 0 {
            limit = raised;
        }
    }
    if limit.rlim_cur < wanted {
        return Err(ProbeError::TooFewFiles {
            allowed: limit.rlim_cur,
            wanted,
        });
    }
    Ok(limit.rlim_cur)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_files_are_counted() {
        let open = |_| std::fs::File::open("/dev/null").expect("it is there");
        let files: Vec<_> = (0..100).map(open).collect();
        assert!(open_files() >= files.len() as u64);
    }
}
