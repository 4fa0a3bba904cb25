//! TAR_OUT: the tree below a directory as a pax tar, `./` first, in the order of names.
//!
//! Other file systems mounted inside are entered as empty directories. Sockets are left out, as tar does. A file
//! that shrinks or grows meanwhile is filled up with zeros or cut, so that the tar stays one. Holes are left out of
//! sparse files, as pax GNU.sparse 1.0 has it.

use crate::failure::{Failure, Path, ENOENT, ENXIO};
use crate::guest::Guest;
use crate::link::Link;
use crate::protocol::*;
use crate::sys::{self, Statx, TimeSpec};
use crate::tar_format::*;
use crate::tar_in::xattr_path;
use crate::tar_sparse::{self, Extent, SparseMap};
use crate::tlv::{Fields, Tlvs};
use crate::walk::{Step, Walk};
use std::collections::BTreeMap;
use std::ffi::CStr;
use std::io;
use std::os::unix::io::{AsRawFd, OwnedFd, RawFd};

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
        entry.xattrs = xattrs(parent, name);
        if may_have_holes(&stat) {
            // A file system that cannot tell has no holes.
            entry.sparse = tar_sparse::scan(file.as_raw_fd(), stat.size).unwrap_or_default();
        }
        let lines = entry.sparse.as_ref().map_or_else(Vec::new, SparseMap::lines);
        let stored = entry.sparse.as_ref().map_or(stat.size, SparseMap::stored);
        entry.size = lines.len() as u64 + stored;
        write_header(&mut self.out, &entry);
        self.out.extend_from_slice(&lines);
        match &entry.sparse {
            None => self.data(path, &file, &[Extent { offset: 0, length: stat.size }])?,
            Some(map) => self.data(path, &file, &map.extents)?,
        }
        Ok(true)
    }

    /// The bytes of a file's extents, one after the other, filled up to a whole block.
    fn data(&mut self, path: &[u8], file: &OwnedFd, extents: &[Extent]) -> Result<(), Failure> {
        for &Extent { mut offset, length } in extents {
            let end = offset + length;
            while offset < end {
                if self.out.len() >= BUFFER {
                    self.flush()?;
                }
                let from = self.out.len();
                let limit = (BUFFER as u64).min(end - offset) as usize;
                self.out.resize(from + limit, 0);
                let count = sys::pread(file.as_raw_fd(), &mut self.out[from..], offset).map_err(|error| {
                    Failure::system("GuestFile", format!("reading {}", Path(path)), &error)
                })?;
                if count == 0 {
                    // It has shrunk; the zeros that are there already stand for the rest.
                    offset += limit as u64;
                    continue;
                }
                self.out.truncate(from + count);
                offset += count as u64;
            }
        }
        let stored = extents.iter().map(|extent| extent.length).sum();
        self.out.resize(self.out.len() + padding(stored), 0);
        Ok(())
    }
}

/// Whether it is worth while to look for holes. Blocks are counted with those of extents' trees and long attributes,
/// so a large file with few holes can have more of them than bytes.
fn may_have_holes(stat: &Statx) -> bool {
    let allocated = stat.blocks.saturating_mul(512);
    match stat.size {
        0 => false,
        small @ 1..=0xffff => allocated < small,
        large => allocated < large.saturating_add(large / 64 + 8192),
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
        sparse: None,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tar_in::{unpack, Devices, Rules};
    use crate::tar_reader::{Source, TarReader};
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::FileExt;
    use std::path::{Path as FilePath, PathBuf};

    struct Whole(Option<Vec<u8>>);
    impl Source for Whole {
        fn receive(&mut self) -> Result<Option<Vec<u8>>, Failure> {
            Ok(self.0.take())
        }
    }

    struct Dir(PathBuf);
    impl Dir {
        fn new() -> Dir {
            let name: String = sys::random_name_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
            let path = std::env::temp_dir().join(format!("alcove-agent-test-{name}"));
            std::fs::create_dir(&path).unwrap();
            Dir(path)
        }
    }
    impl Drop for Dir {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn packed(path: &FilePath, mut meanwhile: impl FnMut()) -> Vec<u8> {
        let mut tar = Vec::new();
        let send = |bytes: &[u8]| {
            tar.extend_from_slice(bytes);
            meanwhile();
            Ok(())
        };
        pack(path.as_os_str().as_bytes(), || {}, send).unwrap();
        tar
    }

    fn set(path: &FilePath, key: &str, value: &[u8]) {
        let path = sys::c_path(path.as_os_str().as_bytes()).unwrap();
        sys::set_xattr(&path, &sys::c_path(key.as_bytes()).unwrap(), value).unwrap();
    }

    fn get(path: &FilePath, key: &str) -> Option<Vec<u8>> {
        let path = sys::c_path(path.as_os_str().as_bytes()).unwrap();
        sys::xattr(&path, &sys::c_path(key.as_bytes()).unwrap()).ok()
    }

    /// A list of `linux/posix_acl_xattr.h`: version 2, then tag, permissions and id of each entry.
    fn acl(entries: &[(u16, u16, u32)]) -> Vec<u8> {
        let entry = |&(tag, permissions, id): &(u16, u16, u32)| {
            [&tag.to_le_bytes()[..], &permissions.to_le_bytes(), &id.to_le_bytes()].concat()
        };
        let entries: Vec<Vec<u8>> = entries.iter().map(entry).collect();
        [&2u32.to_le_bytes()[..], &entries.concat()].concat()
    }

    #[test]
    fn attributes_come_back_on_files_directories_and_links() {
        let (from, to) = (Dir::new(), Dir::new());
        let (file, dir, link) = (from.0.join("file"), from.0.join("dir"), from.0.join("link"));
        std::fs::write(&file, "x").unwrap();
        std::fs::create_dir(&dir).unwrap();
        std::os::unix::fs::symlink("file", &link).unwrap();
        let nobody = u32::MAX;
        let list =
            acl(&[(1, 7, nobody), (2, 4, 12345), (4, 5, nobody), (0x10, 5, nobody), (0x20, 0, nobody)]);
        let mut keys = vec![
            (&file, "user.binary", vec![0, b'=', b'\n', 0xff]),
            (&file, "user.empty", Vec::new()),
            (&file, "user.long", vec![7; 3000]),
            (&file, "system.posix_acl_access", list.clone()),
            (&dir, "user.x", b"y".to_vec()),
            (&dir, "system.posix_acl_access", list.clone()),
            (&dir, "system.posix_acl_default", list),
        ];
        if sys::effective_ids().0 == 0 {
            // `struct vfs_cap_data`, revision 2, effective, with cap_net_raw.
            let mut capability = vec![0u8; 20];
            capability[..8].copy_from_slice(&[1, 0, 0, 2, 0, 0x20, 0, 0]);
            keys.push((&file, "security.capability", capability));
            keys.push((&link, "trusted.of-the-link", b"itself".to_vec()));
        }
        for (path, key, value) in &keys {
            set(path, key, value);
        }
        let tar = packed(&from.0, || {});
        let rules = Rules { owner: None, devices: Devices::Refuse };
        unpack(Whole(Some(tar)), to.0.as_os_str().as_bytes(), rules, || {}).unwrap();
        for (path, key, value) in keys {
            let there = to.0.join(path.file_name().unwrap());
            assert_eq!(get(&there, key).as_ref(), Some(&value), "{key} of {}", there.display());
        }
    }

    #[test]
    fn a_file_that_changes_meanwhile_leaves_the_tar_whole() {
        const SIZE: u64 = 1 << 20;
        for (length, holes) in [(0, false), (5000, false), (4 * SIZE, false), (0, true), (4 * SIZE, true)] {
            let dir = Dir::new();
            let file = std::fs::File::create(dir.0.join("a")).unwrap();
            file.write_all_at(&vec![b'x'; SIZE as usize], if holes { SIZE } else { 0 }).unwrap();
            std::fs::write(dir.0.join("b"), "next").unwrap();
            let tar = packed(&dir.0, || file.set_len(length).unwrap());
            let mut reader = TarReader::new(Whole(Some(tar)));
            let mut names = Vec::new();
            while let Some(entry) = reader.next_entry().unwrap() {
                assert_eq!(entry.sparse.is_some(), holes && entry.name == b"a");
                names.push(entry.name);
            }
            assert_eq!(names, [&b"./"[..], b"a", b"b"]);
        }
    }
}
