//! Multi: several operations, all or none (Apache's `MultiOperationRecord` and `pRequest`).

use super::{Prepared, Work, refuse_null_path};
use crate::jute::proto::{
    CheckVersionRequest, CreateRequest, CreateTtlRequest, DeleteRequest, MultiHeader,
    SetDataRequest,
};
use crate::jute::txn::Txn;
use crate::jute::{Decoder, Record, op};
use crate::tree::Outcome;
use crate::types::{CreateMode, ErrorCode};

use super::create::Create;

/// One operation of a multi.
enum Operation<'a> {
    Create(Create<'a>),
    Delete(DeleteRequest<'a>),
    SetData(SetDataRequest<'a>),
    Check(CheckVersionRequest<'a>),
}

/// Prepares a multi: each operation sees what those before it will change.
pub(super) fn prepare<'a>(work: &mut Work<'_>, body: &'a [u8], is_forwarded: bool) -> Prepared<'a> {
    let operations = match read(body) {
        Ok(operations) => operations,
        Err(code) => return Prepared::Failed(Outcome::Failed(code)),
    };
    let count = operations.len();
    let mut txns = Vec::with_capacity(count);
    work.tip.note_changes();
    for operation in operations {
        match work.operation(operation) {
            Ok(txn) => txns.push(txn),
            Err(code) => return Prepared::Failed(failed(code, txns.len(), count)),
        }
    }
    if !is_forwarded && txns.iter().all(|txn| matches!(txn, Txn::Check(_))) {
        return Prepared::Ordered(Outcome::Multi(vec![(op::CHECK, Outcome::Done); count]));
    }
    Prepared::Txn(Txn::Multi(txns))
}

/// The results of a multi that failed at one operation: those before it were well, those after it
/// were not looked at. Some errors are those of the request as a whole.
fn failed(code: ErrorCode, at: usize, count: usize) -> Outcome {
    if matches!(code, ErrorCode::SessionMoved | ErrorCode::MarshallingError) {
        return Outcome::Failed(code);
    }
    let mut codes = vec![ErrorCode::Ok; at];
    codes.push(code);
    codes.resize(count, ErrorCode::RuntimeInconsistency);
    Outcome::MultiFailed(codes)
}

/// Whether one of the operations is to make an ephemeral node.
pub(super) fn makes_ephemeral(body: &[u8]) -> bool {
    let is_one = |operation: &Operation<'_>| match operation {
        Operation::Create(create) => create.is_ephemeral(),
        _ => false,
    };
    read(body).is_ok_and(|operations| operations.iter().any(is_one))
}

impl Work<'_> {
    fn operation<'a>(&mut self, operation: Operation<'a>) -> Result<Txn<'a>, ErrorCode> {
        match operation {
            Operation::Create(create) => self.create(create),
            Operation::Delete(request) => self.delete(&request),
            Operation::SetData(request) => self.set_data(&request),
            Operation::Check(request) => self.check(&request),
        }
    }
}

fn read(body: &[u8]) -> Result<Vec<Operation<'_>>, ErrorCode> {
    let mut from = Decoder::new(body);
    let mut operations = Vec::new();
    loop {
        let header: MultiHeader = part(&mut from)?;
        if header.done {
            return Ok(operations);
        }
        refuse_null_path(from.rest())?;
        operations.push(match header.kind {
            op::CREATE | op::CREATE2 | op::CREATE_CONTAINER => {
                Operation::Create(create(header.kind, part(&mut from)?)?)
            }
            op::CREATE_TTL => Operation::Create(create_ttl(part(&mut from)?)),
            op::DELETE => Operation::Delete(part(&mut from)?),
            op::SET_DATA => Operation::SetData(part(&mut from)?),
            op::CHECK => Operation::Check(part(&mut from)?),
            _ => return Err(ErrorCode::MarshallingError),
        });
    }
}

fn part<'a, T: Record<'a>>(from: &mut Decoder<'a>) -> Result<T, ErrorCode> {
    T::decode(from).map_err(|_| ErrorCode::MarshallingError)
}

/// In a multi the flags decide whether a container is made, and bad flags make the whole request
/// unreadable.
fn create(kind: i32, request: CreateRequest<'_>) -> Result<Create<'_>, ErrorCode> {
    let kind = match CreateMode::from_flags(request.flags) {
        None => return Err(ErrorCode::MarshallingError),
        Some(mode) if mode.is_ttl() => return Err(ErrorCode::MarshallingError),
        Some(CreateMode::Container) => op::CREATE_CONTAINER,
        Some(_) => kind,
    };
    Ok(Create::of_request(kind, request))
}

/// Without a TTL mode, this is a plain create, and the time to live is dropped.
fn create_ttl(request: CreateTtlRequest<'_>) -> Create<'_> {
    let create = Create::of_ttl_request(request);
    let op = match CreateMode::from_flags(create.flags) {
        Some(mode) if mode.is_ttl() => return create,
        Some(CreateMode::Container) => op::CREATE_CONTAINER,
        _ => op::CREATE,
    };
    Create {
        op,
        ttl_ms: -1,
        ..create
    }
}
