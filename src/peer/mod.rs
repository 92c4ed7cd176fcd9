//! temp
use crate::types::ServerId;
#[derive(Debug, thiserror::Error)]
#[error("x")]
/// x
pub struct PeerError;
/// x
pub struct Peers;
#[allow(missing_docs)]
pub enum PeerEvent {
    ElectionMessage {
        from: ServerId,
        bytes: Vec<u8>,
    },
    Reachable(ServerId),
    Unreachable(ServerId),
    LearnerAccepted {
        stream: std::net::TcpStream,
        address: std::net::SocketAddr,
    },
    Dialed {
        leader: ServerId,
        result: std::io::Result<std::net::TcpStream>,
    },
}
#[allow(missing_docs)]
impl Peers {
    pub fn start(
        _c: (),
        _e: impl Fn(PeerEvent) + Send + Sync + 'static,
    ) -> Result<Peers, PeerError> {
        Ok(Peers)
    }
    pub fn send(&self, _to: ServerId, _m: Vec<u8>) {}
    pub fn dial(&self, _l: ServerId) {}
}
