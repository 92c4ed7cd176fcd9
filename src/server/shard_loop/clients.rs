//! The clients of a shard: whose socket, and whose connection.

use std::collections::HashMap;

use crate::exchange::ConnId;
use crate::rt::net::SocketId;

/// One client.
pub struct Client {
    /// Its connection, as the shard knows it.
    pub conn: ConnId,
    /// Its socket.
    pub socket: SocketId,
    /// Empty; kept for its memory.
    pub output: Vec<u8>,
    /// Bytes that its socket has not taken yet.
    pub sending_bytes: usize,
    /// Whether its socket is read.
    pub is_reading: bool,
    /// Whether its socket has failed.
    pub is_broken: bool,
}

impl Client {
    /// A client that has just connected.
    pub fn new(conn: ConnId, socket: SocketId) -> Client {
        Client {
            conn,
            socket,
            output: Vec::new(),
            sending_bytes: 0,
            is_reading: true,
            is_broken: false,
        }
    }
}

/// All clients, each in the slot of its socket.
#[derive(Default)]
pub struct Clients {
    slots: Vec<Option<Client>>,
    sockets: HashMap<ConnId, SocketId, foldhash::fast::FixedState>,
}

impl Clients {
    /// Adds one.
    pub fn insert(&mut self, client: Client) {
        let index = client.socket.0 as usize;
        if index >= self.slots.len() {
            self.slots.resize_with(index + 1, || None);
        }
        self.sockets.insert(client.conn, client.socket);
        let former = self.slots[index].replace(client);
        debug_assert!(former.is_none(), "a socket is used again once it is closed");
    }

    /// The client with this socket.
    pub fn at(&mut self, socket: SocketId) -> Option<&mut Client> {
        self.slots.get_mut(socket.0 as usize)?.as_mut()
    }

    /// The client with this connection.
    pub fn of(&mut self, conn: ConnId) -> Option<&mut Client> {
        let socket = *self.sockets.get(&conn)?;
        self.at(socket)
    }

    /// Forgets one.
    pub fn remove(&mut self, conn: ConnId) -> Option<Client> {
        let socket = self.sockets.remove(&conn)?;
        self.slots[socket.0 as usize].take()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.sockets.is_empty()
    }

    /// The connections of all.
    pub fn all(&self) -> Vec<ConnId> {
        let clients = self.slots.iter().flatten();
        clients.map(|client| client.conn).collect()
    }
}
