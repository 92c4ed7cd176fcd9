//! What one session does, apart from how it comes to be and ends.

use std::fmt;

use crate::jute::proto::WatcherEvent;

use super::operation::Operation;
use super::recorder::Recorder;
use super::request::Verdict;
use super::workload::Step;

/// Decides on the requests of a session and judges their replies.
pub trait Actor: fmt::Debug + Send {
    /// A new session was granted: znodes and watches of one before are not its own. Returns the
    /// directory that must be there before the first request, if there is one.
    fn begin(&mut self, _session_id: i64) -> Option<String> {
        None
    }

    /// Whether it goes on when others have done something, so that it must be asked for its next
    /// request again and again.
    fn waits_for_others(&self) -> bool {
        false
    }

    /// Appends the request that comes next, under `xid`. A step of the session itself
    /// ([`super::operation::Operation::is_of_session`]) appends nothing and is done by the
    /// connection. `None` where nothing is to do before the next reply or event.
    fn next(&mut self, xid: i32, now_ns: u64, out: &mut Vec<u8>) -> Option<Step>;

    /// The reply to `step`: its body, or the code of its error.
    fn judge(
        &mut self,
        step: Step,
        reply: Result<&[u8], i32>,
        recorder: &mut Recorder,
        now_ns: u64,
    ) -> Verdict;

    /// A watch event came. One that nobody waits for is wrong.
    fn notified(&mut self, _event: &WatcherEvent<'_>, recorder: &mut Recorder, now_ns: u64) {
        recorder.answered(Operation::Event, Verdict::Wrong, now_ns, now_ns);
    }
}
