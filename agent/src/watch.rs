//! WATCH: changes below a directory, by inotify.
//!
//! While the host withholds credit nothing is read, and the kernel's own bounded queue fills up; what it drops
//! arrives as one `overflow`. A move is `moved` for the old name and `created` for the new one.

use crate::failure::{Failure, EAGAIN, EINVAL, ENOENT, ENOTDIR};
use crate::files::c_path;
use crate::guest::Guest;
use crate::link::Link;
use crate::protocol::*;
use crate::sys::{self, PollFd, POLLIN};
use crate::tlv::{Fields, Tlvs};
use std::collections::BTreeMap;
use std::io;
use std::os::unix::io::{AsRawFd, OwnedFd, RawFd};

const IN_MODIFY: u32 = 0x2;
const IN_ATTRIB: u32 = 0x4;
const IN_MOVED_FROM: u32 = 0x40;
const IN_MOVED_TO: u32 = 0x80;
const IN_CREATE: u32 = 0x100;
const IN_DELETE: u32 = 0x200;
const IN_DELETE_SELF: u32 = 0x400;
const IN_MOVE_SELF: u32 = 0x800;
const IN_Q_OVERFLOW: u32 = 0x4000;
const IN_IGNORED: u32 = 0x8000;
const IN_ONLYDIR: u32 = 0x0100_0000;
const IN_DONT_FOLLOW: u32 = 0x0200_0000;
const IN_ISDIR: u32 = 0x4000_0000;
const CHANGES: u32 = IN_MODIFY
    | IN_ATTRIB
    | IN_MOVED_FROM
    | IN_MOVED_TO
    | IN_CREATE
    | IN_DELETE
    | IN_DELETE_SELF
    | IN_MOVE_SELF;

pub fn watch(_: &Guest, link: &Link, fields: &Fields) -> Result<Tlvs, Failure> {
    let path = fields.path(TAG_PATH)?;
    let recursive = fields.flag(TAG_RECURSIVE)?;
    let failed = |error| Failure::file(path, &error);
    let alarm = link.alarm().map_err(failed)?;
    let mut watch = Watch::new(path, recursive).map_err(failed)?;
    link.opened(&Tlvs::new());
    let mut fds = [(watch.inotify.as_raw_fd()), alarm.as_raw_fd()].map(poll_in);
    loop {
        sys::poll(&mut fds, -1).map_err(failed)?;
        link.check()?;
        let changes = watch.read().map_err(failed)?;
        let records: Vec<u8> = changes.iter().flat_map(|(change, path)| record(*change, path)).collect();
        link.send(&records)?;
        if watch.root_is_gone {
            link.send_end();
            return Ok(Tlvs::new());
        }
    }
}

fn poll_in(fd: RawFd) -> PollFd {
    PollFd { fd, events: POLLIN, revents: 0 }
}

fn record(change: u8, path: &[u8]) -> Vec<u8> {
    Tlvs::new().bytes(TAG_PATH, path).u8(TAG_CHANGE, change).record()
}

type Change = (u8, Vec<u8>);

struct Watch {
    inotify: OwnedFd,
    root: i32,
    root_is_gone: bool,
    recursive: bool,
    /// Which directory a watch descriptor is.
    paths: BTreeMap<i32, Vec<u8>>,
}

impl Watch {
    fn new(path: &[u8], recursive: bool) -> io::Result<Watch> {
        let inotify = sys::inotify()?;
        let mut clean = path.to_vec();
        while clean.len() > 1 && clean.last() == Some(&b'/') {
            clean.pop();
        }
        let root = sys::inotify_add(inotify.as_raw_fd(), &sys::c_path(&clean)?, CHANGES)?;
        let mut watch = Watch { inotify, root, root_is_gone: false, recursive, paths: BTreeMap::new() };
        watch.paths.insert(root, clean.clone());
        if recursive {
            watch.add_below(&clean, None)?;
        }
        Ok(watch)
    }

    /// Watches every directory below `path`. With `found`, tells what is there already: it came before its watch.
    fn add_below(&mut self, path: &[u8], mut found: Option<&mut Vec<Change>>) -> io::Result<()> {
        let mut below = vec![path.to_vec()];
        while let Some(path) = below.pop() {
            let names = match sys::open(&path, sys::O_RDONLY | sys::O_DIRECTORY | sys::O_NOFOLLOW, 0) {
                Ok(dir) => match sys::names_in(dir.as_raw_fd()) {
                    Ok(names) => {
                        names.into_iter().map(|name| (sys::stat_at(dir.as_raw_fd(), &name), name)).collect()
                    }
                    Err(_) => Vec::new(),
                },
                // Gone again, or the root of the watch, which may be a link or a file.
                Err(_) if path != self.paths[&self.root] => continue,
                Err(_) => self.names_in_root(&path),
            };
            for (stat, name) in names {
                let full = join(&path, name.as_bytes());
                if let Some(found) = &mut found {
                    found.push((CHANGE_CREATED, full.clone()));
                }
                if stat.map_or(false, |stat| stat.is_dir()) && self.add(&full)? {
                    below.push(full);
                }
            }
        }
        Ok(())
    }

    fn names_in_root(&self, path: &[u8]) -> Vec<(io::Result<sys::Statx>, std::ffi::CString)> {
        let dir = match sys::open(path, sys::O_RDONLY | sys::O_DIRECTORY, 0) {
            Ok(dir) => dir,
            Err(_) => return Vec::new(),
        };
        let names = sys::names_in(dir.as_raw_fd()).unwrap_or_default();
        names.into_iter().map(|name| (sys::stat_at(dir.as_raw_fd(), &name), name)).collect()
    }

    /// False when it is no directory, or none any more.
    fn add(&mut self, path: &[u8]) -> io::Result<bool> {
        let name = match c_path(path) {
            Ok(name) => name,
            Err(_) => return Ok(false),
        };
        match sys::inotify_add(self.inotify.as_raw_fd(), &name, CHANGES | IN_ONLYDIR | IN_DONT_FOLLOW) {
            Ok(watch) => {
                self.paths.insert(watch, path.to_vec());
                Ok(true)
            }
            Err(error) if matches!(sys::errno_of(&error), ENOENT | ENOTDIR | EINVAL) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Stops watching a directory that was moved away, and all below it.
    fn forget(&mut self, path: &[u8]) {
        let below = |watched: &Vec<u8>| {
            watched == path || (watched.starts_with(path) && watched.get(path.len()) == Some(&b'/'))
        };
        let gone: Vec<i32> = self.paths.iter().filter(|(_, p)| below(p)).map(|(watch, _)| *watch).collect();
        for watch in gone {
            self.paths.remove(&watch);
            sys::inotify_remove(self.inotify.as_raw_fd(), watch);
        }
    }

    /// What has happened since, repeated changes of one file once.
    fn read(&mut self) -> io::Result<Vec<Change>> {
        let mut changes: Vec<Change> = Vec::new();
        let mut buffer = vec![0u8; 8192];
        let count = match sys::read(self.inotify.as_raw_fd(), &mut buffer) {
            Ok(count) => count,
            Err(error) if sys::errno_of(&error) == EAGAIN => return Ok(changes),
            Err(error) => return Err(error),
        };
        // struct inotify_event: watch i32, mask u32, cookie u32, length u32, name.
        let word = |at: usize| -> [u8; 4] { [buffer[at], buffer[at + 1], buffer[at + 2], buffer[at + 3]] };
        let mut at = 0;
        while at + 16 <= count {
            let watch = i32::from_ne_bytes(word(at));
            let mask = u32::from_ne_bytes(word(at + 4));
            let length = u32::from_ne_bytes(word(at + 12)) as usize;
            let name = buffer.get(at + 16..at + 16 + length).unwrap_or(&[]);
            let name = name.split(|&byte| byte == 0).next().unwrap_or(&[]).to_vec();
            at += 16 + length;
            self.take(watch, mask, &name, &mut changes)?;
        }
        changes.dedup();
        Ok(changes)
    }

    fn take(&mut self, watch: i32, mask: u32, name: &[u8], changes: &mut Vec<Change>) -> io::Result<()> {
        if mask & IN_Q_OVERFLOW != 0 {
            let root = self.paths.get(&self.root).cloned().unwrap_or_default();
            changes.push((CHANGE_OVERFLOW, root.clone()));
            // Directories may have come that nobody told of.
            if self.recursive {
                self.add_below(&root, None)?;
            }
            return Ok(());
        }
        let directory = match self.paths.get(&watch) {
            Some(directory) => directory.clone(),
            None => return Ok(()),
        };
        if mask & IN_IGNORED != 0 {
            self.paths.remove(&watch);
            self.root_is_gone |= watch == self.root;
            return Ok(());
        }
        // Of a directory below, the one above tells the same.
        if mask & (IN_DELETE_SELF | IN_MOVE_SELF) != 0 {
            if watch == self.root {
                let change = if mask & IN_DELETE_SELF != 0 { CHANGE_REMOVED } else { CHANGE_MOVED };
                changes.push((change, directory));
                self.root_is_gone = true;
            }
            return Ok(());
        }
        if name.is_empty() && watch != self.root {
            return Ok(());
        }
        let path = if name.is_empty() { directory } else { join(&directory, name) };
        let is_dir = mask & IN_ISDIR != 0;
        if mask & (IN_CREATE | IN_MOVED_TO) != 0 {
            changes.push((CHANGE_CREATED, path.clone()));
            if is_dir && self.recursive && self.add(&path)? {
                self.add_below(&path, Some(changes))?;
            }
        } else if mask & IN_DELETE != 0 {
            changes.push((CHANGE_REMOVED, path));
        } else if mask & IN_MOVED_FROM != 0 {
            if is_dir {
                self.forget(&path);
            }
            changes.push((CHANGE_MOVED, path));
        } else if mask & (IN_MODIFY | IN_ATTRIB) != 0 {
            changes.push((CHANGE_MODIFIED, path));
        }
        Ok(())
    }
}

fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    let mut path = directory.to_vec();
    if path.last() != Some(&b'/') {
        path.push(b'/');
    }
    path.extend_from_slice(name);
    path
}
