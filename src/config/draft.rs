//! Settings while they are read: values whose default depends on others stay open until the end.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::path::PathBuf;

use super::ensemble::{EnsembleDraft, Settled};
use super::error::Warning;
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
    pub ensemble: EnsembleDraft,
    /// Said by a key that replaced a value which cannot be had as given.
    pub adjustment: Option<String>,
}

impl Draft {
    /// Settles what depends on other settings. `file_given` is whether there is a zoo.cfg, which
    /// must then name the data directory and the port.
    pub(super) fn finish(
        mut self,
        file_given: bool,
        warnings: &mut Vec<Warning>,
    ) -> Result<Config, String> {
        self.settle_directories(file_given)?;
        let ensemble = std::mem::take(&mut self.ensemble);
        let (data_dir, extended_types) = (&self.config.data_dir, self.config.extended_types);
        let mut settled = ensemble.settle(data_dir, file_given, extended_types, warnings)?;
        self.config.ensemble = settled.ensemble.take();
        self.settle_client_address(file_given, settled)?;
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

    /// What the own server line says of clients stands in where zoo.cfg names no port, and must
    /// not contradict it (Apache's `setupClientPort`).
    fn settle_client_address(&mut self, file_given: bool, lines: Settled) -> Result<(), String> {
        if self.client_port.is_none() && self.client_port_address.is_some() {
            return Err("clientPortAddress is set but clientPort is not set".to_string());
        }
        let given = match (self.client_port, &self.client_port_address) {
            (Some(port), Some(name)) => Some(resolve("clientPortAddress", name, port)?),
            (Some(port), None) => Some(every_address(port)),
            (None, _) => None,
        };
        let line = match &lines.client {
            Some(client) if given.is_none() || lines.is_client_mine => Some(match &client.host {
                Some(host) => resolve("client address of the server line", host, client.port)?,
                None => every_address(client.port),
            }),
            _ => None,
        };
        self.config.client_address = match (given, line) {
            (Some(given), Some(line)) if !agree(given, line) => {
                return Err(format!(
                    "client address {given} of clientPort is different from {line} in the server \
                     line of this server; leave one of them out"
                ));
            }
            (_, Some(line)) => line,
            (Some(given), None) => given,
            (None, None) if file_given => return Err("clientPort is not set".to_string()),
            (None, None) => every_address(CLIENT_PORT_DEFAULT),
        };
        Ok(())
    }
}

/// Whether zoo.cfg and the server line can both be right.
fn agree(given: SocketAddr, line: SocketAddr) -> bool {
    if given.ip().is_unspecified() {
        given.port() == line.port()
    } else {
        given == line
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
fn resolve(key: &str, name: &str, port: u16) -> Result<SocketAddr, String> {
    let host = name
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(name);
    let failed = |reason: String| format!("{key}={name} cannot be resolved: {reason}");
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
