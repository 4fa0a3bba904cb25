//! REHEARSE: the guest does once, without effect, what its first requests will have it do.
//!
//! Under software emulation a restored machine has no code: each piece of kernel and agent is translated when it first runs,
//! which is most of what a start costs. A machine that is made ahead of need does that before it is needed.
//!
//! A process of its own, in namespaces of its own, mounts a root and enters it; with the process all of that ends. Then
//! a command is run that does nothing, by the loop, as EXEC would.

use crate::account::Accounts;
use crate::agent::{Agent, Stream};
use crate::failure::{Failure, EBUSY, EIO};
use crate::guest::Guest;
use crate::hooks::{order, End, Hook, Task};
use crate::identity::{self, Clock, Entropy, Identity};
use crate::link::Link;
use crate::network::Network;
use crate::outbox::NOBODY;
use crate::protocol::*;
use crate::setup::{self, Disks};
use crate::spawn::{self, Program};
use crate::sys;
use crate::tlv::{Fields, Tlvs};
use crate::tree::Tree;
use std::os::raw::c_int;
use std::os::unix::io::AsRawFd;
use std::time::{Duration, Instant};

/// The second pass goes where the first could not: where something is done again, or is done soon enough.
const PASSES: usize = 2;
const PATIENCE: Duration = Duration::from_secs(60);
/// A file system lets go of its disk a moment after its last user has ended.
const DISK_PATIENCE: Duration = Duration::from_secs(5);
/// Of each file in the root that is read.
const READ: usize = 64 * 1024;
/// This program, in any root that has `/proc`, also where no name leads to it.
const ITSELF: &str = "/proc/self/exe";

pub fn rehearse(guest: &Guest, link: &Link, fields: &Fields) -> Result<Tlvs, Failure> {
    let lower = fields.text(TAG_LOWER_SERIAL)?;
    let upper = fields.text(TAG_UPPER_SERIAL)?;
    if lower.is_some() && upper.is_none() {
        return Err(Failure::invalid("UPPER_SERIAL is missing"));
    }
    let _one_at_a_time = guest.begin_setup();
    if upper.is_some() && guest.is_ready() {
        return Err(Failure::invalid("SETUP was done already"));
    }
    let outcome = practise(guest, link, lower, upper).map_err(|failure| match failure.code {
        "Cancelled" => failure,
        _ => Failure { code: "GuestFile", ..failure },
    });
    // Also after a failure. A host that has gone away is not waited for: it is done then in its own time.
    let tidied = order(guest, link, Task::TidyUp);
    outcome.and(tidied).map(|_| Tlvs::new())
}

fn practise(guest: &Guest, link: &Link, lower: Option<&str>, upper: Option<&str>) -> Result<(), Failure> {
    for _ in 0..PASSES {
        link.check()?;
        if guest.is_vm() {
            if let Some(upper) = upper {
                practise_setup(guest, link, &Disks::find(lower, upper)?)?;
                practise_network()?;
            }
            practise_renewal()?;
        }
        let request = Tlvs::new()
            .bytes(TAG_ARGV, ITSELF.as_bytes())
            .bytes(TAG_ARGV, b"--no-op")
            .u64(TAG_TIMEOUT_MS, PATIENCE.as_millis() as u64);
        succeeded(&order(guest, link, Task::Exec(request))?)?;
    }
    Ok(())
}

fn practise_setup(guest: &Guest, link: &Link, disks: &Disks) -> Result<(), Failure> {
    let mut arguments = vec![ITSELF, "--rehearse", &disks.upper];
    arguments.extend(disks.lower.as_deref());
    let ended = order(guest, link, Task::Program(program(&arguments)?, Instant::now() + PATIENCE));
    // Whatever became of it.
    let released =
        disks.lower.iter().chain([&disks.upper]).try_for_each(|device| wait_until_released(device));
    succeeded(&ended?)?;
    released
}

/// Until no file system is on it. The last to close a disk drops what is cached of it, so that another may be put in its place.
fn wait_until_released(device: &str) -> Result<(), Failure> {
    let until = Instant::now() + DISK_PATIENCE;
    loop {
        match sys::open(device.as_bytes(), sys::O_RDONLY | sys::O_EXCL, 0) {
            Err(error) if sys::errno_of(&error) == EBUSY && Instant::now() < until => {
                std::thread::sleep(Duration::from_millis(1));
            }
            opened => return opened.map(|_| ()).map_err(|error| Failure::file(device.as_bytes(), &error)),
        }
    }
}

fn practise_renewal() -> Result<(), Failure> {
    let request = renewal();
    let fields = Fields::parse(request.as_slice())?;
    Entropy::parse(&fields)?;
    Clock::parse(&fields)?;
    Identity::parse(&fields)?;
    identity::rehearse()
}

/// On the interface itself: another network namespace would have none that is like it.
fn practise_network() -> Result<(), Failure> {
    let request = renewal();
    match Network::parse(&Fields::parse(request.as_slice())?)? {
        Some(network) => network.rehearse(),
        None => Ok(()),
    }
}

/// Its network is none that there is (RFC 5737): nobody is to remember who was at an address that somebody gets.
fn renewal() -> Tlvs {
    Tlvs::new()
        .bytes(TAG_HOSTNAME, b"rehearsal")
        .bytes(TAG_MACHINE_ID, &[b'0'; 32])
        .u64(TAG_UNIX_NS, 1)
        .bytes(TAG_ENTROPY, &[0; 256])
        .bytes(TAG_ADDRESS, b"192.0.2.2/24")
        .bytes(TAG_GATEWAY, b"192.0.2.1")
        .bytes(TAG_DNS, b"192.0.2.1")
        .bytes(TAG_MAC, b"52:54:00:00:00:00")
}

/// The process that rehearses SETUP says by its exit code which errno it met, and on its output the rest.
fn succeeded(end: &End) -> Result<(), Failure> {
    if end.status == 0 {
        return Ok(());
    }
    let code = (end.status >> 8) & 0xff;
    let errno = if code == 0 || end.timed_out { EIO } else { code };
    let said = String::from_utf8_lossy(&end.output);
    let message = if said.is_empty() { "a process of the rehearsal failed".into() } else { said };
    Err(Failure::with_errno("GuestFile", message, errno))
}

fn program(arguments: &[&str]) -> Result<Program, Failure> {
    let argv = arguments.iter().map(|argument| crate::files::c_path(argument.as_bytes()));
    let argv = argv.collect::<Result<Vec<_>, _>>()?;
    Ok(Program {
        candidates: argv[..1].to_vec(),
        argv,
        env: Vec::new(),
        cwd: crate::files::c_path(b"/")?,
        cwd_is_default: false,
        identity: None,
    })
}

impl Agent {
    /// As EXEC, but that nobody is told anything but the worker.
    pub fn exec_for_nobody(&mut self, request: &Tlvs, hook: Hook) {
        let started = Fields::parse(request.as_slice()).and_then(|fields| self.exec(NOBODY, &fields));
        match (started, self.streams.get(&NOBODY)) {
            (Err(failure), _) => hook.end(Err(failure)),
            (Ok(()), Some(Stream::Command(key))) => {
                if let Some(command) = self.commands.get_mut(key) {
                    command.hook = Some(hook);
                }
            }
            (Ok(()), _) => hook.end(Err(Failure::new("Internal", "the agent lost a command"))),
        }
    }
}

/// The process that rehearses SETUP: `UPPER [LOWER]`, devices. Answers its exit code.
pub fn main(arguments: &[String]) -> c_int {
    let disks = match arguments {
        [upper] => Disks { lower: None, upper: upper.clone() },
        [upper, lower] => Disks { lower: Some(lower.clone()), upper: upper.clone() },
        _ => return crate::failure::EINVAL,
    };
    match live_through(&disks) {
        Ok(()) => 0,
        Err(failure) => {
            let _ = sys::write_all(1, failure.message.as_bytes());
            failure.errno.unwrap_or(EIO)
        }
    }
}

fn live_through(disks: &Disks) -> Result<(), Failure> {
    let failed = |what: &'static str| move |error| Failure::system("GuestFile", what, &error);
    sys::set_umask(0);
    sys::unshare(sys::CLONE_NEWNS | sys::CLONE_NEWUTS).map_err(failed("cannot make namespaces"))?;
    sys::mount("", "/", "", sys::MS_REC | sys::MS_PRIVATE, "")
        .map_err(failed("cannot make mounts private"))?;
    setup::take_root(disks)?;
    let identity = Fields::parse(renewal().as_slice()).and_then(|fields| Identity::parse(&fields))?;
    identity.apply()?;
    identity::replace("/etc/resolv.conf", "nameserver 192.0.2.1\n").map_err(failed("/etc/resolv.conf"))?;
    Accounts::default().find("root")?;
    let mut ran = false;
    for path in files_in_root()? {
        ran |= use_file(&path)?;
    }
    if !ran {
        run(ITSELF)?;
    }
    Ok(())
}

fn files_in_root() -> Result<Vec<String>, Failure> {
    let failed = |error| Failure::file(b"/", &error);
    let root = sys::open(b"/", sys::O_RDONLY | sys::O_DIRECTORY, 0).map_err(failed)?;
    let names = sys::names_in(root.as_raw_fd()).map_err(failed)?;
    let paths = names.iter().map(|name| format!("/{}", name.to_string_lossy()));
    let is_file = |path: &String| std::fs::metadata(path).map_or(false, |metadata| metadata.is_file());
    Ok(paths.filter(is_file).collect())
}

/// Reads the beginning of a file, and runs it when it is a program.
fn use_file(path: &str) -> Result<bool, Failure> {
    let failed = |error| Failure::file(path.as_bytes(), &error);
    let file = sys::open(path.as_bytes(), sys::O_RDONLY, 0).map_err(failed)?;
    sys::read(file.as_raw_fd(), &mut vec![0; READ]).map_err(failed)?;
    let is_program = sys::stat_fd(file.as_raw_fd()).map_err(failed)?.mode() & 0o111 != 0;
    if is_program {
        run(path)?;
    }
    Ok(is_program)
}

/// Runs a program and waits for its end. A mark of 0 is none.
fn run(path: &str) -> Result<(), Failure> {
    let failed = |error| Failure::file(path.as_bytes(), &error);
    let null = sys::open(b"/dev/null", sys::O_RDWR, 0).map_err(failed)?;
    let fds = [null.as_raw_fd(); 3];
    let (pid, launch) =
        spawn::spawn(program(&[path, "--no-op"])?, fds, false, &Tree::Mark(0)).map_err(failed)?;
    sys::wait(pid).map_err(failed)?;
    match launch.failure() {
        Some((_, errno)) => Err(failed(std::io::Error::from_raw_os_error(errno))),
        None => Ok(()),
    }
}

/// A program that does nothing but what most programs do: it prints, and forks once. Answers its exit code.
pub fn no_op() -> c_int {
    let print = |fd| sys::write_all(fd, b"rehearsal\n");
    match print(1).and_then(|()| print(2)).and_then(|()| sys::fork_once()) {
        Ok(()) => 0,
        Err(error) => sys::errno_of(&error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(status: i32, timed_out: bool, output: &str) -> Result<(), (Option<i32>, String)> {
        let end = End { status, timed_out, output: output.into() };
        succeeded(&end).map_err(|failure| (failure.errno, failure.message))
    }

    #[test]
    fn the_process_says_why_it_failed() {
        assert_eq!(outcome(0, false, ""), Ok(()));
        assert_eq!(outcome(22 << 8, false, "cannot mount"), Err((Some(22), "cannot mount".into())));
        let silent = "a process of the rehearsal failed".to_string();
        assert_eq!(outcome(9, false, ""), Err((Some(EIO), silent.clone())));
        assert_eq!(outcome(9, true, ""), Err((Some(EIO), silent)));
    }

    #[test]
    fn its_identity_is_one_that_setup_takes() {
        let request = renewal();
        let fields = Fields::parse(request.as_slice()).unwrap();
        assert!(Identity::parse(&fields).is_ok() && Network::parse(&fields).unwrap().is_some());
        assert!(Entropy::parse(&fields).is_ok() && Clock::parse(&fields).is_ok());
    }
}
