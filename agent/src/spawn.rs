//! Starting a process: everything is prepared here, and the child only makes system calls.
//!
//! The child shares the agent's memory until it has exec'd (no page tables to copy), but the agent does not wait for
//! it: looking up a program may block for as long as a file system likes, and the agent must go on serving. A word
//! that the kernel clears says when the child has left this memory; another one, why it could not begin.

use crate::failure::{E2BIG, EACCES, EINVAL, ENOENT, ENOTDIR};
use crate::sys::{self, raw};
use crate::tree::Tree;
use std::ffi::CString;
use std::io;
use std::os::raw::{c_char, c_void};
use std::os::unix::io::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicU32, Ordering};

pub struct Identity {
    pub uid: u32,
    pub gid: u32,
    pub groups: Vec<u32>,
}

/// What to run. All strings are checked for NUL already.
pub struct Program {
    pub argv: Vec<CString>,
    /// Paths to try in order.
    pub candidates: Vec<CString>,
    pub env: Vec<CString>,
    pub cwd: CString,
    /// The directory was not asked for: `/` does when it is not there.
    pub cwd_is_default: bool,
    /// `None` leaves the agent's own.
    pub identity: Option<Identity>,
}

/// What the child reads, and where it says why it failed. Stays where it is, with its stack, until the child has
/// left this memory.
pub struct Launch {
    program: Program,
    argv: Vec<*const c_char>,
    env: Vec<*const c_char>,
    candidates: Vec<*const c_char>,
    fds: [RawFd; 3],
    controlling_terminal: bool,
    door: RawFd,
    new_cgroup_namespace: bool,
    mark: u64,
    no_signals: u64,
    stack: Vec<u128>,
    /// Not 0 while the child is in this memory; the kernel clears it when it execs or ends.
    here: AtomicU32,
    /// `Stage` and errno of a failure, else 0.
    failure: AtomicU32,
}

/// The child makes a handful of calls; the rest is for the frames of an unoptimised build.
const STACK: usize = 32 * 1024;

/// Where a start failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    Prepare = 1,
    User = 2,
    Directory = 3,
    Program = 4,
}

impl Launch {
    /// Whether the child still uses this memory: it has not begun its program, and has not ended.
    pub fn is_under_way(&self) -> bool {
        self.here.load(Ordering::Acquire) != 0
    }

    /// Why the program was not begun, once the child has said so. It ends then.
    pub fn failure(&self) -> Option<(Stage, i32)> {
        let failure = self.failure.load(Ordering::Acquire);
        let stage = match failure >> 16 {
            0 => return None,
            2 => Stage::User,
            3 => Stage::Directory,
            4 => Stage::Program,
            _ => Stage::Prepare,
        };
        Some((stage, (failure & 0xffff) as i32))
    }
}

fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    strings.iter().map(|string| string.as_ptr()).chain([std::ptr::null()]).collect()
}

/// Starts `program` in `tree` on the descriptors `fds`; answers its pid. Errors are those before there was a child.
pub fn spawn(
    program: Program,
    fds: [RawFd; 3],
    controlling_terminal: bool,
    tree: &Tree,
) -> io::Result<(i32, Box<Launch>)> {
    let mut launch = Box::new(Launch {
        argv: pointers(&program.argv),
        env: pointers(&program.env),
        candidates: pointers(&program.candidates),
        program,
        fds,
        controlling_terminal,
        door: -1,
        new_cgroup_namespace: matches!(tree, Tree::Cgroup(_)),
        mark: if let Tree::Mark(mark) = tree { *mark } else { 0 },
        no_signals: 0,
        stack: vec![0; STACK / 16],
        here: AtomicU32::new(1),
        failure: AtomicU32::new(0),
    });
    let mut args = sys::CloneArgs {
        flags: sys::CLONE_VM | sys::CLONE_CHILD_CLEARTID,
        child_tid: &launch.here as *const AtomicU32 as u64,
        exit_signal: sys::SIGCHLD as u64,
        stack: launch.stack.as_mut_ptr() as u64,
        stack_size: STACK as u64,
        ..sys::CloneArgs::default()
    };
    let pid = match tree {
        Tree::Mark(_) => clone(&args, &launch),
        Tree::Cgroup(cgroup) => {
            args.flags |= sys::CLONE_INTO_CGROUP;
            args.cgroup = cgroup.fd() as u64;
            let pid = clone(&args, &launch);
            let is_unknown_to_kernel = pid == -(EINVAL as isize) || pid == -(E2BIG as isize);
            if is_unknown_to_kernel {
                let door = cgroup.door()?;
                launch.door = door.as_raw_fd();
                args.flags &= !sys::CLONE_INTO_CGROUP;
                args.cgroup = 0;
                clone(&args, &launch)
            } else {
                pid
            }
        }
    };
    if pid < 0 {
        return Err(io::Error::from_raw_os_error(-pid as i32));
    }
    Ok((pid as i32, launch))
}

fn clone(args: &sys::CloneArgs, launch: &Launch) -> isize {
    // SAFETY: the stack is in `launch`, which the caller keeps until the child has left this memory.
    unsafe { raw::clone3(args, child, (launch as *const Launch).cast()) }
}

/// Gives up in the child: says where and why.
unsafe fn fail(launch: &Launch, stage: Stage, result: isize) -> ! {
    launch.failure.store((stage as u32) << 16 | (-result as u32 & 0xffff), Ordering::Release);
    loop {
        raw::call4(raw::EXIT, 127, 0, 0, 0);
    }
}

/// The child. Shares all memory with the running agent: no allocation, no lock, no errno, nothing written but its stack.
unsafe extern "C" fn child(data: *const c_void) -> ! {
    let launch = &*(data as *const Launch);
    let must = |stage: Stage, result: isize| {
        if result < 0 {
            fail(launch, stage, result);
        }
    };
    if launch.door >= 0 {
        must(Stage::Prepare, raw::call4(raw::WRITE, launch.door as usize, b"0".as_ptr() as usize, 1, 0));
    }
    must(Stage::Prepare, raw::call4(raw::SETSID, 0, 0, 0, 0));
    if launch.new_cgroup_namespace {
        must(Stage::Prepare, raw::call4(raw::UNSHARE, sys::CLONE_NEWCGROUP as usize, 0, 0, 0));
    }
    if launch.mark != 0 {
        mark(launch.mark);
    }
    if launch.controlling_terminal {
        let terminal = launch.fds[0] as usize;
        must(Stage::Prepare, raw::call4(raw::IOCTL, terminal, sys::TIOCSCTTY as usize, 0, 0));
    }
    let mut target = 0;
    while target < 3 {
        must(Stage::Prepare, raw::call4(raw::DUP3, launch.fds[target] as usize, target, 0, 0));
        target += 1;
    }
    raw::call4(raw::UMASK, 0o022, 0, 0, 0);
    if let Some(identity) = &launch.program.identity {
        let (uid, gid) = (identity.uid as usize, identity.gid as usize);
        let groups = &identity.groups;
        must(Stage::User, raw::call4(raw::SETGROUPS, groups.len(), groups.as_ptr() as usize, 0, 0));
        must(Stage::User, raw::call4(raw::SETRESGID, gid, gid, gid, 0));
        must(Stage::User, raw::call4(raw::SETRESUID, uid, uid, uid, 0));
    }
    let cwd = raw::call4(raw::CHDIR, launch.program.cwd.as_ptr() as usize, 0, 0, 0);
    if cwd < 0 {
        if !launch.program.cwd_is_default {
            fail(launch, Stage::Directory, cwd);
        }
        must(Stage::Directory, raw::call4(raw::CHDIR, b"/\0".as_ptr() as usize, 0, 0, 0));
    }
    let mask = &launch.no_signals as *const u64 as usize;
    raw::call4(raw::RT_SIGPROCMASK, 2, mask, 0, 8);

    let (argv, env) = (launch.argv.as_ptr() as usize, launch.env.as_ptr() as usize);
    let mut candidate = launch.candidates.as_ptr();
    let mut reason = -(ENOENT as isize);
    while !(*candidate).is_null() {
        let result = raw::call4(raw::EXECVE, *candidate as usize, argv, env, 0);
        // As execvp does: what is not there is passed over, what may not be run is remembered.
        if result == -(EACCES as isize) {
            reason = result;
        } else if result != -(ENOENT as isize) && result != -(ENOTDIR as isize) {
            reason = result;
            break;
        }
        candidate = candidate.add(1);
    }
    fail(launch, Stage::Program, reason)
}

/// Lowers the soft limit by which `tree.rs` knows the processes of a command again.
unsafe fn mark(value: u64) {
    let mut limit = sys::Limit { soft: 0, hard: 0 };
    let resource = sys::RLIMIT_MSGQUEUE as usize;
    raw::call4(raw::PRLIMIT64, 0, resource, 0, &mut limit as *mut sys::Limit as usize);
    limit.soft = value;
    raw::call4(raw::PRLIMIT64, 0, resource, &limit as *const sys::Limit as usize, 0);
}

pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Adds what a command may rely on and the caller left out.
pub fn complete_env(env: &mut Vec<Vec<u8>>, user: &str, home: &str, terminal: bool) {
    let mut add = |name: &str, value: &str| {
        let prefix = format!("{name}=");
        if !env.iter().any(|entry| entry.starts_with(prefix.as_bytes())) {
            env.push(format!("{name}={value}").into_bytes());
        }
    };
    add("PATH", DEFAULT_PATH);
    add("HOME", home);
    add("USER", user);
    if terminal {
        add("TERM", "xterm-256color");
    }
}

/// Where a program may be: itself when it has a slash, else in each directory of the command's own PATH.
pub fn candidates(program: &[u8], env: &[Vec<u8>]) -> Vec<Vec<u8>> {
    if program.contains(&b'/') || program.is_empty() {
        return vec![program.to_vec()];
    }
    let path = env.iter().find_map(|entry| entry.strip_prefix(b"PATH=")).unwrap_or(b"");
    let in_directory = |directory: &[u8]| {
        let mut candidate = if directory.is_empty() { b".".to_vec() } else { directory.to_vec() };
        candidate.push(b'/');
        candidate.extend_from_slice(program);
        candidate
    };
    path.split(|&byte| byte == b':').map(in_directory).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_looked_for_in_the_commands_own_path() {
        let env = vec![b"A=1".to_vec(), b"PATH=/a::/b".to_vec()];
        assert_eq!(candidates(b"x", &env), [&b"/a/x"[..], b"./x", b"/b/x"]);
        assert_eq!(candidates(b"./x", &env), [b"./x"]);
        assert_eq!(candidates(b"/bin/x", &env), [b"/bin/x"]);
    }

    #[test]
    fn what_the_caller_set_is_left_alone() {
        let mut env = vec![b"HOME=/elsewhere".to_vec(), b"PATH=".to_vec()];
        complete_env(&mut env, "ada", "/home/ada", true);
        assert_eq!(env, [&b"HOME=/elsewhere"[..], b"PATH=", b"USER=ada", b"TERM=xterm-256color"]);
    }
}
