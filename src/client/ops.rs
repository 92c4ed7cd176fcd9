//! The operations of a client. Paths are below the client's chroot, in and out.

use crate::jute::data::{Acl, ClientInfo, Stat};
use crate::jute::proto::{
    AddWatchRequest, CheckWatchesRequest, Create2Response, CreateRequest, CreateResponse,
    CreateTtlRequest, DeleteRequest, ExistsRequest, ExistsResponse, GetAclRequest, GetAclResponse,
    GetAllChildrenNumberRequest, GetAllChildrenNumberResponse, GetChildren2Request,
    GetChildren2Response, GetDataRequest, GetDataResponse, GetEphemeralsRequest,
    GetEphemeralsResponse, ReconfigRequest, RemoveWatchesRequest, SetAclRequest, SetAclResponse,
    SetDataRequest, SetDataResponse, SyncRequest, WhoAmIResponse,
};
use crate::jute::{Record, op};
use crate::types::path::{self, CONFIG_NODE};
use crate::types::{CreateMode, ErrorCode, TTL_MS_MAX, perms};

use super::session::{self, Deregistration, Registration, WatchChange};
use super::watches::{AddWatchMode, Registers, WatcherType};
use super::{Client, ClientError, Op, OpResult, Watcher, multi};

/// Everybody may do everything (Apache's `OPEN_ACL_UNSAFE`).
pub fn open_acl() -> Vec<Acl> {
    vec![Acl {
        perms: perms::ALL,
        scheme: "world".into(),
        id: "anyone".into(),
    }]
}

impl Client {
    /// Creates a node; answers its path, which has the counter appended for sequential modes. The
    /// TTL modes are refused here: see [`Client::create_ttl`].
    pub fn create(
        &self,
        path: &str,
        data: Option<&[u8]>,
        acl: &[Acl],
        mode: CreateMode,
    ) -> Result<String, ClientError> {
        // Servers before 3.5 know no other form; containers have one of their own.
        let kind = if mode.is_container() {
            op::CREATE_CONTAINER
        } else {
            op::CREATE
        };
        let body = self.call_create(kind, path, data, acl, mode)?;
        Ok(self.client_path(CreateResponse::from_slice(&body)?.path))
    }

    /// Creates a node and reads its Stat.
    pub fn create_with_stat(
        &self,
        path: &str,
        data: Option<&[u8]>,
        acl: &[Acl],
        mode: CreateMode,
    ) -> Result<(String, Stat), ClientError> {
        let kind = if mode.is_container() {
            op::CREATE_CONTAINER
        } else {
            op::CREATE2
        };
        let body = self.call_create(kind, path, data, acl, mode)?;
        self.read_create2(&body)
    }

    fn call_create(
        &self,
        kind: i32,
        path: &str,
        data: Option<&[u8]>,
        acl: &[Acl],
        mode: CreateMode,
    ) -> Result<Vec<u8>, ClientError> {
        validate(path, mode.is_sequential())?;
        if mode.is_ttl() {
            return Err(ClientError::Ttl { max_ms: TTL_MS_MAX });
        }
        let record = CreateRequest {
            path: &self.server_path(path),
            data,
            acl: validate_acl(acl)?,
            flags: mode as i32,
        };
        self.call(kind, &record, path, None)
    }

    /// Creates a node that goes `ttl_ms` milliseconds after its last change if it has no children;
    /// `mode` is one of the TTL modes.
    pub fn create_ttl(
        &self,
        path: &str,
        data: Option<&[u8]>,
        acl: &[Acl],
        mode: CreateMode,
        ttl_ms: i64,
    ) -> Result<(String, Stat), ClientError> {
        validate(path, mode.is_sequential())?;
        if !mode.is_ttl() || !(1..=TTL_MS_MAX).contains(&ttl_ms) {
            return Err(ClientError::Ttl { max_ms: TTL_MS_MAX });
        }
        let record = CreateTtlRequest {
            path: &self.server_path(path),
            data,
            acl: validate_acl(acl)?,
            flags: mode as i32,
            ttl_ms,
        };
        self.read_create2(&self.call(op::CREATE_TTL, &record, path, None)?)
    }

    fn read_create2(&self, body: &[u8]) -> Result<(String, Stat), ClientError> {
        let answer = Create2Response::from_slice(body)?;
        Ok((self.client_path(answer.path), answer.stat))
    }

    /// Deletes a node; version −1 matches any.
    pub fn delete(&self, path: &str, version: i32) -> Result<(), ClientError> {
        validate(path, false)?;
        // The root of a chroot is the client's root, which nobody may delete.
        let server_path = if path == "/" {
            path.to_owned()
        } else {
            self.server_path(path)
        };
        let record = DeleteRequest {
            path: &server_path,
            version,
        };
        self.call(op::DELETE, &record, path, None).map(drop)
    }

    /// Reads the Stat of a node, or `None` where there is none. A watch is left either way.
    pub fn exists(&self, path: &str, watch: Option<&Watcher>) -> Result<Option<Stat>, ClientError> {
        validate(path, false)?;
        let record = ExistsRequest {
            path: &self.server_path(path),
            watch: watch.is_some(),
        };
        match self.call(
            op::EXISTS,
            &record,
            path,
            register(watch, Registers::Exists),
        ) {
            Ok(body) => Ok(Some(ExistsResponse::from_slice(&body)?.stat)),
            Err(error) if error.code() == Some(ErrorCode::NoNode) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Reads the data of a node, which may be null, and its Stat.
    pub fn get_data(
        &self,
        path: &str,
        watch: Option<&Watcher>,
    ) -> Result<(Option<Vec<u8>>, Stat), ClientError> {
        validate(path, false)?;
        self.read_data(path, &self.server_path(path), watch)
    }

    /// Reads the ensemble's configuration: the node is the same whatever the chroot is.
    pub fn get_config(
        &self,
        watch: Option<&Watcher>,
    ) -> Result<(Option<Vec<u8>>, Stat), ClientError> {
        self.read_data(CONFIG_NODE, CONFIG_NODE, watch)
    }

    fn read_data(
        &self,
        path: &str,
        server_path: &str,
        watch: Option<&Watcher>,
    ) -> Result<(Option<Vec<u8>>, Stat), ClientError> {
        let record = GetDataRequest {
            path: server_path,
            watch: watch.is_some(),
        };
        let body = self.call(
            op::GET_DATA,
            &record,
            path,
            register(watch, Registers::Data),
        )?;
        let answer = GetDataResponse::from_slice(&body)?;
        Ok((answer.data.map(<[u8]>::to_vec), answer.stat))
    }

    /// Replaces the data of a node; version −1 matches any.
    pub fn set_data(
        &self,
        path: &str,
        data: Option<&[u8]>,
        version: i32,
    ) -> Result<Stat, ClientError> {
        validate(path, false)?;
        let record = SetDataRequest {
            path: &self.server_path(path),
            data,
            version,
        };
        let body = self.call(op::SET_DATA, &record, path, None)?;
        Ok(SetDataResponse::from_slice(&body)?.stat)
    }

    /// Reads the access control list of a node, and its Stat.
    pub fn get_acl(&self, path: &str) -> Result<(Vec<Acl>, Stat), ClientError> {
        validate(path, false)?;
        let record = GetAclRequest {
            path: &self.server_path(path),
        };
        let body = self.call(op::GET_ACL, &record, path, None)?;
        let answer = GetAclResponse::from_slice(&body)?;
        Ok((answer.acl, answer.stat))
    }

    /// Replaces the access control list of a node; version −1 matches any.
    pub fn set_acl(&self, path: &str, acl: &[Acl], version: i32) -> Result<Stat, ClientError> {
        validate(path, false)?;
        let record = SetAclRequest {
            path: &self.server_path(path),
            acl: validate_acl(acl)?,
            version,
        };
        let body = self.call(op::SET_ACL, &record, path, None)?;
        Ok(SetAclResponse::from_slice(&body)?.stat)
    }

    /// Lists the children of a node, in no order, and reads its Stat.
    pub fn get_children(
        &self,
        path: &str,
        watch: Option<&Watcher>,
    ) -> Result<(Vec<String>, Stat), ClientError> {
        validate(path, false)?;
        let record = GetChildren2Request {
            path: &self.server_path(path),
            watch: watch.is_some(),
        };
        let body = self.call(
            op::GET_CHILDREN2,
            &record,
            path,
            register(watch, Registers::Child),
        )?;
        let answer = GetChildren2Response::from_slice(&body)?;
        Ok((to_strings(answer.children), answer.stat))
    }

    /// Counts all descendants of a node.
    pub fn get_all_children_number(&self, path: &str) -> Result<i32, ClientError> {
        validate(path, false)?;
        let record = GetAllChildrenNumberRequest {
            path: &self.server_path(path),
        };
        let body = self.call(op::GET_ALL_CHILDREN_NUMBER, &record, path, None)?;
        Ok(GetAllChildrenNumberResponse::from_slice(&body)?.total_number)
    }

    /// Lists the ephemerals of this session whose path begins with `prefix`. As with the Java
    /// client, the prefix and the answers are the server's paths, chroot included.
    pub fn get_ephemerals(&self, prefix: &str) -> Result<Vec<String>, ClientError> {
        validate(prefix, false)?;
        let record = GetEphemeralsRequest {
            prefix_path: prefix,
        };
        let body = self.call(op::GET_EPHEMERALS, &record, "", None)?;
        Ok(to_strings(
            GetEphemeralsResponse::from_slice(&body)?.ephemerals,
        ))
    }

    /// Waits until the server has caught up with the leader.
    pub fn sync(&self, path: &str) -> Result<(), ClientError> {
        validate(path, false)?;
        let record = SyncRequest {
            path: &self.server_path(path),
        };
        self.call(op::SYNC, &record, path, None).map(drop)
    }

    /// Runs operations as one transaction: all or none ([`ClientError::Multi`] says which failed).
    /// A list of reads is a multi-read, whose results come one by one, errors included.
    pub fn multi(&self, ops: &[Op]) -> Result<Vec<OpResult>, ClientError> {
        let Some(first) = ops.first() else {
            return Ok(Vec::new());
        };
        let reads = first.is_read();
        for operation in ops {
            let sequential = matches!(operation, Op::Create { mode, .. } if mode.is_sequential());
            validate(operation.path(), sequential)?;
            if operation.is_read() != reads {
                return Err(ClientError::from_wire(ErrorCode::BadArguments.code(), None));
            }
        }
        let kind = if reads { op::MULTI_READ } else { op::MULTI };
        let body = multi::encode_request(ops, |path| self.server_path(path));
        let reply = self.request(kind, body, None);
        if reply.err != 0 {
            return Err(ClientError::from_wire(reply.err, None));
        }
        let results = multi::decode_response(&reply.body, |path| self.client_path(path))?;
        let failed = results.iter().find_map(|result| match result {
            OpResult::Error(code) if *code != 0 => Some(*code),
            _ => None,
        });
        match failed {
            Some(code) if !reads => match ErrorCode::from_code(code) {
                Some(code) => Err(ClientError::Multi { code, results }),
                None => Err(ClientError::UnknownCode(code)),
            },
            _ => Ok(results),
        }
    }

    /// Leaves a watch that stays until it is removed.
    pub fn add_watch(
        &self,
        path: &str,
        watcher: &Watcher,
        mode: AddWatchMode,
    ) -> Result<(), ClientError> {
        validate(path, false)?;
        let record = AddWatchRequest {
            path: &self.server_path(path),
            mode: mode as i32,
        };
        let change = register(Some(watcher), Registers::Add(mode));
        self.call(op::ADD_WATCH, &record, path, change).map(drop)
    }

    /// Removes the watches of `watcher` at a path, or everybody's. With `local` they are removed
    /// here even when the server cannot be reached. The watchers are told. The server keeps its
    /// watch when one watcher's is removed, since others may share it.
    pub fn remove_watches(
        &self,
        path: &str,
        watcher: Option<&Watcher>,
        of: WatcherType,
        local: bool,
    ) -> Result<(), ClientError> {
        validate(path, false)?;
        let server_path = self.server_path(path);
        let change = Some(WatchChange::Deregister(Deregistration {
            watcher: watcher.cloned(),
            of,
            local,
        }));
        let kind = of as i32;
        let answer = if watcher.is_some() {
            let record = CheckWatchesRequest {
                path: &server_path,
                kind,
            };
            self.call(op::CHECK_WATCHES, &record, path, change)
        } else {
            let record = RemoveWatchesRequest {
                path: &server_path,
                kind,
            };
            self.call(op::REMOVE_WATCHES, &record, path, change)
        };
        answer.map(drop)
    }

    /// Asks the server whether this session has a watch of this type at a path; an error
    /// [`ErrorCode::NoWatcher`] says no.
    pub fn check_watches(&self, path: &str, of: WatcherType) -> Result<(), ClientError> {
        validate(path, false)?;
        let record = CheckWatchesRequest {
            path: &self.server_path(path),
            kind: of as i32,
        };
        self.call(op::CHECK_WATCHES, &record, path, None).map(drop)
    }

    /// Lists the identities of the session.
    pub fn who_am_i(&self) -> Result<Vec<ClientInfo>, ClientError> {
        let reply = self.request(op::WHO_AM_I, Vec::new(), None);
        if reply.err != 0 {
            return Err(ClientError::from_wire(reply.err, None));
        }
        Ok(WhoAmIResponse::from_slice(&reply.body)?.client_info)
    }

    /// Changes the ensemble: servers that join and leave, or the whole new list. `from_config` is
    /// the version that the present configuration must have, or −1. Answers the new configuration.
    pub fn reconfig(
        &self,
        joining: Option<&str>,
        leaving: Option<&str>,
        members: Option<&str>,
        from_config: i64,
    ) -> Result<(Vec<u8>, Stat), ClientError> {
        let record = ReconfigRequest {
            joining_servers: joining.unwrap_or_default(),
            leaving_servers: leaving.unwrap_or_default(),
            new_members: members.unwrap_or_default(),
            cur_config_id: from_config,
        };
        let body = self.call(op::RECONFIG, &record, "", None)?;
        let answer = GetDataResponse::from_slice(&body)?;
        Ok((answer.data.unwrap_or_default().to_vec(), answer.stat))
    }

    /// Sends a request about `path` and waits for the body of its answer.
    fn call<'r>(
        &self,
        kind: i32,
        record: &impl Record<'r>,
        path: &str,
        change: Option<WatchChange>,
    ) -> Result<Vec<u8>, ClientError> {
        let watch = change.map(|change| (path.to_owned(), change));
        let reply = self.request(kind, record.to_vec(), watch);
        if reply.err != 0 {
            return Err(ClientError::from_wire(reply.err, Some(path)));
        }
        Ok(reply.body)
    }

    fn server_path(&self, client_path: &str) -> String {
        session::server_path(self.chroot.as_deref(), client_path)
    }

    fn client_path(&self, server_path: &str) -> String {
        session::client_path(self.chroot.as_deref(), server_path).to_owned()
    }
}

fn register(watch: Option<&Watcher>, registers: Registers) -> Option<WatchChange> {
    watch.map(|watcher| {
        WatchChange::Register(Registration {
            watcher: watcher.clone(),
            registers,
        })
    })
}

fn validate(path: &str, sequential: bool) -> Result<(), ClientError> {
    path::validate(path, sequential).map_err(|reason| ClientError::Path {
        path: path.to_owned(),
        reason,
    })
}

/// An empty list is refused before it is sent, as the Java client does.
fn validate_acl(acl: &[Acl]) -> Result<Vec<Acl>, ClientError> {
    if acl.is_empty() {
        return Err(ClientError::from_wire(ErrorCode::InvalidAcl.code(), None));
    }
    Ok(acl.to_vec())
}

fn to_strings(names: Vec<&str>) -> Vec<String> {
    names.into_iter().map(str::to_owned).collect()
}
