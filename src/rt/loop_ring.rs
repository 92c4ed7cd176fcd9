//! What every loop on a bare ring has: the ring, its bell and its timer. One system call hands over
//! what was started, rings other loops' bells, and waits.

use std::hint;
use std::io;
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::time::{Duration, Instant};

use io_uring::types::{Fd, SubmitArgs, Timespec};
use io_uring::{IoUring, Probe, opcode, squeue};

use super::mailbox::RingBell;

/// Entries whose number has these bits are this module's; the others belong to its users.
pub(super) const OWN: u64 = 3 << 62;
/// The bell's descriptor was read.
const BELL: u64 = OWN | 1;
/// Another ring has rung the bell.
const MESSAGE: u64 = OWN | 2;
/// A message to another ring was refused; one that arrives says nothing.
const REFUSED: u64 = OWN | 3;
/// Something is to be cancelled; what was cancelled says so itself.
const CANCEL: u64 = OWN | 4;

/// Pauses of the processor between two looks for something to do.
const SPINS: u32 = 16;

/// Operations of newer kernels, which stand for all that came with them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Features {
    /// Linux 6.0: receives and accepts that go on by themselves.
    pub(super) has_multishot: bool,
    /// Messages between rings. Asked for from 6.0 on too: the first kernels that had them did not
    /// wake a loop that runs its own completions.
    has_messages: bool,
}

/// A ring, the bell of the loop that waits in it, and the timer of the wait.
pub(super) struct LoopRing {
    ring: IoUring,
    bell: RingBell,
    bell_count: Box<[u8; 8]>,
    is_bell_armed: bool,
    features: Features,
    /// How long to look for something to do before sleeping.
    spin: Duration,
    /// Bells that were rung by messages.
    rung: Vec<RingBell>,
}

impl LoopRing {
    /// A ring of so many entries, and completions that it holds, on the calling thread, which alone
    /// may use it. Takes the kernel's cheaper modes where it has them (6.1).
    pub(super) fn new(
        bell: RingBell,
        spin: Duration,
        entries: u32,
        completions: u32,
    ) -> io::Result<LoopRing> {
        let ring = IoUring::builder()
            .setup_cqsize(completions)
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_taskrun_flag()
            .build(entries)
            .or_else(|_| IoUring::builder().setup_cqsize(completions).build(entries))?;
        let features = features(&ring);
        if features.has_messages {
            // SAFETY: the ring is open, and lives longer than the borrow.
            let fd = unsafe { BorrowedFd::borrow_raw(ring.as_raw_fd()) };
            bell.bell().set_ring(fd.try_clone_to_owned()?);
        }
        Ok(LoopRing {
            ring,
            bell,
            bell_count: Box::new([0; 8]),
            is_bell_armed: false,
            features,
            spin,
            rung: Vec::new(),
        })
    }

    /// The ring as it is on a kernel that has nothing newer than Linux 5.11.
    #[cfg(test)]
    pub(super) fn into_old(mut self) -> LoopRing {
        self.features = Features {
            has_multishot: false,
            has_messages: false,
        };
        self
    }

    pub(super) fn features(&self) -> Features {
        self.features
    }

    pub(super) fn submitter(&self) -> io_uring::Submitter<'_> {
        self.ring.submitter()
    }

    /// # Safety
    ///
    /// What the entry points to must stay valid until its completion is collected.
    pub(super) unsafe fn push(&mut self, entry: &squeue::Entry) -> io::Result<()> {
        // SAFETY: by the contract of this function.
        while unsafe { self.ring.submission().push(entry) }.is_err() {
            self.ring.submit()?;
        }
        Ok(())
    }

    /// Asks the kernel to give up what was started under this number.
    pub(super) fn cancel(&mut self, number: u64) -> io::Result<()> {
        let entry = opcode::AsyncCancel::new(number).build().user_data(CANCEL);
        // SAFETY: the entry points to nothing.
        unsafe { self.push(&entry) }
    }

    /// Wakes another loop: by a message that leaves with the next system call of this one, where
    /// that loop waits in a ring.
    pub(super) fn ring(&mut self, bell: &RingBell) -> io::Result<()> {
        if !bell.bell().must_ring() {
            return Ok(());
        }
        let Some(fd) = bell.bell().ring_fd().filter(|_| self.features.has_messages) else {
            bell.bell().ring_always();
            return Ok(());
        };
        if !self.rung.iter().any(|known| known.is_same(bell)) {
            self.rung.push(bell.clone());
        }
        let entry = opcode::MsgRingData::new(Fd(fd), 0, MESSAGE, None)
            .build()
            .flags(squeue::Flags::SKIP_SUCCESS)
            .user_data(REFUSED);
        // SAFETY: the entry points to nothing; the bell, which is kept, keeps the ring open.
        unsafe { self.push(&entry) }
    }

    /// Hands over what was started, and has completions brought in, without waiting. Costs a system
    /// call only where there is something to do.
    pub(super) fn poll(&mut self) -> io::Result<()> {
        let queue = self.ring.submission();
        let is_needed = !queue.is_empty() || queue.taskrun() || queue.cq_overflow();
        drop(queue);
        if is_needed {
            self.ring.submit()?;
        }
        Ok(())
    }

    /// Waits until a completion, the bell, or the timeout. `prompt` is how many of the entries
    /// started complete by themselves at once, and are no reason to wake. `idle` is asked once more
    /// after the bell is told that we sleep, so that no message is missed.
    pub(super) fn wait(
        &mut self,
        prompt: usize,
        timeout: Duration,
        idle: impl Fn() -> bool,
    ) -> io::Result<()> {
        self.arm_bell()?;
        if !self.spin.is_zero() && self.spin(prompt, self.spin.min(timeout), &idle)? {
            return self.poll();
        }
        self.bell.bell().announce_sleep();
        let result = if idle() {
            self.enter(prompt + 1, timeout)
        } else {
            self.poll()
        };
        self.bell.bell().awake();
        result
    }

    /// Looks for a while whether there is something to do, without sleeping, so that nobody has to
    /// wake this thread; returns whether there is.
    fn spin(
        &mut self,
        prompt: usize,
        patience: Duration,
        idle: &impl Fn() -> bool,
    ) -> io::Result<bool> {
        self.poll()?;
        let start = Instant::now();
        while start.elapsed() < patience {
            let queue = self.ring.submission();
            let is_runnable = queue.taskrun() || queue.cq_overflow();
            drop(queue);
            if is_runnable || self.ring.completion().len() > prompt || !idle() {
                return Ok(true);
            }
            for _ in 0..SPINS {
                hint::spin_loop();
            }
        }
        Ok(false)
    }

    fn enter(&self, want: usize, timeout: Duration) -> io::Result<()> {
        let timespec = Timespec::from(timeout);
        let args = SubmitArgs::new().timespec(&timespec);
        match self.ring.submitter().submit_with_args(want, &args) {
            Ok(_) => Ok(()),
            Err(error) if matches!(error.raw_os_error(), Some(libc::ETIME | libc::EINTR)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Waits for one completion, however long it takes, and whatever the bell says.
    pub(super) fn wait_for_completion(&mut self) -> io::Result<()> {
        match self.ring.submit_and_wait(1) {
            Err(error) if error.raw_os_error() == Some(libc::EINTR) => Ok(()),
            result => result.map(drop),
        }
    }

    fn arm_bell(&mut self) -> io::Result<()> {
        if self.is_bell_armed {
            return Ok(());
        }
        self.is_bell_armed = true;
        let fd: RawFd = self.bell.bell().waiter_fd().as_raw_fd();
        let entry = opcode::Read::new(Fd(fd), self.bell_count.as_mut_ptr(), 8)
            .build()
            .user_data(BELL);
        // SAFETY: the boxed count stays in place, and `drop` waits for the read.
        unsafe { self.push(&entry) }
    }

    /// Hands the number, the result and the flags of each completion of its user's to `each`.
    pub(super) fn collect(&mut self, mut each: impl FnMut(u64, i32, u32)) {
        let mut is_refused = false;
        for entry in self.ring.completion() {
            match entry.user_data() {
                BELL => self.is_bell_armed = false,
                MESSAGE | CANCEL => {}
                REFUSED => is_refused = true,
                number => each(number, entry.result(), entry.flags()),
            }
        }
        if is_refused {
            // It is not known whose message it was: all are woken, and from now on otherwise.
            self.features.has_messages = false;
            for bell in self.rung.drain(..) {
                bell.bell().ring_always();
            }
        }
    }
}

impl Drop for LoopRing {
    fn drop(&mut self) {
        // The kernel may still write the bell's count.
        self.bell.bell().ring_always();
        while self.is_bell_armed {
            if self.wait_for_completion().is_err() {
                mem::forget(mem::take(&mut self.bell_count));
                return;
            }
            self.collect(|_, _, _| {});
        }
    }
}

fn features(ring: &IoUring) -> Features {
    let mut probe = Probe::new();
    let is_known = ring.submitter().register_probe(&mut probe).is_ok();
    let is_6_0 = is_known && probe.is_supported(opcode::SendZc::CODE);
    Features {
        has_multishot: is_6_0,
        has_messages: is_6_0 && probe.is_supported(opcode::MsgRingData::CODE),
    }
}
