//! A glommio executor, and what its tasks wait for.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io;
use std::task::{Poll, Waker};
use std::time::Duration;

use glommio::{LocalExecutorBuilder, Placement};

/// Bytes that an executor's rings pin at most: small, so that an ordinary user's memlock limit
/// (8 MiB) is enough for several shards.
const IO_MEMORY_BYTES: usize = 1 << 20;

/// glommio's preemption timer, set so long that it never fires.
///
/// When it fires between being armed and the first look at it, as it does to a thread that the
/// kernel puts aside for that long, glommio 0.9.0 takes "preempted before anything ran" for
/// "nothing to run" and sleeps with runnable tasks, for good (fixed after 0.9.0 in its
/// repository: "do not park the executor while a task queue is still runnable"). Without the timer
/// sockets are looked at whenever no task is runnable, so a task that might stay runnable must
/// [`breathe`].
const PREEMPT_TIMER: Duration = Duration::from_secs(3600);

/// How long [`breathe`] lasts at least: long enough not to be over before it begins.
const BREATH: Duration = Duration::from_micros(20);

/// Runs the future that `start` makes on a new executor, on the calling thread, to its end.
pub(super) fn run<F, Fut>(name: &str, spin: Duration, start: F) -> io::Result<()>
where
    F: FnOnce() -> Fut,
    Fut: Future<Output = io::Result<()>>,
{
    let mut builder = LocalExecutorBuilder::new(Placement::Unbound)
        .name(name)
        .io_memory(IO_MEMORY_BYTES)
        .preempt_timer(PREEMPT_TIMER);
    if !spin.is_zero() {
        builder = builder.spin_before_park(spin);
    }
    let executor = builder
        .make()
        .map_err(|error| io::Error::other(error.to_string()))?;
    executor.run(async move { start().await })
}

/// Runs a future beside the others of this executor. It ends with the executor at the latest.
pub(super) fn spawn_local(future: impl Future<Output = ()> + 'static) {
    glommio::spawn_local(future).detach();
}

/// Waits.
pub(super) async fn sleep(duration: Duration) {
    glommio::timer::sleep(duration).await;
}

/// Lets the other tasks, and the sockets, have a turn. To be awaited by a task that has gone on for
/// long without having to wait for anything.
pub(super) async fn breathe() {
    sleep(BREATH).await;
}

/// Wakes one task of the same executor; a wake that nobody waits for yet is kept.
#[derive(Default)]
pub(super) struct Notify {
    raised: Cell<bool>,
    waiter: Cell<Option<Waker>>,
}

impl Notify {
    /// Wakes the task that waits, or the next one to wait.
    pub(super) fn raise(&self) {
        self.raised.set(true);
        if let Some(waiter) = self.waiter.take() {
            waiter.wake();
        }
    }

    /// Waits until [`Notify::raise`]; one task at a time.
    pub(super) async fn raised(&self) {
        poll_fn(|context| {
            if self.raised.replace(false) {
                return Poll::Ready(());
            }
            self.waiter.set(Some(context.waker().clone()));
            Poll::Pending
        })
        .await
    }
}
