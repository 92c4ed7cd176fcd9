//! Reads, answered from the shard's view (Apache's `FinalRequestProcessor`).

use crate::auth::{AuthConfig, Identity, allows, client_infos, mask_digests};
use crate::exchange::ConnId;
use crate::jute::data::Acl;
use crate::jute::proto::{
    AddWatchRequest, CheckWatchesRequest, ErrorResponse, ExistsRequest, ExistsResponse,
    GetAclRequest, GetAclResponse, GetAllChildrenNumberRequest, GetAllChildrenNumberResponse,
    GetChildrenRequest, GetDataRequest, GetEphemeralsRequest, MULTI_END, MultiHeader,
    RemoveWatchesRequest, SetWatches, SetWatches2, WhoAmIResponse,
};
use crate::jute::{Decoder, JuteError, Record, op};
use crate::tree::{NodeRef, View};
use crate::types::{ErrorCode, SessionId, Zxid, limits, perms};
use crate::watch::{AddWatchMode, EventType, LastChange, WatcherType, Watches};

use super::reply;

/// Everything that answering a read takes.
pub(super) struct Reader<'a> {
    pub(super) view: &'a View,
    /// As of when to read.
    pub(super) zxid: Zxid,
    pub(super) watches: &'a mut Watches,
    pub(super) auth: &'a AuthConfig,
    pub(super) conn: ConnId,
    pub(super) session: SessionId,
    pub(super) identities: &'a [Identity],
}

/// Bytes that a child's name takes in a reply, with its length, mostly at most.
const USUAL_NAME_LEN: usize = 16;

/// A request that cannot be read is answered so; the connection goes on.
fn unreadable(_: JuteError) -> ErrorCode {
    ErrorCode::MarshallingError
}

impl<'a> Reader<'a> {
    /// Appends the record that answers a read; on error, what was appended is to be dropped.
    pub(super) fn answer(
        &mut self,
        kind: i32,
        body: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), ErrorCode> {
        if looks_up_a_path(kind) && starts_with_null(body) {
            return Err(ErrorCode::MarshallingError);
        }
        match kind {
            op::PING => Ok(()),
            op::EXISTS => self.exists(body, out),
            op::GET_DATA => {
                let request = GetDataRequest::from_slice(body).map_err(unreadable)?;
                self.get_data(request.path, request.watch, out)
            }
            op::GET_CHILDREN | op::GET_CHILDREN2 => {
                let request = GetChildrenRequest::from_slice(body).map_err(unreadable)?;
                let with_stat = kind == op::GET_CHILDREN2;
                self.get_children(request.path, request.watch, with_stat, out)
            }
            op::GET_ACL => self.get_acl(body, out),
            op::GET_ALL_CHILDREN_NUMBER => self.get_all_children_number(body, out),
            op::GET_EPHEMERALS => self.get_ephemerals(body, out),
            op::MULTI_READ => self.multi_read(body, out),
            op::ADD_WATCH => self.add_watch(body, out),
            op::CHECK_WATCHES => {
                let request = CheckWatchesRequest::from_slice(body).map_err(unreadable)?;
                let kind = watcher_type(request.kind)?;
                let is_there = self.watches.contains(request.path, self.conn, kind);
                is_there.then_some(()).ok_or(ErrorCode::NoWatcher)
            }
            op::REMOVE_WATCHES => {
                let request = RemoveWatchesRequest::from_slice(body).map_err(unreadable)?;
                let kind = watcher_type(request.kind)?;
                let was_there = self.watches.remove(request.path, self.conn, kind);
                was_there.then_some(()).ok_or(ErrorCode::NoWatcher)
            }
            op::WHO_AM_I => {
                let client_info = client_infos(self.identities, self.auth);
                WhoAmIResponse { client_info }.encode(out);
                Ok(())
            }
            _ => Err(ErrorCode::Unimplemented),
        }
    }

    /// Registers watches again after a reconnect. Events for what was missed go to `sink`, before
    /// the reply, which has no record.
    pub(super) fn set_watches(
        &mut self,
        kind: i32,
        body: &[u8],
        sink: &mut dyn FnMut(EventType, &str),
    ) -> Result<(), ErrorCode> {
        let request = if kind == op::SET_WATCHES2 {
            SetWatches2::from_slice(body).map_err(unreadable)?
        } else {
            let request = SetWatches::from_slice(body).map_err(unreadable)?;
            SetWatches2 {
                relative_zxid: request.relative_zxid,
                data_watches: request.data_watches,
                exist_watches: request.exist_watches,
                child_watches: request.child_watches,
                persistent_watches: Vec::new(),
                persistent_recursive_watches: Vec::new(),
            }
        };
        let (view, zxid) = (self.view, self.zxid);
        let last_change = |path: &str| {
            let stat = node_at(view, path, zxid)?.stat();
            Some(LastChange {
                mzxid: stat.mzxid,
                pzxid: stat.pzxid,
            })
        };
        self.watches
            .restore(&request, self.conn, &last_change, sink);
        Ok(())
    }

    fn exists(&mut self, body: &[u8], out: &mut Vec<u8>) -> Result<(), ErrorCode> {
        let request = ExistsRequest::from_slice(body).map_err(unreadable)?;
        if request.path.contains('\0') {
            return Err(ErrorCode::BadArguments);
        }
        let node = node_at(self.view, request.path, self.zxid);
        if let Some(node) = node {
            self.check(node.acl(), perms::READ)?;
        }
        if request.watch {
            self.watches.add_data(request.path, self.conn);
        }
        let stat = node.ok_or(ErrorCode::NoNode)?.stat();
        ExistsResponse { stat }.encode(out);
        Ok(())
    }

    fn get_data(&mut self, path: &str, watch: bool, out: &mut Vec<u8>) -> Result<(), ErrorCode> {
        let node = self.readable(path)?;
        node.data().encode(out);
        node.stat().encode(out);
        if watch {
            self.watches.add_data(path, self.conn);
        }
        Ok(())
    }

    fn get_children(
        &mut self,
        path: &str,
        watch: bool,
        with_stat: bool,
        out: &mut Vec<u8>,
    ) -> Result<(), ErrorCode> {
        let node = self.readable(path)?;
        let count_at = out.len();
        let mut count = 0i32;
        count.encode(out);
        // A long list that grows by doubling is copied once more than it is made.
        out.reserve(node.num_children().max(0) as usize * USUAL_NAME_LEN);
        node.for_each_child(&mut |name| {
            name.encode(out);
            count += 1;
        });
        out[count_at..count_at + 4].copy_from_slice(&count.to_be_bytes());
        if with_stat {
            node.stat().encode(out);
        }
        if watch {
            self.watches.add_child(path, self.conn);
        }
        Ok(())
    }

    /// Digests are hidden from those who may read the ACL but not set it.
    fn get_acl(&mut self, body: &[u8], out: &mut Vec<u8>) -> Result<(), ErrorCode> {
        let request = GetAclRequest::from_slice(body).map_err(unreadable)?;
        let node = node_at(self.view, request.path, self.zxid).ok_or(ErrorCode::NoNode)?;
        self.check(node.acl(), perms::READ | perms::ADMIN)?;
        let acl = if self.check(node.acl(), perms::ADMIN).is_ok() {
            node.acl().to_vec()
        } else {
            mask_digests(node.acl())
        };
        let stat = node.stat();
        GetAclResponse { acl, stat }.encode(out);
        Ok(())
    }

    fn get_all_children_number(&mut self, body: &[u8], out: &mut Vec<u8>) -> Result<(), ErrorCode> {
        let request = GetAllChildrenNumberRequest::from_slice(body).map_err(unreadable)?;
        self.readable(request.path)?;
        let number = self.view.descendants_at(lookup(request.path), self.zxid);
        let total_number = i32::try_from(number).unwrap_or(i32::MAX);
        GetAllChildrenNumberResponse { total_number }.encode(out);
        Ok(())
    }

    fn get_ephemerals(&mut self, body: &[u8], out: &mut Vec<u8>) -> Result<(), ErrorCode> {
        let request = GetEphemeralsRequest::from_slice(body).map_err(unreadable)?;
        let prefix = request.prefix_path;
        let takes_all = matches!(prefix.trim(), "" | "/");
        let mut paths = self.view.ephemerals_at(self.session, self.zxid);
        paths.retain(|path| takes_all || path.starts_with(prefix));
        paths.encode(out);
        Ok(())
    }

    /// Each read of a multiRead succeeds or fails for itself.
    fn multi_read(&mut self, body: &[u8], out: &mut Vec<u8>) -> Result<(), ErrorCode> {
        let mut from = Decoder::new(body);
        let reply_start = out.len();
        loop {
            let header = MultiHeader::decode(&mut from).map_err(unreadable)?;
            if header.done {
                MULTI_END.encode(out);
                return Ok(());
            }
            if starts_with_null(from.rest()) {
                return Err(ErrorCode::MarshallingError);
            }
            // Both requests are of the same shape; watches are not set by a multiRead.
            let request = match header.kind {
                op::GET_DATA | op::GET_CHILDREN => {
                    GetDataRequest::decode(&mut from).map_err(unreadable)?
                }
                _ => return Err(ErrorCode::MarshallingError),
            };
            let start = out.len();
            if start - reply_start > limits::MULTI_READ_REPLY_MAX {
                return Err(ErrorCode::MarshallingError);
            }
            reply::multi_header(out, header.kind);
            let result = if header.kind == op::GET_DATA {
                self.get_data(request.path, false, out)
            } else {
                self.get_children(request.path, false, false, out)
            };
            if let Err(error) = result {
                out.truncate(start);
                reply::multi_error(out, error);
            }
        }
    }

    fn add_watch(&mut self, body: &[u8], out: &mut Vec<u8>) -> Result<(), ErrorCode> {
        let request = AddWatchRequest::from_slice(body).map_err(unreadable)?;
        let mode = AddWatchMode::from_code(request.mode).ok_or(ErrorCode::MarshallingError)?;
        self.watches.add(request.path, self.conn, mode);
        ErrorResponse { err: 0 }.encode(out);
        Ok(())
    }

    fn readable(&self, path: &str) -> Result<NodeRef<'a>, ErrorCode> {
        let node = node_at(self.view, path, self.zxid).ok_or(ErrorCode::NoNode)?;
        self.check(node.acl(), perms::READ)?;
        Ok(node)
    }

    fn check(&self, acl: &[Acl], perm: i32) -> Result<(), ErrorCode> {
        allows(acl, perm, self.identities, self.auth)
            .then_some(())
            .ok_or(ErrorCode::NoAuth)
    }
}

fn watcher_type(code: i32) -> Result<WatcherType, ErrorCode> {
    WatcherType::from_code(code).ok_or(ErrorCode::MarshallingError)
}

/// The reads that Apache cannot answer for a null path, which is not the empty one.
fn looks_up_a_path(kind: i32) -> bool {
    matches!(
        kind,
        op::EXISTS
            | op::GET_DATA
            | op::GET_CHILDREN
            | op::GET_CHILDREN2
            | op::GET_ACL
            | op::GET_ALL_CHILDREN_NUMBER
    )
}

/// True if a record's first string is null.
fn starts_with_null(record: &[u8]) -> bool {
    record.starts_with(&(-1_i32).to_be_bytes())
}

/// Apache keeps the root under the empty path too.
fn lookup(path: &str) -> &str {
    if path.is_empty() { "/" } else { path }
}

fn node_at<'v>(view: &'v View, path: &str, zxid: Zxid) -> Option<NodeRef<'v>> {
    view.node_at(lookup(path), zxid)
}
