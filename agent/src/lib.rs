//! The guest agent of Alcove: PID 1 of every VM, and the other end of the guest channel (`PROTOCOL.md`).
//!
//! One loop (`agent`) owns the port, all commands (`start`, `streams`, `ending`, `detached`;
//! `spawn`, `tree`, `cgroup`) and connections (`dial`); what comes while the guest is sealed (`freeze`) it keeps (`held`).
//! What may block runs on workers (`pool`, `operations`), each with a `link` to its stream. `boot` and `setup` are
//! for the VM only; with `--serve-unix` the same program serves on a host, for tests.

pub mod account;
pub mod agent;
pub mod boot;
pub mod cgroup;
pub mod command;
pub mod detached;
pub mod dial;
pub mod ending;
pub mod failure;
pub mod files;
pub mod frame;
pub mod freeze;
pub mod guest;
pub mod held;
pub mod hooks;
pub mod hurry;
pub mod identity;
pub mod kit;
pub mod last;
pub mod link;
pub mod locks;
pub mod network;
pub mod operations;
pub mod outbox;
pub mod pool;
pub mod protocol;
pub mod read_file;
pub mod recent;
pub mod rehearse;
pub mod remove;
pub mod renew;
pub mod retained;
pub mod serve_unix;
pub mod setup;
pub mod shutdown;
pub mod spawn;
pub mod standstill;
pub mod start;
pub mod strays;
pub mod streams;
pub mod sys;
pub mod tar_format;
pub mod tar_in;
pub mod tar_out;
pub mod tar_reader;
pub mod tar_sparse;
pub mod tar_stage;
pub mod tar_walk;
pub mod timers;
pub mod tlv;
pub mod transport;
pub mod tree;
pub mod usage;
pub mod walk;
pub mod watch;
pub mod write_file;
