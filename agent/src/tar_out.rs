//! TAR_OUT: the tree below a directory as a pax tar, `./` first, in the order of names.
//!
//! Other file systems mounted inside are entered as empty directories. Sockets are left out, as tar does. A file
//! that shrinks or grows meanwhile is filled up with zeros or cut, so that the tar stays one.

use crate::failure::{Failure, Path, ENOENT, ENXIO};
use crate::guest::Guest;
use crate::link::Link;
use crate::protocol::*;
use crate::sys::{self, Statx, TimeSpec};
use crate::tar_format::*;
use crate::tar_in::xattr_path;
use crate::tlv::{Fields, Tlvs};
use crate::walk::{Step, Walk};
use std::collections::BTreeMap;
use std::ffi::CStr;
use std::io;
use std::os::unix::io::{AsRawFd, RawFd};

const BUFFER: usize = 64 * 1024;

pub fn tar_out(_: &Guest, link: &Link, fields: &Fields) -> Result<Tlvs, Failure> {
    let path = fields.path(TAG_PATH)?;
    pack(path, || link.opened(&Tlvs::new()), |bytes| link.send(bytes))?;
    link.send_end();
    Ok(Tlvs::new())
}

/// Hands the tar of `path` to `send`, piece by piece.
pub fn pack(
    path: &[u8],
    begun: impl FnOnce(),
    send: impl FnMut(&[u8]) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let failed = |error: io::Error| Failure::file(path, &error);
    let mut packer = Packer { out: Vec::new(), send, links: BTreeMap::new() };
    let top = sys::open(path, sys::O_RDONLY | sys::O_NONBLOCK | sys::O_NOCTTY, 0).map_err(failed)?;
    let stat = sys::stat_fd(top.as_raw_fd()).map_err(failed)?;
    begun();
    if stat.is_dir() {
        let dot = sys::c_path(b".").map_err(failed)?;
        packer.header(TYPE_DIRECTORY, b"./", &stat, top.as_raw_fd(), &dot)?;
        packer.tree(Walk::begin_at(top).map_err(failed)?)?;
    } else {
        // Beside it, by its own name: a link to it was followed.
        let full = std::fs::read_link(format!("/proc/self/fd/{}", top.as_raw_fd())).map_err(failed)?;
        let parent = full.parent().unwrap_or(&full).as_os_str();
        let parent =
            sys::open(std::os::unix::ffi::OsStrExt::as_bytes(parent), sys::O_RDONLY | sys::O_DIRECTORY, 0);
        let parent = parent.map_err(failed)?;
        let there = full.file_name().map(std::os::unix::ffi::OsStrExt::as_bytes).unwrap_or_default();
        let there = sys::c_path(there).map_err(failed)?;
        let trimmed = path.split(|&byte| byte == b'/').rev().find(|part| !part.is_empty());
        packer.entry(trimmed.unwrap_or(b"file"), &stat, parent.as_raw_fd(), &there)?;
    }
    packer.out.resize(packer.out.len() + 2 * BLOCK, 0);
    packer.flush()
}

/// Device and inode.
type FileId = ((u32, u32), u64);

struct Packer<F: FnMut(&[u8]) -> Result<(), Failure>> {
    out: Vec<u8>,
    send: F,
    /// First names of files that have several, until the last was seen.
    links: BTreeMap<FileId, (Vec<u8>, u32)>,
}

impl<F: FnMut(&[u8]) -> Result<(), Failure>> Packer<F> {
    fn flush(&mut self) -> Result<(), Failure> {
        (self.send)(&self.out)?;
        self.out.clear();
        Ok(())
    }

    fn tree(&mut self, mut walk: Walk) -> Result<(), Failure> {
        loop {
            let step = walk.step().map_err(|error| Failure::file(&walk.path(), &error))?;
            match step {
                Step::Done => return Ok(()),
                Step::Leave { .. } => {}
                Step::Enter { dir, stat, .. } => {
                    let dot = sys::c_path(b".").map_err(|error| Failure::file(b".", &error))?;
                    self.header(TYPE_DIRECTORY, &walk.path(), &stat, dir, &dot)?;
                }
                Step::Boundary { parent, name, stat } => {
                    let path = [&walk.path(), name.as_bytes(), b"/"].concat();
                    self.header(TYPE_DIRECTORY, &path, &stat, parent, &name)?;
                }
                Step::Entry { parent, name, stat } => {
                    let path = [&walk.path(), name.as_bytes()].concat();
                    self.entry(&path, &stat, parent, &name)?;
                }
            }
            if self.out.len() >= BUFFER {
                self.flush()?;
            }
        }
    }

    /// Anything but a directory.
    fn entry(&mut self, path: &[u8], stat: &Statx, parent: RawFd, name: &CStr) -> Result<(), Failure> {
        if stat.nlink > 1 {
            let key = (stat.dev(), stat.ino);
            if let Some((first, left)) = self.links.get_mut(&key) {
                let first = first.clone();
                *left -= 1;
                if *left == 0 {
                    self.links.remove(&key);
                }
                let plain = describe(TYPE_HARD_LINK, path, first, stat);
                write_header(&mut self.out, &plain);
                return Ok(());
            }
        }
        let written = match stat.kind() {
            sys::S_IFREG => self.file(path, parent, name)?,
            sys::S_IFLNK => match sys::read_link_at(parent, name) {
                Ok(target) => {
                    let mut entry = describe(TYPE_SYMLINK, path, target, stat);
                    entry.xattrs = xattrs(parent, name);
                    write_header(&mut self.out, &entry);
                    true
                }
                Err(error) if sys::errno_of(&error) == ENOENT => false,
                Err(error) => return Err(Failure::file(path, &error)),
            },
            sys::S_IFIFO => self.header(TYPE_FIFO, path, stat, parent, name)?,
            sys::S_IFCHR => self.header(TYPE_CHAR, path, stat, parent, name)?,
            sys::S_IFBLK => self.header(TYPE_BLOCK, path, stat, parent, name)?,
            _ => false,
        };
        if written && stat.nlink > 1 {
            self.links.insert((stat.dev(), stat.ino), (path.to_vec(), stat.nlink - 1));
        }
        Ok(())
    }

    fn header(
        &mut self,
        kind: u8,
        path: &[u8],
        stat: &Statx,
        parent: RawFd,
        name: &CStr,
    ) -> Result<bool, Failure> {
        let mut entry = describe(kind, path, Vec::new(), stat);
        entry.xattrs = xattrs(parent, name);
        write_header(&mut self.out, &entry);
        Ok(true)
    }

    /// False when it is there no more.
    fn file(&mut self, path: &[u8], parent: RawFd, name: &CStr) -> Result<bool, Failure> {
        let failed = |error: io::Error| Failure::file(path, &error);
        let flags = sys::O_RDONLY | sys::O_NOFOLLOW | sys::O_NONBLOCK | sys::O_NOCTTY;
        let file = match sys::open_at(parent, name, flags, 0) {
            Ok(file) => file,
            Err(error) if matches!(sys::errno_of(&error), ENOENT | ENXIO) => return Ok(false),
            Err(error) => return Err(failed(error)),
        };
        let stat = sys::stat_fd(file.as_raw_fd()).map_err(failed)?;
        if stat.kind() != sys::S_IFREG {
            return Ok(false);
        }
        let mut entry = describe(TYPE_FILE, path, Vec::new(), &stat);
        entry.size = stat.size;
        entry.xattrs = xattrs(parent, name);
        write_header(&mut self.out, &entry);
        let mut left = stat.size;
        while left > 0 {
            if self.out.len() >= BUFFER {
                self.flush()?;
            }
            let from = self.out.len();
            let limit = (BUFFER as u64).min(left) as usize;
            self.out.resize(from + limit, 0);
            let count = sys::read(file.as_raw_fd(), &mut self.out[from..])
                .map_err(|error| Failure::system("GuestFile", format!("reading {}", Path(path)), &error))?;
            if count == 0 {
                // It has shrunk; the zeros that are there already stand for the rest.
                left -= limit as u64;
                continue;
            }
            self.out.truncate(from + count);
            left -= count as u64;
        }
        self.out.resize(self.out.len() + padding(stat.size), 0);
        Ok(true)
    }
}

fn describe(kind: u8, path: &[u8], link: Vec<u8>, stat: &Statx) -> Entry {
    Entry {
        kind,
        name: path.to_vec(),
        link,
        mode: stat.mode() & 0o7777,
        uid: u64::from(stat.uid),
        gid: u64::from(stat.gid),
        size: 0,
        mtime: TimeSpec { seconds: stat.mtime.seconds, nanoseconds: i64::from(stat.mtime.nanoseconds) },
        major: stat.rdev_major,
        minor: stat.rdev_minor,
        xattrs: Vec::new(),
    }
}

/// Those that can be read; a file system without any has none.
fn xattrs(parent: RawFd, name: &CStr) -> Vec<(Vec<u8>, Vec<u8>)> {
    let path = match xattr_path(parent, name) {
        Ok(path) => path,
        Err(_) => return Vec::new(),
    };
    let keys = sys::list_xattrs(&path).unwrap_or_default();
    let value = |key: std::ffi::CString| Some((key.as_bytes().to_vec(), sys::xattr(&path, &key).ok()?));
    keys.into_iter().filter_map(value).collect()
}
