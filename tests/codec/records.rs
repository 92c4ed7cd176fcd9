//! Every record of the schema, with the layout that `zookeeper.jute` gives it. Shared by the
//! property tests and the fuzz target.

use zkore::jute::data::*;
use zkore::jute::proto::*;
use zkore::jute::txn::*;
use zkore::jute::{JuteError, Record};

/// One record.
#[allow(
    dead_code,
    reason = "the fuzz target does not look at names and layouts"
)]
pub struct Known {
    /// Its name in the schema.
    pub name: &'static str,
    /// Its fields, in order: `i` int, `l` long, `z` boolean, `s` ustring, `b` buffer, and
    /// brackets around the fields of a vector's elements.
    pub layout: &'static str,
    /// Decodes a record and encodes it again. Panics where the result is not read back the same.
    pub again: fn(&[u8]) -> Result<Vec<u8>, JuteError>,
}

macro_rules! records {
    ($($name:ident: $layout:expr),* $(,)?) => {
        /// All records.
        pub const RECORDS: &[Known] = &[$(Known {
            name: stringify!($name),
            layout: $layout,
            again: |bytes| {
                let record = $name::from_slice(bytes)?;
                let encoded = record.to_vec();
                assert_eq!(
                    $name::from_slice(&encoded).as_ref(),
                    Ok(&record),
                    "what is written is read back"
                );
                Ok(encoded)
            },
        }),*];
    };
}

records! {
    Acl: "iss",
    Stat: "lllliiiliil",
    StatPersisted: "lllliiill",
    ClientInfo: "ss",
    ConnectRequest: "ililbz",
    ConnectResponse: "iilbz",
    SetWatches: "l[s][s][s]",
    SetWatches2: "l[s][s][s][s][s]",
    RequestHeader: "ii",
    MultiHeader: "izi",
    AuthPacket: "isb",
    ReplyHeader: "ili",
    GetDataRequest: "sz",
    SetDataRequest: "sbi",
    ReconfigRequest: "sssl",
    SetDataResponse: "lllliiiliil",
    GetSaslRequest: "b",
    SetSaslResponse: "b",
    CreateRequest: "sb[iss]i",
    CreateTtlRequest: "sb[iss]il",
    DeleteRequest: "si",
    GetChildrenRequest: "sz",
    GetAllChildrenNumberRequest: "s",
    GetChildren2Request: "sz",
    CheckVersionRequest: "si",
    SyncRequest: "s",
    SyncResponse: "s",
    GetAclRequest: "s",
    SetAclRequest: "s[iss]i",
    SetAclResponse: "lllliiiliil",
    AddWatchRequest: "si",
    WatcherEvent: "iis",
    ErrorResponse: "i",
    CreateResponse: "s",
    Create2Response: "slllliiiliil",
    ExistsRequest: "sz",
    ExistsResponse: "lllliiiliil",
    GetDataResponse: "blllliiiliil",
    GetChildrenResponse: "[s]",
    GetAllChildrenNumberResponse: "i",
    GetChildren2Response: "[s]lllliiiliil",
    GetAclResponse: "[iss]lllliiiliil",
    CheckWatchesRequest: "si",
    RemoveWatchesRequest: "si",
    GetEphemeralsRequest: "s",
    GetEphemeralsResponse: "[s]",
    WhoAmIResponse: "[ss]",
    TxnDigest: "il",
    TxnHeader: "lilli",
    CreateTxnV0: "sb[iss]z",
    CreateTxn: "sb[iss]zi",
    CreateTtlTxn: "sb[iss]il",
    CreateContainerTxn: "sb[iss]i",
    DeleteTxn: "s",
    SetDataTxn: "sbi",
    CheckVersionTxn: "si",
    SetAclTxn: "s[iss]i",
    CreateSessionTxn: "i",
    CloseSessionTxn: "[s]",
    ErrorTxn: "i",
}

/// Gives the same bytes to every decoder. None may panic; what one takes, it must write back so
/// that it is read the same.
pub fn decode_as_everything(bytes: &[u8]) {
    for known in RECORDS {
        let _ = (known.again)(bytes);
    }
    if let Ok((header, txn, digest)) = decode_txn(bytes) {
        let mut encoded = Vec::new();
        encode_txn(&header, &txn, digest.as_ref(), &mut encoded);
        assert_eq!(decode_txn(&encoded), Ok((header, txn, digest)));
    }
    let mut from = zkore::jute::Decoder::new(bytes);
    if let Ok((request, _)) = ConnectRequest::decode_lenient(&mut from) {
        assert_eq!(
            ConnectRequest::from_slice(&request.to_vec()).as_ref(),
            Ok(&request)
        );
    }
}
