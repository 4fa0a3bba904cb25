//! Processes that have got out of their command's cgroup. Root in a guest can: it enters the cgroup namespace of one of the
//! kernel's threads and moves where it likes. Nobody knows any more which command they are of; but nothing except
//! the agent has any business outside, so whoever is found there is no one else.

use crate::cgroup::{child_cgroups, processes_below, processes_in, write_file};
use crate::sys;
use std::ffi::CString;
use std::io;
use std::os::unix::io::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;

/// Where processes are kept that have got out of their cgroups, to stand still with the others.
pub struct Strays {
    root: Arc<OwnedFd>,
    parent: OwnedFd,
}

impl Strays {
    /// `parent` is the cgroup that all commands' are in, `root` the one above it.
    pub fn new(root: Arc<OwnedFd>, parent: OwnedFd) -> Strays {
        Strays { root, parent }
    }

    /// Has them in it that are out now.
    pub fn take(&self) -> io::Result<()> {
        if find(&self.root).is_empty() {
            return Ok(());
        }
        let parent = self.parent.as_raw_fd();
        let name = sys::c_path(b"strays")?;
        match sys::mkdir_at(parent, &name, 0o755) {
            Err(error) if sys::errno_of(&error) != crate::failure::EEXIST => return Err(error),
            _ => {}
        }
        let strays = sys::open_at(parent, &name, sys::O_RDONLY | sys::O_DIRECTORY, 0)?;
        take(&self.root, strays.as_raw_fd());
        Ok(())
    }
}

/// Moves them, looking again for what they have forked meanwhile.
pub fn take(root: &OwnedFd, to: RawFd) {
    for _ in 0..8 {
        let pids = find(root);
        if pids.is_empty() {
            return;
        }
        for pid in pids {
            // It may have ended.
            let _ = write_file(to, "cgroup.procs", pid.to_string().as_bytes());
        }
    }
}

/// Read from the beginning, as often as it is asked.
fn children(cgroup: RawFd) -> Vec<CString> {
    let itself =
        sys::c_path(b".").and_then(|name| sys::open_at(cgroup, &name, sys::O_RDONLY | sys::O_DIRECTORY, 0));
    itself.map_or_else(|_| Vec::new(), |directory| child_cgroups(directory.as_raw_fd()))
}

/// Programs outside the cgroup that all commands' are in: in the root, or in one that they made there.
fn find(root: &OwnedFd) -> Vec<i32> {
    let fd = root.as_raw_fd();
    let mut pids = processes_in(fd);
    // As links of a directory count itself, its name, and the directories in it: none but ours, as a rule.
    if sys::stat_fd(fd).map_or(true, |stat| stat.nlink != 3) {
        for child in children(fd).iter().filter(|child| child.as_bytes() != b"alcove") {
            if let Ok(child) = sys::open_at(fd, child, sys::O_RDONLY | sys::O_DIRECTORY, 0) {
                pids.extend(processes_below(child.as_raw_fd()));
            }
        }
    }
    // The kernel's threads have no program.
    pids.retain(|pid| std::fs::read_link(format!("/proc/{pid}/exe")).is_ok());
    pids
}
