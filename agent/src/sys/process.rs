//! Processes: their signals, ends, limits and standing, and this one's.

use super::{check, errno_of, owned, O_CLOEXEC, O_NONBLOCK};
use std::io;
use std::os::raw::{c_int, c_uint, c_ulong};
use std::os::unix::io::OwnedFd;

mod foreign {
    use super::*;
    extern "C" {
        pub fn signalfd(fd: c_int, mask: *const SignalSet, flags: c_int) -> c_int;
        pub fn setpriority(which: c_int, who: c_uint, nice: c_int) -> c_int;
        pub fn pthread_sigmask(how: c_int, set: *const SignalSet, old: *mut SignalSet) -> c_int;
        pub fn signal(number: c_int, handler: usize) -> usize;
        pub fn waitpid(pid: c_int, status: *mut c_int, options: c_int) -> c_int;
        pub fn kill(pid: c_int, signal: c_int) -> c_int;
        pub fn fork() -> c_int;
        pub fn _exit(status: c_int) -> !;
        pub fn unshare(flags: c_int) -> c_int;
        pub fn prctl(option: c_int, ...) -> c_int;
        pub fn prlimit(pid: c_int, resource: c_int, new: *const Limit, old: *mut Limit) -> c_int;
        pub fn geteuid() -> c_uint;
        pub fn getegid() -> c_uint;
        pub fn umask(mask: c_uint) -> c_uint;
        pub fn getgroups(size: c_int, list: *mut c_uint) -> c_int;
        pub fn mallopt(parameter: c_int, value: c_int) -> c_int;
        pub fn sched_setscheduler(pid: c_int, policy: c_int, parameter: *const c_int) -> c_int;
    }
}

pub const SIGHUP: c_int = 1;
pub const SIGABRT: c_int = 6;
pub const SIGKILL: c_int = 9;
pub const SIGPIPE: c_int = 13;
pub const SIGTERM: c_int = 15;
pub const SIGCHLD: c_int = 17;
pub const SIGCONT: c_int = 18;
const SIGNALS: c_int = 64;

pub const RLIMIT_NOFILE: c_int = 7;
pub const RLIMIT_MSGQUEUE: c_int = 12;

#[repr(C)]
#[derive(Clone, Copy)]
pub struct SignalSet([u64; 16]);

#[repr(C)]
#[derive(Clone, Copy)]
pub struct Limit {
    pub soft: u64,
    pub hard: u64,
}

/// Blocks SIGCHLD (it arrives by the signalfd that is answered) and SIGPIPE (writes answer EPIPE) in this thread and
/// all that it starts. Handlers stay at their defaults, so a child has only its mask to reset.
pub fn take_signals() -> io::Result<OwnedFd> {
    let mut set = SignalSet([0; 16]);
    set.0[0] = 1 << (SIGCHLD - 1) | 1 << (SIGPIPE - 1);
    let mut child = SignalSet([0; 16]);
    child.0[0] = 1 << (SIGCHLD - 1);
    unsafe {
        foreign::pthread_sigmask(0, &set, std::ptr::null_mut());
        foreign::signal(SIGPIPE, 0);
        foreign::signal(SIGCHLD, 0);
        owned(foreign::signalfd(-1, &child, O_CLOEXEC | O_NONBLOCK))
    }
}

#[derive(Debug, PartialEq, Eq)]
pub enum Reaped {
    /// One that has ended: its pid, and its wait status.
    Child(i32, i32),
    /// There are children, all alive.
    AllAlive,
    /// There are no children.
    NoChildren,
}

/// Takes in a child that has ended, however it was made.
pub fn reap() -> Reaped {
    const WNOHANG: c_int = 1;
    const WALL: c_int = 0x4000_0000;
    let mut status = 0;
    match check(unsafe { foreign::waitpid(-1, &mut status, WNOHANG | WALL) }) {
        Ok(pid) if pid > 0 => Reaped::Child(pid, status),
        Err(error) if errno_of(&error) == crate::failure::ECHILD => Reaped::NoChildren,
        _ => Reaped::AllAlive,
    }
}

/// Waits for a child to end; answers its wait status.
pub fn wait(pid: i32) -> io::Result<i32> {
    let mut status = 0;
    check(unsafe { foreign::waitpid(pid, &mut status, 0) }).map(|_| status)
}

/// Forks a child that ends at once, and waits for it. For processes of one thread.
pub fn fork_once() -> io::Result<()> {
    // SAFETY: the child does nothing but end.
    match check(unsafe { foreign::fork() })? {
        0 => unsafe { foreign::_exit(0) },
        pid => wait(pid).map(|_| ()),
    }
}

pub fn unshare(flags: u64) -> io::Result<()> {
    check(unsafe { foreign::unshare(flags as c_int) }).map(|_| ())
}

pub fn kill(pid: i32, signal: i32) -> io::Result<()> {
    check(unsafe { foreign::kill(pid, signal) }).map(|_| ())
}

pub fn is_signal(number: u32) -> bool {
    (1..=SIGNALS as u32).contains(&number)
}

pub fn become_subreaper() {
    unsafe { foreign::prctl(36, 1 as c_ulong) };
}

pub fn limit(pid: i32, resource: c_int) -> io::Result<Limit> {
    let mut old = Limit { soft: 0, hard: 0 };
    check(unsafe { foreign::prlimit(pid, resource, std::ptr::null(), &mut old) })?;
    Ok(old)
}

pub fn set_limit(resource: c_int, limit: Limit) -> io::Result<()> {
    check(unsafe { foreign::prlimit(0, resource, &limit, std::ptr::null_mut()) }).map(|_| ())
}

pub fn effective_ids() -> (u32, u32) {
    unsafe { (foreign::geteuid(), foreign::getegid()) }
}

pub fn has_groups() -> bool {
    unsafe { foreign::getgroups(0, std::ptr::null_mut()) != 0 }
}

pub fn set_umask(mask: u32) {
    unsafe { foreign::umask(mask) };
}

/// Puts this thread before all that commands run, and their processes and our workers back where they belong.
pub fn run_first() -> io::Result<()> {
    const SCHED_RR: c_int = 2;
    const SCHED_RESET_ON_FORK: c_int = 0x4000_0000;
    let priority: c_int = 1;
    check(unsafe { foreign::sched_setscheduler(0, SCHED_RR | SCHED_RESET_ON_FORK, &priority) }).map(|_| ())
}

/// Puts this thread back among ordinary ones, where it was.
pub fn run_as_others() {
    const SCHED_OTHER: c_int = 0;
    let priority: c_int = 0;
    unsafe { foreign::sched_setscheduler(0, SCHED_OTHER, &priority) };
}

/// Puts this thread before an ordinary one.
pub fn be_preferred() {
    unsafe { foreign::setpriority(0, 0, -10) };
}

/// One malloc arena for all threads: glibc's default of many costs memory and buys nothing on one or two CPUs.
pub fn single_arena() {
    unsafe { foreign::mallopt(-8, 1) };
}
