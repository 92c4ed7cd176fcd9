//! Module `org.apache.zookeeper.proto` of the schema.

#![allow(missing_docs, reason = "the fields are those of the schema")]

use super::data::{Acl, ClientInfo, Stat};
use super::{Decoder, JuteError, Record, fixed_record, record};

record! {
    /// The first frame of a client. Old clients omit `read_only`; see [`ConnectRequest::decode_lenient`].
    ConnectRequest<'a> {
        protocol_version: i32,
        last_zxid_seen: i64,
        timeout_ms: i32,
        session_id: i64,
        passwd: Option<&'a [u8]>,
        read_only: bool,
    }
}

record! {
    /// The answer to [`ConnectRequest`]; a timeout and session of 0 refuse it.
    ConnectResponse<'a> {
        protocol_version: i32,
        timeout_ms: i32,
        session_id: i64,
        passwd: Option<&'a [u8]>,
        read_only: bool,
    }
}

record! {
    /// Registers again the one-shot watches of a client that reconnected.
    SetWatches<'a> {
        relative_zxid: i64,
        data_watches: Vec<&'a str>,
        exist_watches: Vec<&'a str>,
        child_watches: Vec<&'a str>,
    }
}

record! {
    /// Like [`SetWatches`], with persistent watches.
    SetWatches2<'a> {
        relative_zxid: i64,
        data_watches: Vec<&'a str>,
        exist_watches: Vec<&'a str>,
        child_watches: Vec<&'a str>,
        persistent_watches: Vec<&'a str>,
        persistent_recursive_watches: Vec<&'a str>,
    }
}

record! {
    /// Precedes each request.
    RequestHeader {
        xid: i32,
        kind: i32,
    }
}

record! {
    /// Precedes each operation and result of a multi.
    MultiHeader {
        kind: i32,
        done: bool,
        err: i32,
    }
}

record! {
    /// Adds an identity to the connection.
    AuthPacket<'a> {
        kind: i32,
        scheme: &'a str,
        auth: Option<&'a [u8]>,
    }
}

fixed_record! {
    /// Precedes each reply and notification.
    ReplyHeader {
        xid: i32,
        zxid: i64,
        err: i32,
    }
}

record! {
    /// Reads data.
    GetDataRequest<'a> {
        path: &'a str,
        watch: bool,
    }
}

record! {
    /// Replaces data; version −1 matches any.
    SetDataRequest<'a> {
        path: &'a str,
        data: Option<&'a [u8]>,
        version: i32,
    }
}

record! {
    /// Changes the ensemble.
    ReconfigRequest<'a> {
        joining_servers: &'a str,
        leaving_servers: &'a str,
        new_members: &'a str,
        cur_config_id: i64,
    }
}

record! {
    /// Answers [`SetDataRequest`].
    SetDataResponse {
        stat: Stat,
    }
}

record! {
    /// One step of a SASL exchange.
    GetSaslRequest<'a> {
        token: Option<&'a [u8]>,
    }
}

record! {
    /// Answers [`GetSaslRequest`].
    SetSaslResponse<'a> {
        token: Option<&'a [u8]>,
    }
}

record! {
    /// Creates a node; `flags` is a [`crate::types::CreateMode`].
    CreateRequest<'a> {
        path: &'a str,
        data: Option<&'a [u8]>,
        acl: Vec<Acl>,
        flags: i32,
    }
}

record! {
    /// Creates a node with a time to live.
    CreateTtlRequest<'a> {
        path: &'a str,
        data: Option<&'a [u8]>,
        acl: Vec<Acl>,
        flags: i32,
        ttl_ms: i64,
    }
}

record! {
    /// Deletes a node; version −1 matches any.
    DeleteRequest<'a> {
        path: &'a str,
        version: i32,
    }
}

record! {
    /// Lists children.
    GetChildrenRequest<'a> {
        path: &'a str,
        watch: bool,
    }
}

record! {
    /// Counts all descendants.
    GetAllChildrenNumberRequest<'a> {
        path: &'a str,
    }
}

record! {
    /// Lists children and reads the Stat.
    GetChildren2Request<'a> {
        path: &'a str,
        watch: bool,
    }
}

record! {
    /// Checks a version; −1 matches any.
    CheckVersionRequest<'a> {
        path: &'a str,
        version: i32,
    }
}

record! {
    /// Waits until the server has caught up.
    SyncRequest<'a> {
        path: &'a str,
    }
}

record! {
    /// Answers [`SyncRequest`].
    SyncResponse<'a> {
        path: &'a str,
    }
}

record! {
    /// Reads the ACL.
    GetAclRequest<'a> {
        path: &'a str,
    }
}

record! {
    /// Replaces the ACL; version −1 matches any.
    SetAclRequest<'a> {
        path: &'a str,
        acl: Vec<Acl>,
        version: i32,
    }
}

record! {
    /// Answers [`SetAclRequest`].
    SetAclResponse {
        stat: Stat,
    }
}

record! {
    /// Adds a persistent watch: mode 0 for one path, 1 for a subtree.
    AddWatchRequest<'a> {
        path: &'a str,
        mode: i32,
    }
}

record! {
    /// The body of a notification.
    WatcherEvent<'a> {
        kind: i32,
        state: i32,
        path: &'a str,
    }
}

record! {
    /// The body of a failed result in a multi.
    ErrorResponse {
        err: i32,
    }
}

record! {
    /// Answers [`CreateRequest`] sent as `create`.
    CreateResponse<'a> {
        path: &'a str,
    }
}

record! {
    /// Answers `create2`, `createContainer` and `createTTL`.
    Create2Response<'a> {
        path: &'a str,
        stat: Stat,
    }
}

record! {
    /// Reads the Stat.
    ExistsRequest<'a> {
        path: &'a str,
        watch: bool,
    }
}

record! {
    /// Answers [`ExistsRequest`].
    ExistsResponse {
        stat: Stat,
    }
}

record! {
    /// Answers [`GetDataRequest`].
    GetDataResponse<'a> {
        data: Option<&'a [u8]>,
        stat: Stat,
    }
}

record! {
    /// Answers [`GetChildrenRequest`].
    GetChildrenResponse<'a> {
        children: Vec<&'a str>,
    }
}

record! {
    /// Answers [`GetAllChildrenNumberRequest`].
    GetAllChildrenNumberResponse {
        total_number: i32,
    }
}

record! {
    /// Answers [`GetChildren2Request`].
    GetChildren2Response<'a> {
        children: Vec<&'a str>,
        stat: Stat,
    }
}

record! {
    /// Answers [`GetAclRequest`].
    GetAclResponse {
        acl: Vec<Acl>,
        stat: Stat,
    }
}

record! {
    /// Asks whether a watch is there.
    CheckWatchesRequest<'a> {
        path: &'a str,
        kind: i32,
    }
}

record! {
    /// Removes a watch.
    RemoveWatchesRequest<'a> {
        path: &'a str,
        kind: i32,
    }
}

record! {
    /// Lists the ephemerals of the session.
    GetEphemeralsRequest<'a> {
        prefix_path: &'a str,
    }
}

record! {
    /// Answers [`GetEphemeralsRequest`].
    GetEphemeralsResponse<'a> {
        ephemerals: Vec<&'a str>,
    }
}

record! {
    /// Lists the identities of the connection.
    WhoAmIResponse {
        client_info: Vec<ClientInfo>,
    }
}

impl<'a> ConnectRequest<'a> {
    /// Reads a connect request; the second value says whether the `read_only` byte was there,
    /// which clients before 3.4 omit and then do not expect in the answer either.
    pub fn decode_lenient(from: &mut Decoder<'a>) -> Result<(ConnectRequest<'a>, bool), JuteError> {
        let request = ConnectRequest {
            protocol_version: Record::decode(from)?,
            last_zxid_seen: Record::decode(from)?,
            timeout_ms: Record::decode(from)?,
            session_id: Record::decode(from)?,
            passwd: Record::decode(from)?,
            read_only: false,
        };
        if from.is_empty() {
            return Ok((request, false));
        }
        let read_only = bool::decode(from)?;
        Ok((
            ConnectRequest {
                read_only,
                ..request
            },
            true,
        ))
    }
}

/// The header that ends a multi.
pub const MULTI_END: MultiHeader = MultiHeader {
    kind: -1,
    done: true,
    err: -1,
};
