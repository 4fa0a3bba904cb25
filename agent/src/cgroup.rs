//! A cgroup per command: a limit on its processes, and the one sure way to kill all of them.

use crate::failure::{EBUSY, ENOENT};
use crate::standstill::Standstill;
use crate::strays::{self, Strays};
use crate::sys;
use std::ffi::{CStr, CString};
use std::io;
use std::os::unix::io::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;

const MOUNT: &str = "/sys/fs/cgroup";
/// All commands' cgroups stand in this one, whose `pids.max` leaves the agent room in any fork bomb.
const PARENT: &str = "/sys/fs/cgroup/alcove";

pub struct Cgroups {
    root: Arc<OwnedFd>,
    parent: OwnedFd,
    pids_max: Option<u64>,
    retired: Vec<CString>,
    last: u64,
}

pub struct Cgroup {
    root: Arc<OwnedFd>,
    name: CString,
    directory: OwnedFd,
    events: OwnedFd,
}

impl Cgroups {
    /// Takes over a cgroup2 mount at its usual place. `task_limit` is what the kernel could run at most.
    pub fn open(task_limit: u64) -> io::Result<Cgroups> {
        let root = sys::open(MOUNT.as_bytes(), sys::O_RDONLY | sys::O_DIRECTORY, 0)?;
        // Without the controller there is no limit on processes, and everything else works.
        let mut with_pids = write_file(root.as_raw_fd(), "cgroup.subtree_control", b"+pids").is_ok();
        match sys::mkdir_at(sys::AT_FDCWD, &sys::c_path(PARENT.as_bytes())?, 0o755) {
            Err(error) if sys::errno_of(&error) != crate::failure::EEXIST => return Err(error),
            _ => {}
        }
        let parent = sys::open(PARENT.as_bytes(), sys::O_RDONLY | sys::O_DIRECTORY, 0)?;
        let fd = parent.as_raw_fd();
        if with_pids {
            // The kernel's limit is where thread stacks alone take an eighth of the memory; a fork bomb of small shells
            // thrashes well before that, and starves everybody. Half of it is a quarter of a megabyte a task.
            let all = (task_limit * 60 / 100).to_string();
            with_pids = write_file(fd, "pids.max", all.as_bytes()).is_ok()
                && write_file(fd, "cgroup.subtree_control", b"+pids").is_ok();
        }
        let pids_max = if with_pids { Some(task_limit / 2) } else { None };
        Ok(Cgroups { root: Arc::new(root), parent, pids_max, retired: Vec::new(), last: 0 })
    }

    /// How all of them together are made to stand still.
    pub fn standstill(&self) -> io::Result<Standstill> {
        let fd = self.parent.as_raw_fd();
        let freeze = open_file(fd, "cgroup.freeze", sys::O_WRONLY)?;
        let events = open_file(fd, "cgroup.events", sys::O_RDONLY)?;
        let strays = Strays::new(self.root.clone(), self.parent.try_clone()?);
        Ok(Standstill::new(freeze, events, strays))
    }

    /// Gives back the cgroup of a command that has ended; `clean` removes it at leisure.
    pub fn retire(&mut self, cgroup: Cgroup) {
        self.retired.push(cgroup.name);
    }

    /// Removes retired cgroups, as far as nothing lives in them.
    pub fn clean(&mut self) {
        let parent = self.parent.as_raw_fd();
        self.retired.retain(|name| remove_tree(parent, name).is_err());
    }

    pub fn make(&mut self) -> io::Result<Cgroup> {
        self.last += 1;
        let name = sys::c_path(format!("c{}", self.last).as_bytes())?;
        let parent = self.parent.as_raw_fd();
        sys::mkdir_at(parent, &name, 0o755)?;
        let directory = sys::open_at(parent, &name, sys::O_RDONLY | sys::O_DIRECTORY, 0)?;
        let events = open_file(directory.as_raw_fd(), "cgroup.events", sys::O_RDONLY)?;
        if let Some(max) = self.pids_max {
            write_file(directory.as_raw_fd(), "pids.max", max.to_string().as_bytes())?;
        }
        Ok(Cgroup { root: self.root.clone(), name, directory, events })
    }
}

impl Cgroup {
    pub fn fd(&self) -> RawFd {
        self.directory.as_raw_fd()
    }

    /// The file by which a process moves itself in, for kernels that cannot clone into a cgroup.
    pub fn door(&self) -> io::Result<OwnedFd> {
        open_file(self.fd(), "cgroup.procs", sys::O_WRONLY)
    }

    /// Whether no process lives in it or below it. Zombies do not count.
    pub fn is_empty(&self) -> bool {
        let mut buffer = [0u8; 128];
        match sys::pread(self.events.as_raw_fd(), &mut buffer, 0) {
            Ok(count) => buffer[..count].split(|&byte| byte == b'\n').any(|line| line == b"populated 0"),
            // The directory is gone, and a cgroup with processes cannot be removed.
            Err(_) => true,
        }
    }

    /// Kills all that is in it and below it, forks under way included (5.14+; else freeze, kill each, thaw).
    pub fn kill(&self) {
        match write_file(self.fd(), "cgroup.kill", b"1") {
            Err(error) if sys::errno_of(&error) == ENOENT => {
                let _ = write_file(self.fd(), "cgroup.freeze", b"1");
                self.signal(sys::SIGKILL);
                let _ = write_file(self.fd(), "cgroup.freeze", b"0");
            }
            _ => {}
        }
    }

    /// Takes in processes that have got out of theirs.
    pub fn take_strays(&self) {
        strays::take(&self.root, self.fd());
    }

    /// Sends a signal to every process, looking again until nobody new has turned up.
    pub fn signal(&self, signal: i32) {
        let mut told: Vec<i32> = Vec::new();
        for _ in 0..8 {
            let mut news = false;
            for pid in processes_below(self.fd()) {
                if !told.contains(&pid) {
                    told.push(pid);
                    news = true;
                    let _ = sys::kill(pid, signal);
                }
            }
            if !news {
                return;
            }
        }
    }
}

pub fn processes_below(cgroup: RawFd) -> Vec<i32> {
    let mut pids = Vec::new();
    let mut below: Vec<Vec<u8>> = vec![b".".to_vec()];
    while let Some(path) = below.pop() {
        let name = match sys::c_path(&path) {
            Ok(name) => name,
            Err(_) => continue,
        };
        let directory = match sys::open_at(cgroup, &name, sys::O_RDONLY | sys::O_DIRECTORY, 0) {
            Ok(directory) => directory,
            Err(_) => continue,
        };
        pids.extend(processes_in(directory.as_raw_fd()));
        for child in child_cgroups(directory.as_raw_fd()) {
            let mut path = path.clone();
            path.push(b'/');
            path.extend_from_slice(child.as_bytes());
            below.push(path);
        }
    }
    pids
}

/// But for process 1.
pub fn processes_in(cgroup: RawFd) -> Vec<i32> {
    let text = read_file(cgroup, "cgroup.procs").unwrap_or_default();
    let numbers = text.split(|&byte| byte == b'\n').filter_map(|line| std::str::from_utf8(line).ok());
    numbers.filter_map(|line| line.parse::<i32>().ok()).filter(|&pid| pid > 1).collect()
}

pub fn child_cgroups(directory: RawFd) -> Vec<CString> {
    let names = sys::names_in(directory).unwrap_or_default();
    let is_dir = |name: &CString| sys::stat_at(directory, name).map_or(false, |stat| stat.is_dir());
    // Interface files all have a dot in their names after a controller's; asking the kernel is as good and sure.
    names.into_iter().filter(is_dir).collect()
}

/// Removes a cgroup and those that a command made below it. `Err` when something still lives there.
fn remove_tree(parent: RawFd, name: &CStr) -> io::Result<()> {
    match sys::unlink_at(parent, name, sys::AT_REMOVEDIR) {
        Err(error) if sys::errno_of(&error) == EBUSY => {}
        Err(error) if sys::errno_of(&error) == ENOENT => return Ok(()),
        other => return other,
    }
    // Deepest last in `found`; removal goes backwards.
    let mut found = vec![name.to_bytes().to_vec()];
    let mut at = 0;
    while at < found.len() && found.len() < 4096 {
        let directory = sys::open_at(parent, &sys::c_path(&found[at])?, sys::O_RDONLY | sys::O_DIRECTORY, 0)?;
        for child in child_cgroups(directory.as_raw_fd()) {
            let mut path = found[at].clone();
            path.push(b'/');
            path.extend_from_slice(child.as_bytes());
            found.push(path);
        }
        at += 1;
    }
    for path in found.iter().rev() {
        sys::unlink_at(parent, &sys::c_path(path)?, sys::AT_REMOVEDIR)?;
    }
    Ok(())
}

fn open_file(directory: RawFd, name: &str, flags: i32) -> io::Result<OwnedFd> {
    sys::open_at(directory, &sys::c_path(name.as_bytes())?, flags, 0)
}
pub fn write_file(directory: RawFd, name: &str, value: &[u8]) -> io::Result<()> {
    sys::write(open_file(directory, name, sys::O_WRONLY)?.as_raw_fd(), value).map(|_| ())
}
fn read_file(directory: RawFd, name: &str) -> io::Result<Vec<u8>> {
    let file = open_file(directory, name, sys::O_RDONLY)?;
    let mut out = Vec::new();
    let mut buffer = [0u8; 4096];
    loop {
        match sys::read(file.as_raw_fd(), &mut buffer)? {
            0 => return Ok(out),
            count => out.extend_from_slice(&buffer[..count]),
        }
    }
}
