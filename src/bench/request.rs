//! Requests into bytes and replies into verdicts, without an allocation for each.

use crate::jute::data::{Acl, Stat};
use crate::jute::proto::{
    ConnectRequest, ConnectResponse, CreateRequest, ErrorResponse, MULTI_END, MultiHeader,
    RequestHeader,
};
use crate::jute::{Decoder, JuteError, Record, op};
use crate::types::perms;

use super::error::ProtocolError;
use super::names::Names;
use super::operation::Operation;
use super::random::scatter;
use super::seen::Seen;
use super::spread::Spread;
use super::value::Values;
use super::workload::Step;

/// How the names of the prepared directory's children begin.
pub const CHILD: &str = "c";

/// Digits of a number in a path.
const DIGITS: usize = 10;

/// Length of a session's password.
const PASSWORD_BYTES: usize = 16;

/// Keeps depths apart from what else is drawn by a key's number.
const DEPTH_SALT: u64 = 0x0064_6570_7468;

/// The flag of a create whose znode ends with its session.
const EPHEMERAL: i32 = 1;

/// The znodes of a run, and how to ask for them.
#[derive(Debug)]
pub struct Requests {
    base: String,
    /// How the paths of keys begin, by their depth less 1.
    key_prefixes: Vec<String>,
    depths: Spread,
    list: String,
    values: Values,
    children: Names,
    multi_size: u32,
    keys: u32,
    /// The encoded ACL that lets anybody do anything.
    open_acl: Vec<u8>,
}

/// What a reply says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Done, and the answer is right.
    Right,
    /// The server refused with this code.
    Refused(i32),
    /// The answer is not what it must be.
    Wrong,
}

/// A session, as the server granted it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Granted {
    /// Its id.
    pub session_id: i64,
    /// What proves that it is ours.
    pub password: [u8; PASSWORD_BYTES],
    /// Its timeout after negotiation, in milliseconds.
    pub timeout_ms: u32,
}

/// Sizes of a run.
#[derive(Clone, Debug)]
pub struct Sizes {
    /// Bytes in each value.
    pub value: Spread,
    /// How many levels below their directory the keys lie, at least 1.
    pub depth: Spread,
    /// Prepared keys, at least 1.
    pub keys: u32,
    /// Children in the prepared directory.
    pub children: u32,
    /// Operations in a multi, at least 1.
    pub multi: u32,
}

impl Requests {
    /// Everything lies below `base`, an absolute path.
    pub fn new(base: &str, sizes: Sizes) -> Requests {
        let mut encoded_acl = Vec::new();
        open_acl().encode(&mut encoded_acl);
        let (_, depth_max) = sizes.depth.bounds();
        Requests {
            base: base.to_owned(),
            key_prefixes: (1..=depth_max as usize)
                .map(|depth| format!("{base}/keys{}/k", "/d".repeat(depth - 1)))
                .collect(),
            depths: sizes.depth,
            list: format!("{base}/list"),
            values: Values::new(sizes.value),
            children: Names::new(CHILD, sizes.children),
            multi_size: sizes.multi,
            keys: sizes.keys,
            open_acl: encoded_acl,
        }
    }

    /// The path below which everything lies.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// The parents of the prepared keys, each after its own parent.
    pub fn keys_directories(&self) -> impl Iterator<Item = &str> {
        let ending = "/k";
        self.key_prefixes
            .iter()
            .map(|prefix| &prefix[..prefix.len() - ending.len()])
    }

    /// The directory that getChildren reads.
    pub fn list_directory(&self) -> &str {
        &self.list
    }

    /// The path of a child of it.
    pub fn child(&self, number: u32) -> String {
        format!("{}/{CHILD}{number}", self.list)
    }

    /// The directory of a session's own znodes.
    pub fn own_directory(&self, session_id: i64) -> String {
        format!("{}/own-{session_id:x}", self.base)
    }

    /// Appends the create of any znode.
    pub fn append_create(&self, path: &str, data: &[u8], xid: i32, out: &mut Vec<u8>) {
        framed(out, |out| {
            header(xid, op::CREATE, out);
            path.encode(out);
            Some(data).encode(out);
            self.append_create_tail(0, out);
        });
    }

    /// Appends the create of an empty znode that anybody may use.
    pub fn append_directory(path: &str, xid: i32, out: &mut Vec<u8>) {
        framed(out, |out| {
            header(xid, op::CREATE, out);
            let create = CreateRequest {
                path,
                data: Some(&[]),
                acl: open_acl(),
                flags: 0,
            };
            create.encode(out);
        });
    }

    /// Appends the create of a prepared key.
    pub fn append_create_key(&self, key: u32, xid: i32, out: &mut Vec<u8>) {
        framed(out, |out| {
            header(xid, op::CREATE, out);
            self.append_key(key, out);
            self.append_value(key, 0, out);
            self.append_create_tail(0, out);
        });
    }

    /// Appends the request for `step`; `own_prefix` begins the paths of the session's own znodes.
    pub fn append(&self, step: Step, own_prefix: &str, xid: i32, out: &mut Vec<u8>) {
        framed(out, |out| {
            header(xid, opcode(step.operation), out);
            match step.operation {
                Operation::Get | Operation::Exists => {
                    self.append_key(step.target, out);
                    false.encode(out);
                }
                Operation::Set => self.append_set(step.target, step.stamp, out),
                Operation::Create | Operation::CreateEphemeral => {
                    append_path(own_prefix, step.target, out);
                    self.append_value(step.target, 0, out);
                    let is_ephemeral = step.operation == Operation::CreateEphemeral;
                    self.append_create_tail(i32::from(is_ephemeral) * EPHEMERAL, out);
                }
                Operation::Delete => {
                    append_path(own_prefix, step.target, out);
                    (-1).encode(out);
                }
                Operation::GetChildren => {
                    self.list.as_str().encode(out);
                    false.encode(out);
                }
                Operation::Multi => {
                    for key in self.multi_keys(step.target) {
                        let set = MultiHeader {
                            kind: op::SET_DATA,
                            done: false,
                            err: -1,
                        };
                        set.encode(out);
                        self.append_set(key, step.stamp, out);
                    }
                    MULTI_END.encode(out);
                }
                Operation::Sync => self.base.as_str().encode(out),
                other => unreachable!("{} has no record of its own", other.name()),
            }
        });
    }

    /// Judges the body of a reply to `step` whose header bears no error, in a session that has
    /// `seen` what it has.
    pub fn judge(&self, step: Step, own_prefix: &str, seen: &mut Seen, body: &[u8]) -> Verdict {
        let from = &mut Decoder::new(body);
        let key = step.target;
        let right = match step.operation {
            Operation::Get => self
                .value_of(key, from)
                .map(|value| value.is_some_and(|(stamp, mzxid)| seen.read(key, mzxid, stamp))),
            Operation::Set => self
                .stat_of(key, from)
                .map(|mzxid| mzxid.is_some_and(|mzxid| seen.wrote(key, mzxid, Some(step.stamp)))),
            Operation::Exists => self
                .stat_of(key, from)
                .map(|mzxid| mzxid.is_some_and(|mzxid| seen.read(key, mzxid, None))),
            Operation::Create | Operation::CreateEphemeral => <&str>::decode(from).map(|path| {
                path.strip_prefix(own_prefix)
                    .and_then(|digits| digits.parse().ok())
                    == Some(step.target)
            }),
            Operation::GetChildren => self.children.are(from),
            Operation::Multi => return self.judge_multi(step, seen, from),
            Operation::Sync => <&str>::decode(from).map(|path| path == self.base),
            // Nothing follows the header.
            _ => Ok(true),
        };
        if right == Ok(true) {
            Verdict::Right
        } else {
            Verdict::Wrong
        }
    }

    fn judge_multi(&self, step: Step, seen: &mut Seen, from: &mut Decoder<'_>) -> Verdict {
        let mut refused = None;
        let mut zxid = None;
        for key in self.multi_keys(step.target) {
            let right = MultiHeader::decode(from).and_then(|result| match result.kind {
                op::SET_DATA => Ok(self.stat_of(key, from)?.is_some_and(|mzxid| {
                    let stamp = Some(step.stamp);
                    // All is one write, and new; a key may come twice.
                    match zxid.replace(mzxid) {
                        None => seen.wrote(key, mzxid, stamp),
                        Some(zxid) => zxid == mzxid && seen.read(key, mzxid, stamp),
                    }
                })),
                op::ERROR => {
                    let code = ErrorResponse::decode(from)?.err;
                    // The others of a failed transaction carry 0 or a consequence; the first
                    // that is neither is the cause, but any will do to count a failure.
                    refused = refused.filter(|&known| known != 0).or(Some(code));
                    Ok(true)
                }
                other => Err(JuteError::UnknownType(other)),
            });
            if right != Ok(true) {
                return Verdict::Wrong;
            }
        }
        match (refused, MultiHeader::decode(from)) {
            (Some(code), Ok(MULTI_END)) => Verdict::Refused(code),
            (None, Ok(MULTI_END)) => Verdict::Right,
            _ => Verdict::Wrong,
        }
    }

    /// The stamp of a value and the zxid of its write, if it is one of `key`.
    fn value_of(
        &self,
        key: u32,
        from: &mut Decoder<'_>,
    ) -> Result<Option<(Option<u32>, i64)>, JuteError> {
        let data = Option::<&[u8]>::decode(from)?.unwrap_or_default();
        let mzxid = self.stat_of(key, from)?;
        Ok(mzxid
            .filter(|_| self.values.matches(key, data))
            .map(|mzxid| (Values::stamp(data), mzxid)))
    }

    /// The zxid of the last write in a Stat, if it is one of `key`.
    fn stat_of(&self, key: u32, from: &mut Decoder<'_>) -> Result<Option<i64>, JuteError> {
        let stat = Stat::decode(from)?;
        let is_right = usize::try_from(stat.data_length) == Ok(self.values.size(key));
        Ok(is_right.then_some(stat.mzxid))
    }

    fn multi_keys(&self, first: u32) -> impl Iterator<Item = u32> {
        let keys = u64::from(self.keys);
        (0..u64::from(self.multi_size))
            .map(move |offset| ((u64::from(first) + offset) % keys) as u32)
    }

    fn append_set(&self, key: u32, stamp: u32, out: &mut Vec<u8>) {
        self.append_key(key, out);
        self.append_value(key, stamp, out);
        (-1).encode(out);
    }

    fn append_value(&self, key: u32, stamp: u32, out: &mut Vec<u8>) {
        (self.values.size(key) as i32).encode(out);
        self.values.append(key, stamp, out);
    }

    fn append_create_tail(&self, flags: i32, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.open_acl);
        flags.encode(out);
    }

    fn append_key(&self, key: u32, out: &mut Vec<u8>) {
        let prefix = match &self.key_prefixes[..] {
            [only] => only,
            several => &several[self.depths.pick(scatter(key, DEPTH_SALT)) as usize - 1],
        };
        append_path(prefix, key, out);
    }
}

/// Appends the request for a session: a new one, or `resumed`, known up to `last_zxid`.
pub fn append_connect(timeout_ms: u32, resumed: Option<(&Granted, i64)>, out: &mut Vec<u8>) {
    let mut request = ConnectRequest {
        timeout_ms: i32::try_from(timeout_ms).unwrap_or(i32::MAX),
        passwd: Some(&[0; PASSWORD_BYTES]),
        ..ConnectRequest::default()
    };
    if let Some((session, last_zxid)) = resumed {
        request.session_id = session.session_id;
        request.passwd = Some(&session.password);
        request.last_zxid_seen = last_zxid;
    }
    framed(out, |out| request.encode(out));
}

/// Reads the answer to [`append_connect`].
pub fn read_connect(frame: &[u8]) -> Result<Granted, ProtocolError> {
    let answer = ConnectResponse::from_slice(frame)?;
    let password = answer.passwd.and_then(|password| password.try_into().ok());
    match u32::try_from(answer.timeout_ms) {
        Ok(timeout_ms) if timeout_ms > 0 && answer.session_id != 0 => Ok(Granted {
            session_id: answer.session_id,
            password: password.unwrap_or_default(),
            timeout_ms,
        }),
        _ => Err(ProtocolError::SessionRefused),
    }
}

/// Appends a request that is only a header.
pub fn append_bare(kind: i32, xid: i32, out: &mut Vec<u8>) {
    framed(out, |out| header(xid, kind, out));
}

/// Appends a frame around what `fill` appends.
pub fn framed(out: &mut Vec<u8>, fill: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    fill(out);
    let length = (out.len() - start - 4) as i32;
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
}

/// Appends the header of a request.
pub fn header(xid: i32, kind: i32, out: &mut Vec<u8>) {
    RequestHeader { xid, kind }.encode(out);
}

/// Anybody may do anything.
pub fn open_acl() -> Vec<Acl> {
    vec![Acl {
        perms: perms::ALL,
        scheme: "world".to_owned(),
        id: "anyone".to_owned(),
    }]
}

fn opcode(operation: Operation) -> i32 {
    match operation {
        Operation::Get => op::GET_DATA,
        Operation::Set => op::SET_DATA,
        Operation::Create | Operation::CreateEphemeral => op::CREATE,
        Operation::Delete => op::DELETE,
        Operation::Exists => op::EXISTS,
        Operation::GetChildren => op::GET_CHILDREN,
        Operation::Multi => op::MULTI,
        Operation::Sync => op::SYNC,
        other => unreachable!("{} is not of these requests", other.name()),
    }
}

/// Appends `prefix` and the number as a jute string.
fn append_path(prefix: &str, number: u32, out: &mut Vec<u8>) {
    let mut digits = [b'0'; DIGITS];
    let mut rest = number;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    ((prefix.len() + DIGITS) as i32).encode(out);
    out.extend_from_slice(prefix.as_bytes());
    out.extend_from_slice(&digits);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jute::proto::{GetDataRequest, GetDataResponse, SetDataRequest, SetDataResponse};

    const OWN: &str = "/bench/own-1/n";

    fn requests() -> Requests {
        let sizes = Sizes {
            value: Spread::only(20),
            depth: Spread::only(1),
            keys: 10,
            children: 3,
            multi: 3,
        };
        Requests::new("/bench", sizes)
    }

    fn step(operation: Operation, target: u32) -> Step {
        Step::new(operation, target)
    }

    fn body(bytes: &[u8], kind: i32) -> &[u8] {
        let mut from = Decoder::new(bytes);
        let length = i32::decode(&mut from).expect("a length");
        assert_eq!(length as usize, from.rest().len());
        let header = RequestHeader::decode(&mut from).expect("a header");
        assert_eq!(header, RequestHeader { xid: 5, kind });
        from.rest()
    }

    fn stat() -> Stat {
        Stat {
            data_length: 20,
            mzxid: 5,
            ..Stat::default()
        }
    }

    #[test]
    fn requests_are_the_records_of_the_schema() {
        let requests = requests();
        let mut out = Vec::new();
        requests.append(step(Operation::Get, 7), OWN, 5, &mut out);
        let get = GetDataRequest::from_slice(body(&out, op::GET_DATA)).expect("a getData");
        assert_eq!((get.path, get.watch), ("/bench/keys/k0000000007", false));

        out.clear();
        requests.append(step(Operation::Create, u32::MAX), OWN, 5, &mut out);
        let create = CreateRequest::from_slice(body(&out, op::CREATE)).expect("a create");
        assert_eq!(create.path, "/bench/own-1/n4294967295");
        assert_eq!(create.acl[0].scheme, "world");
        assert!(
            requests
                .values
                .matches(u32::MAX, create.data.unwrap_or_default())
        );

        out.clear();
        requests.append(step(Operation::Multi, 9), OWN, 5, &mut out);
        let mut from = Decoder::new(body(&out, op::MULTI));
        for key in [9, 0, 1] {
            assert!(!MultiHeader::decode(&mut from).expect("a header").done);
            let set = SetDataRequest::decode(&mut from).expect("a setData");
            assert_eq!(set.path, format!("/bench/keys/k000000000{key}"));
            assert!(requests.values.matches(key, set.data.unwrap_or_default()));
        }
        assert_eq!(MultiHeader::decode(&mut from), Ok(MULTI_END));
        assert!(from.is_empty());
    }

    #[test]
    fn wrong_data_is_seen() {
        let requests = requests();
        let mut data = Vec::new();
        requests.values.append(7, 3, &mut data);
        let reply = GetDataResponse {
            data: Some(&data),
            stat: stat(),
        };
        let bytes = reply.to_vec();
        let judge = |key, bytes: &[u8]| {
            requests.judge(step(Operation::Get, key), OWN, &mut Seen::default(), bytes)
        };
        assert_eq!(judge(7, &bytes), Verdict::Right);
        assert_eq!(judge(6, &bytes), Verdict::Wrong);
        assert_eq!(judge(7, &bytes[..30]), Verdict::Wrong);
    }

    #[test]
    fn multi_results_are_judged_one_by_one() {
        let requests = requests();
        let answer = |failed: bool| {
            let mut out = Vec::new();
            for _ in 0..3 {
                let kind = if failed { op::ERROR } else { op::SET_DATA };
                let header = MultiHeader {
                    kind,
                    done: false,
                    err: 0,
                };
                header.encode(&mut out);
                if failed {
                    ErrorResponse { err: -101 }.encode(&mut out);
                } else {
                    SetDataResponse { stat: stat() }.encode(&mut out);
                }
            }
            MULTI_END.encode(&mut out);
            out
        };
        let judge = |bytes: &[u8]| {
            requests.judge(step(Operation::Multi, 0), OWN, &mut Seen::default(), bytes)
        };
        assert_eq!(judge(&answer(false)), Verdict::Right);
        assert_eq!(judge(&answer(true)), Verdict::Refused(-101));
        assert_eq!(judge(&answer(false)[..40]), Verdict::Wrong);
    }

    #[test]
    fn a_refused_session_is_an_error() {
        let refused = ConnectResponse::default().to_vec();
        assert_eq!(read_connect(&refused), Err(ProtocolError::SessionRefused));
        let granted = ConnectResponse {
            timeout_ms: 4_000,
            session_id: 9,
            ..ConnectResponse::default()
        };
        let expected = Granted {
            session_id: 9,
            password: [0; PASSWORD_BYTES],
            timeout_ms: 4_000,
        };
        assert_eq!(read_connect(&granted.to_vec()), Ok(expected));
    }
}
