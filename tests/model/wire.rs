//! Requests as bytes.

use zkore::jute::proto::{
    CheckVersionRequest, CreateRequest, CreateTtlRequest, DeleteRequest, MULTI_END, MultiHeader,
    SetAclRequest, SetDataRequest, SyncRequest,
};
use zkore::jute::{Record, op};

use super::reference::Request;

/// The operation code and the body.
pub fn encode(request: &Request) -> (i32, Vec<u8>) {
    match request {
        Request::Create {
            op,
            path,
            data,
            acl,
            flags,
            ttl_ms,
        } => {
            let (data, acl, flags) = (data.as_deref(), acl.clone(), *flags);
            let body = if *op == op::CREATE_TTL {
                let ttl_ms = *ttl_ms;
                CreateTtlRequest {
                    path,
                    data,
                    acl,
                    flags,
                    ttl_ms,
                }
                .to_vec()
            } else {
                CreateRequest {
                    path,
                    data,
                    acl,
                    flags,
                }
                .to_vec()
            };
            (*op, body)
        }
        Request::Delete { path, version } => {
            let version = *version;
            (op::DELETE, DeleteRequest { path, version }.to_vec())
        }
        Request::SetData {
            path,
            data,
            version,
        } => {
            let (data, version) = (data.as_deref(), *version);
            (
                op::SET_DATA,
                SetDataRequest {
                    path,
                    data,
                    version,
                }
                .to_vec(),
            )
        }
        Request::SetAcl { path, acl, version } => {
            let (acl, version) = (acl.clone(), *version);
            (op::SET_ACL, SetAclRequest { path, acl, version }.to_vec())
        }
        Request::Check { path, version } => {
            let version = *version;
            (op::CHECK, CheckVersionRequest { path, version }.to_vec())
        }
        Request::Sync => (op::SYNC, SyncRequest { path: "/" }.to_vec()),
        Request::CloseSession => (op::CLOSE_SESSION, Vec::new()),
        Request::Multi(requests) => (op::MULTI, multi(requests)),
    }
}

fn multi(requests: &[Request]) -> Vec<u8> {
    let mut body = Vec::new();
    for request in requests {
        let (kind, part) = encode(request);
        let (done, err) = (false, -1);
        MultiHeader { kind, done, err }.encode(&mut body);
        body.extend(part);
    }
    MULTI_END.encode(&mut body);
    body
}
