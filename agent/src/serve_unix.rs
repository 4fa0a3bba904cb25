//! `--serve-unix PATH [--root-ready] [--hooks DIRECTORY]`: the same agent as an ordinary process, for tests of the host's side.
//!
//! Paths are the host's, nothing is mounted, and what would change the machine (clock, names, network, freezing,
//! power) is checked and then left alone. SHUTDOWN ends the process.

use crate::agent::Agent;
use crate::guest::{Guest, Place};
use crate::sys;
use crate::transport::Transport;
use crate::tree::Trees;
use std::os::unix::net::UnixListener;
use std::sync::Arc;

pub fn main(arguments: &[String]) -> Result<(), String> {
    let mut path = None;
    let mut root_ready = false;
    let mut debug = false;
    let mut hooks_directory = None;
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match argument.as_str() {
            "--serve-unix" => path = rest.next(),
            "--root-ready" => root_ready = true,
            "--debug" => debug = true,
            "--hooks" => hooks_directory = rest.next(),
            other => return Err(format!("unknown argument {other}\n{USAGE}")),
        }
    }
    let path = path.ok_or(USAGE)?;
    let text = |what: &'static str| move |error: std::io::Error| format!("{what}: {error}");
    let signals = sys::take_signals().map_err(text("cannot take signals"))?;
    sys::become_subreaper();
    sys::set_umask(0);
    let mut guest = Guest::new(Place::Host, debug, None);
    if let Some(directory) = hooks_directory {
        guest.hooks_directory = directory.clone();
    }
    let guest = Arc::new(guest);
    if root_ready {
        guest.set_ready();
    }
    let listener = UnixListener::bind(path).map_err(text("cannot listen"))?;
    let trees = Trees::Marks { last: 0 };
    let mut agent = Agent::new(guest, trees, signals).map_err(text("cannot start"))?;
    let error = agent.run(Transport::Socket { listener, connection: None });
    let _ = std::fs::remove_file(path);
    match error.raw_os_error() {
        Some(0) => Ok(()),
        _ => Err(error.to_string()),
    }
}

const USAGE: &str = "usage: alcove-agent --serve-unix PATH [--root-ready] [--hooks DIRECTORY] [--debug]";
