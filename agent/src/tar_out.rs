//! TAR_OUT: the tree below a directory as a pax tar, `./` first, in the order of names.
//!
//! Other file systems mounted inside are entered as empty directories. Sockets are left out, as tar does. A file
//! that shrinks or grows meanwhile is filled up with zeros or cut, so that the tar stays one. Holes are left out of
//! sparse files, as pax GNU.sparse 1.0 has it.

use crate::failure::{Failure, Path, EINVAL};
use crate::guest::Guest;
use crate::link::Link;
use crate::protocol::*;
use crate::sys;
use crate::tar_format::*;
use crate::tar_sparse::{Extent, SparseMap};
use crate::tar_stage::Stage;
use crate::tar_walk::{self, Found};
use crate::tlv::{Fields, Tlvs};
use crate::walk::Walk;
use std::io;
use std::os::unix::io::{AsRawFd, RawFd};

pub fn tar_out(_: &Guest, link: &Link, fields: &Fields) -> Result<Tlvs, Failure> {
    let path = fields.path(TAG_PATH)?;
    pack(path, || link.opened(&Tlvs::new()), |buffer| link.send_in_place(buffer))?;
    link.send_end();
    Ok(Tlvs::new())
}

/// Hands the tar of `path` to `send`, piece by piece, as [`Stage::new`] says.
pub fn pack(
    path: &[u8],
    begun: impl FnOnce(),
    send: impl FnMut(&mut [u8]) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let failed = |error: io::Error| Failure::file(path, &error);
    let mut packer = Packer { stage: Stage::new(send), header: Vec::new() };
    let top = sys::open(path, sys::O_RDONLY | sys::O_NONBLOCK | sys::O_NOCTTY, 0).map_err(failed)?;
    let stat = sys::stat_fd(top.as_raw_fd()).map_err(failed)?;
    begun();
    if stat.is_dir() {
        packer.add(tar_walk::directory(b"./", &stat, top.as_raw_fd()))?;
        tar_walk::each(Walk::begin_at(top).map_err(failed)?, |found| packer.add(found))?;
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
        let found = tar_walk::single(trimmed.unwrap_or(b"file"), &stat, parent.as_raw_fd(), &there)?;
        found.map_or(Ok(()), |found| packer.add(found))?;
    }
    packer.stage.put_zeros(2 * BLOCK as u64)?;
    packer.stage.flush()
}

struct Packer<F: FnMut(&mut [u8]) -> Result<(), Failure>> {
    stage: Stage<F>,
    /// Kept for its memory.
    header: Vec<u8>,
}

impl<F: FnMut(&mut [u8]) -> Result<(), Failure>> Packer<F> {
    fn add(&mut self, found: Found) -> Result<(), Failure> {
        let Found { mut entry, file, direct } = found;
        let (file, size) = match &file {
            Some((file, size)) => (file.as_raw_fd(), *size),
            None => return self.put_header(&entry, &[]),
        };
        let lines = entry.sparse.as_ref().map_or_else(Vec::new, SparseMap::lines);
        let stored = entry.sparse.as_ref().map_or(size, SparseMap::stored);
        entry.size = lines.len() as u64 + stored;
        self.put_header(&entry, &lines)?;
        let whole = [Extent { offset: 0, length: size }];
        let extents = entry.sparse.as_ref().map_or(&whole[..], |map| &map.extents);
        self.put_data(&entry.name, file, extents, direct)?;
        self.stage.put_zeros(padding(stored) as u64)
    }

    fn put_header(&mut self, entry: &Entry, lines: &[u8]) -> Result<(), Failure> {
        self.header.clear();
        write_header(&mut self.header, entry);
        self.stage.put(&self.header)?;
        self.stage.put(lines)
    }

    /// The bytes of a file's extents, one after the other.
    fn put_data(
        &mut self,
        path: &[u8],
        file: RawFd,
        extents: &[Extent],
        mut direct: bool,
    ) -> Result<(), Failure> {
        for &Extent { mut offset, length } in extents {
            let end = offset + length;
            while offset < end {
                let count = match self.stage.read(file, offset, end - offset, direct) {
                    // Not here, or not after it was cut within a block.
                    Err(error) if direct && sys::errno_of(&error) == EINVAL => {
                        direct = false;
                        sys::set_direct(file, false).map_err(|error| Failure::file(path, &error))?;
                        continue;
                    }
                    Err(error) => {
                        return Err(Failure::system("GuestFile", format!("reading {}", Path(path)), &error))
                    }
                    // It has shrunk; zeros stand for the rest of this extent.
                    Ok(0) => {
                        self.stage.put_zeros(end - offset)?;
                        break;
                    }
                    Ok(count) => count,
                };
                self.stage.took(count)?;
                offset += count as u64;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{HEADER, TRAILER};
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
        let send = |buffer: &mut [u8]| {
            tar.extend_from_slice(&buffer[HEADER..buffer.len() - TRAILER]);
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
        sys::xattr(sys::Bearer::Path(&path), &sys::c_path(key.as_bytes()).unwrap()).ok()
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
        const SIZE: u64 = 3 << 20;
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
