//! What the load generator itself can do: the same load against a [`Responder`].

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use clap::Parser;

use super::args::Options;
use super::error::BenchError;
use super::process;
use super::report::Report;
use super::responder::{Expected, Responder};
use super::run::{self, OTHER_FILES};
use super::spread::Spread;
use super::value::Values;

/// How long the ceiling is measured, and before that warmed up.
const MEASURED: Duration = Duration::from_millis(500);
const WARMUP: Duration = Duration::from_millis(100);

/// Requests outstanding on a connection where the load is an open loop, whose rate says nothing
/// of what could be.
const OPEN_PIPELINE: u32 = 16;

/// The requests a second that this tool could make with the same load, if that is asked for and can
/// be known.
pub fn ops_s(options: &Options) -> Result<Option<f64>, BenchError> {
    let report = options.wants_ceiling().then(|| measure(options));
    Ok(report
        .transpose()?
        .map(|report| report.total.throughput_ops_s))
}

/// What the terminal is told of it.
pub fn text(ops_s: f64) -> String {
    format!("ceiling {ops_s:.0} ops/s against a responder that only answers")
}

/// What the same load measures against a responder in a thread of this process,
/// which shares the processors with it.
fn measure(options: &Options) -> Result<Report, BenchError> {
    // Both ends of each connection are here.
    let files = 2 * u64::from(options.connections) + OTHER_FILES;
    process::allow_open_files(files).map_err(|source| BenchError::System {
        what: "limit of open files",
        source,
    })?;
    let failed = |source| BenchError::System {
        what: "responder",
        source,
    };
    let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let responder = Responder::bind(loopback, expected(options)).map_err(failed)?;
    let address = responder.address().map_err(failed)?;
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let thread = thread::Builder::new()
        .name("responder".to_owned())
        .spawn(move || responder.run(&stopped))
        .map_err(failed)?;
    let report = run::run(&Options {
        server: vec![address.to_string()],
        server_pid: Vec::new(),
        rate: None,
        in_step: false,
        pipeline: match options.rate {
            Some(_) => Some(OPEN_PIPELINE),
            None => options.pipeline,
        },
        duration: MEASURED,
        warmup: WARMUP,
        quiet: true,
        // The responder has all that it is asked for.
        keys: options.keys.min(1_000),
        keep: true,
        ..options.clone()
    });
    stop.store(true, Ordering::Relaxed);
    match thread.join() {
        Ok(ended) => ended.map_err(failed)?,
        Err(panic) => std::panic::resume_unwind(panic),
    }
    report
}

fn expected(options: &Options) -> Expected {
    Expected {
        values: Values::new(options.value_size.clone()),
        children: options.children,
    }
}

/// Answer the requests of a `zkore bench` with the same sizes, and do nothing else.
///
/// Shows what the load generator can do on a machine, and what any server must pay for its
/// sockets: compare a server with it.
#[derive(Clone, Debug, Parser)]
pub struct Respond {
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:2181")]
    pub listen: SocketAddr,

    /// As of the run.
    #[arg(long, default_value = "100")]
    pub value_size: Spread,

    /// As of the run.
    #[arg(long, default_value_t = 10)]
    pub children: u32,
}

/// Answers until the process is ended.
pub fn respond(asked: &Respond) -> Result<(), BenchError> {
    let expected = Expected {
        values: Values::new(asked.value_size.clone()),
        children: asked.children,
    };
    let failed = |source: io::Error| BenchError::Connect {
        address: asked.listen.to_string(),
        source,
    };
    let responder = Responder::bind(asked.listen, expected).map_err(failed)?;
    eprintln!(
        "zkore bench: answering on {}",
        responder.address().map_err(failed)?
    );
    responder
        .run(&Arc::new(AtomicBool::new(false)))
        .map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_responder_satisfies_every_request() {
        let mix = "get,set,create,delete,exists,getChildren,multi,sync,ping,reconnect,renew";
        let words = [
            "bench",
            "--mix",
            mix,
            "-c",
            "3",
            "-p",
            "5",
            "--value-size",
            "0..300",
            "--depth",
            "1..4",
            "--keys",
            "50",
        ];
        let options = Options::try_parse_from(words).expect("valid words");
        let report = measure(&options).expect("a run");
        assert!(report.is_sound(), "{}", report.table());
        assert_eq!((report.total.errors, report.reconnects), (0, 0));
        assert_eq!(report.operations.len(), 11);
        // What an open loop's rate is says nothing of what could be.
        let open = Options {
            rate: Some(10.0),
            ..options
        };
        let report = measure(&open).expect("a run");
        assert!(report.open_loop.is_none() && report.total.count > 5);
    }

    #[test]
    fn a_responder_tells_watchers() {
        let words = ["bench", "--scenario=watch-fanout", "-c", "20", "-t", "2"];
        let options = Options::try_parse_from(words).expect("valid words");
        let report = measure(&options).expect("a run");
        assert!(report.is_sound(), "{}", report.table());
        assert_eq!((report.total.errors, report.reconnects), (0, 0));
        let events = report.operations["event"].count;
        let last = report.operations["lastEvent"].count;
        assert!(last > 1 && events >= 19 * (last - 1), "{}", report.table());
    }
}
