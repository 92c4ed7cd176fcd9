//! Settings while they are read: values whose default depends on others stay open until the end.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::path::PathBuf;

use super::servers::ServerLine;
use super::settings::{CLIENT_PORT_DEFAULT, Config};

/// The longest tick in milliseconds: twenty of them must fit a session timeout.
pub(super) const TICK_TIME_MS_MAX: i64 = i32::MAX as i64 / 20;

/// Settings that are partly read.
#[derive(Default)]
pub(super) struct Draft {
    /// What is settled.
    pub config: Config,
    pub client_port: Option<u16>,
    pub client_port_address: Option<String>,
    pub data_dir: Option<PathBuf>,
    pub data_log_dir: Option<PathBuf>,
    /// `None` is two ticks.
    pub min_session_timeout_ms: Option<i32>,
    /// `None` is twenty ticks.
    pub max_session_timeout_ms: Option<i32>,
    pub servers: Vec<ServerLine>,
    /// Said by a key that replaced a value which cannot be had as given.
    pub adjustment: Option<String>,
}

impl Draft {
    /// Settles what depends on other settings. `file_given` is whether there is a zoo.cfg, which
    /// must then name the data directory and the port.
    pub(super) fn finish(mut self, file_given: bool) -> Result<Config, String> {
        self.settle_directories(file_given)?;
        self.settle_client_address(file_given)?;
        let config = &mut self.config;
        let ticks = |count: i32| count * config.tick_time_ms;
        let min_ms = self.min_session_timeout_ms.unwrap_or_else(|| ticks(2));
        let max_ms = self.max_session_timeout_ms.unwrap_or_else(|| ticks(20));
        if min_ms > max_ms {
            return Err(format!(
                "minSessionTimeout must not be larger than maxSessionTimeout ({min_ms} > {max_ms} ms)"
            ));
        }
        config.min_session_timeout_ms = min_ms;
        config.max_session_timeout_ms = max_ms;
        Ok(self.config)
    }

    fn settle_directories(&mut self, file_given: bool) -> Result<(), String> {
        match self.data_dir.take() {
            Some(data_dir) => self.config.data_dir = data_dir,
            None if file_given => return Err("dataDir is not set".to_string()),
            None => {}
        }
        self.config.data_log_dir = self
            .data_log_dir
            .take()
            .unwrap_or_else(|| self.config.data_dir.clone());
        Ok(())
    }

    /// The port of the only `server.N` line stands in where zoo.cfg names none.
    fn settle_client_address(&mut self, file_given: bool) -> Result<(), String> {
        let from_server = self.servers.first().and_then(|line| line.client.clone());
        let (address, port) = match (self.client_port, from_server) {
            (Some(port), _) => (self.client_port_address.clone(), port),
            (None, Some(client)) => (client.address, client.port),
            (None, None) if self.client_port_address.is_some() => {
                return Err("clientPortAddress is set but clientPort is not set".to_string());
            }
            (None, None) if file_given => return Err("clientPort is not set".to_string()),
            (None, None) => (None, CLIENT_PORT_DEFAULT),
        };
        self.config.client_address = match address {
            Some(address) => resolve(&address, port)?,
            None => every_address(port),
        };
        Ok(())
    }
}

/// All addresses of the machine, of both families where it has IPv6.
fn every_address(port: u16) -> SocketAddr {
    let has_ipv6 = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).is_ok();
    let any: IpAddr = if has_ipv6 {
        Ipv6Addr::UNSPECIFIED.into()
    } else {
        Ipv4Addr::UNSPECIFIED.into()
    };
    SocketAddr::new(any, port)
}

/// The address of this name; IPv4 is preferred, as Java does.
fn resolve(name: &str, port: u16) -> Result<SocketAddr, String> {
    let host = name
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(name);
    let failed = |reason: String| format!("clientPortAddress={name} cannot be resolved: {reason}");
    let addresses: Vec<SocketAddr> = (host, port)
        .to_socket_addrs()
        .map_err(|error| failed(error.to_string()))?
        .collect();
    addresses
        .iter()
        .find(|address| address.is_ipv4())
        .or(addresses.first())
        .copied()
        .ok_or_else(|| failed("it has no address".to_string()))
}
