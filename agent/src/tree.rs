//! The processes of one command, as something that can be signalled and killed whole.
//!
//! In a VM that is a cgroup. As an ordinary process on a host (`--serve-unix`, for tests) the agent may have no
//! cgroups; there a command is marked by an unusual soft limit on POSIX message queues, which every descendant
//! inherits however it daemonises, and which `/proc` plus `prlimit` find again.

use crate::cgroup::{Cgroup, Cgroups};
use crate::sys;
use std::io;

pub enum Trees {
    Cgroups(Cgroups),
    Marks { last: u64 },
}

pub enum Tree {
    Cgroup(Cgroup),
    Mark(u64),
}

/// Marks count downwards from here, below the usual limit of 819,200.
const HIGHEST_MARK: u64 = 800_000;

impl Trees {
    pub fn make(&mut self) -> io::Result<Tree> {
        match self {
            Trees::Cgroups(cgroups) => cgroups.make().map(Tree::Cgroup),
            Trees::Marks { last } => {
                *last += 1;
                Ok(Tree::Mark(HIGHEST_MARK - *last % HIGHEST_MARK))
            }
        }
    }
    pub fn retire(&mut self, tree: Tree) {
        if let (Trees::Cgroups(cgroups), Tree::Cgroup(cgroup)) = (self, tree) {
            cgroups.retire(cgroup);
        }
    }
    pub fn clean(&mut self) {
        if let Trees::Cgroups(cgroups) = self {
            cgroups.clean();
        }
    }
}

impl Tree {
    pub fn is_empty(&self) -> bool {
        match self {
            Tree::Cgroup(cgroup) => cgroup.is_empty(),
            Tree::Mark(mark) => marked(*mark).is_empty(),
        }
    }
    /// Takes in what has got out of its tree; on a host, where nothing does, there is nothing to look for.
    pub fn take_strays(&self) {
        if let Tree::Cgroup(cgroup) = self {
            cgroup.take_strays();
        }
    }
    pub fn signal(&self, signal: i32) {
        match self {
            Tree::Cgroup(cgroup) => cgroup.signal(signal),
            Tree::Mark(mark) => {
                for pid in marked(*mark) {
                    let _ = sys::kill(pid, signal);
                }
            }
        }
    }
    pub fn kill(&self) {
        match self {
            Tree::Cgroup(cgroup) => cgroup.kill(),
            // Stopped first, a bomb cannot fork faster than it is counted.
            Tree::Mark(_) => {
                self.signal(19);
                self.signal(sys::SIGKILL);
            }
        }
    }
}

/// Living processes that carry a mark.
fn marked(mark: u64) -> Vec<i32> {
    let has_mark = |pid: &i32| sys::limit(*pid, sys::RLIMIT_MSGQUEUE).map_or(false, |l| l.soft == mark);
    match all_pids() {
        Ok(pids) => pids.into_iter().filter(has_mark).filter(|&pid| !is_zombie(pid)).collect(),
        Err(_) => Vec::new(),
    }
}

pub fn all_pids() -> io::Result<Vec<i32>> {
    let entries = std::fs::read_dir("/proc")?;
    let names = entries.filter_map(|entry| entry.ok()).map(|entry| entry.file_name());
    Ok(names.filter_map(|name| name.to_str().and_then(|name| name.parse().ok())).collect())
}

fn is_zombie(pid: i32) -> bool {
    match std::fs::read(format!("/proc/{pid}/stat")) {
        Err(_) => true,
        // The state follows the name, which is in brackets and may itself contain any byte.
        Ok(stat) => match stat.iter().rposition(|&byte| byte == b')') {
            Some(at) => matches!(stat.get(at + 2), Some(b'Z') | Some(b'X') | None),
            None => true,
        },
    }
}
