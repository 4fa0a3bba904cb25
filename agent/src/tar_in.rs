//! TAR_IN: unpacks a tar below a directory, and nowhere else.
//!
//! Every name is looked up by the kernel with openat2, confined to the directory: `..` and links that lead out are
//! refused there, whatever else changes the tree meanwhile.

use crate::failure::{Failure, Path, EEXIST, EISDIR, ENOENT, EOPNOTSUPP, EXDEV};
use crate::files::make_dir_at;
use crate::guest::Guest;
use crate::link::Link;
use crate::protocol::*;
use crate::sys::{self, TimeSpec};
use crate::tar_format::*;
use crate::tar_reader::{Source, TarReader};
use crate::tar_sparse::SparseMap;
use crate::tlv::{Fields, Tlvs};
use std::ffi::{CStr, CString};
use std::io;
use std::os::unix::io::{AsRawFd, OwnedFd, RawFd};

/// Times of directories are set last, since what is put in them changes them; this much memory for remembering.
const MAX_PUT_OFF: usize = 4 << 20;
/// A path is looked up in pieces below PATH_MAX.
const PIECE: usize = 2048;

pub fn tar_in(_: &Guest, link: &Link, fields: &Fields) -> Result<Tlvs, Failure> {
    let path = fields.path(TAG_PATH)?;
    let owner = match (fields.u32(TAG_UID)?, fields.u32(TAG_GID)?) {
        (None, None) => None,
        (uid, gid) => Some((uid.unwrap_or(0), gid.unwrap_or(0))),
    };
    let devices = if fields.flag(TAG_NO_DEVICES)? { Devices::Refuse } else { Devices::Make };
    unpack(link, path, Rules { owner, devices }, || link.opened(&Tlvs::new()))?;
    Ok(match devices {
        Devices::Make => Tlvs::new(),
        // The host sees by it that this agent knows the field.
        Devices::Refuse => Tlvs::new().u8(TAG_NO_DEVICES, 1),
    })
}

/// What becomes of entries that are character or block devices.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Devices {
    Make,
    Refuse,
}

#[derive(Clone, Copy)]
pub struct Rules {
    /// Whose everything shall be; `None`: as the tar says.
    pub owner: Option<(u32, u32)>,
    pub devices: Devices,
}

pub fn unpack(
    source: impl Source,
    path: &[u8],
    Rules { owner, devices }: Rules,
    begun: impl FnOnce(),
) -> Result<(), Failure> {
    let failed = |error| Failure::file(path, &error);
    let existed = sys::stat(&crate::files::c_path(path)?).is_ok();
    make_dir_at(path, 0o755, true)?;
    let root = sys::open(path, sys::O_RDONLY | sys::O_DIRECTORY, 0).map_err(failed)?;
    let stat = sys::stat_fd(root.as_raw_fd()).map_err(failed)?;
    let slash = sys::stat(&crate::files::c_path(b"/")?).map_err(failed)?;
    let is_slash = (stat.dev(), stat.ino) == (slash.dev(), slash.ino);
    let mut unpacker = Unpacker {
        root,
        // Nothing can lead out of `/`, and there absolute links of the image must work.
        resolve: if is_slash { sys::RESOLVE_IN_ROOT } else { sys::RESOLVE_BENEATH },
        owner,
        devices,
        keep_owners: sys::effective_ids().0 == 0,
        root_is_ours: !existed,
        parent: None,
        put_off: Vec::new(),
        put_off_bytes: 0,
    };
    begun();
    let mut reader = TarReader::new(source);
    while let Some(entry) = reader.next_entry()? {
        unpacker.place(&entry, &mut reader)?;
    }
    unpacker.set_directory_times()
}

struct Unpacker {
    root: OwnedFd,
    resolve: u64,
    owner: Option<(u32, u32)>,
    devices: Devices,
    /// Without privileges everything belongs to us, as with any tar.
    keep_owners: bool,
    /// The directory was made for this; then the tar's own entry for it counts.
    root_is_ours: bool,
    /// The directory of the last entry, which is mostly the next one's too.
    parent: Option<(Vec<u8>, OwnedFd)>,
    put_off: Vec<(Vec<u8>, TimeSpec)>,
    put_off_bytes: usize,
}

fn refused(name: &[u8], why: &str) -> Failure {
    Failure::invalid(format!("the tar's entry {} {why}", Path(name)))
}

/// A name in a tar as a clean path below the directory; empty for the directory itself.
fn clean(name: &[u8]) -> Result<Vec<u8>, Failure> {
    if name.first() == Some(&b'/') {
        return Err(refused(name, "has an absolute name"));
    }
    if name.contains(&0) {
        return Err(refused(name, "has a NUL byte in its name"));
    }
    let mut path = Vec::new();
    for part in name.split(|&byte| byte == b'/') {
        match part {
            b"" | b"." => continue,
            b".." => return Err(refused(name, "has .. in its name")),
            _ => {}
        }
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(part);
    }
    Ok(path)
}

fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|&byte| byte == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (&[], path),
    }
}

impl Unpacker {
    /// What a failed lookup means: the kernel answers EXDEV when a link leads out.
    fn failure(&self, name: &[u8], error: &io::Error) -> Failure {
        match sys::errno_of(error) {
            EXDEV => refused(name, "leads out of the directory through a link"),
            _ => Failure::file(name, error),
        }
    }

    /// Opens a directory below the root, following links as far as they stay inside.
    fn open_dir(&self, path: &[u8], flags: i32) -> io::Result<OwnedFd> {
        let flags = flags | sys::O_DIRECTORY;
        let resolve = self.resolve | sys::RESOLVE_NO_MAGICLINKS;
        let mut rest = path;
        let mut dir: Option<OwnedFd> = None;
        while rest.len() > PIECE {
            let cut = match rest[..PIECE].iter().rposition(|&byte| byte == b'/') {
                Some(cut) => cut,
                None => break,
            };
            let from = dir.as_ref().unwrap_or(&self.root).as_raw_fd();
            dir = Some(sys::open_within(
                from,
                &sys::c_path(&rest[..cut])?,
                sys::O_PATH | sys::O_DIRECTORY,
                resolve,
            )?);
            rest = &rest[cut + 1..];
        }
        let from = dir.as_ref().unwrap_or(&self.root).as_raw_fd();
        let last = if rest.is_empty() { sys::c_path(b".")? } else { sys::c_path(rest)? };
        sys::open_within(from, &last, flags, resolve)
    }

    /// The directory an entry stands in, made when it is missing, and the entry's name there.
    fn parent_of(&mut self, path: &[u8]) -> Result<(RawFd, CString), Failure> {
        let (directory, name) = split(path);
        let name = sys::c_path(name).map_err(|error| self.failure(path, &error))?;
        if let Some((known, fd)) = &self.parent {
            if known == directory {
                return Ok((fd.as_raw_fd(), name));
            }
        }
        let opened = match self.open_dir(directory, sys::O_PATH) {
            Err(error) if sys::errno_of(&error) == ENOENT => {
                self.make_missing(directory)?;
                self.open_dir(directory, sys::O_PATH)
            }
            other => other,
        };
        let fd = opened.map_err(|error| self.failure(path, &error))?;
        let raw = fd.as_raw_fd();
        self.parent = Some((directory.to_vec(), fd));
        Ok((raw, name))
    }

    fn make_missing(&self, directory: &[u8]) -> Result<(), Failure> {
        let ends = directory.iter().enumerate().filter(|(_, &byte)| byte == b'/').map(|(at, _)| at);
        for end in ends.chain([directory.len()]) {
            let path = &directory[..end];
            match self.open_dir(path, sys::O_PATH) {
                Ok(_) => continue,
                Err(error) if sys::errno_of(&error) == ENOENT => {}
                Err(error) => return Err(self.failure(path, &error)),
            }
            let make = || -> io::Result<()> {
                let (above, name) = split(path);
                let above = self.open_dir(above, sys::O_PATH)?;
                let name = sys::c_path(name)?;
                sys::mkdir_at(above.as_raw_fd(), &name, 0o755)?;
                match self.owner.filter(|_| self.keep_owners) {
                    Some((uid, gid)) => sys::chown_at(above.as_raw_fd(), &name, uid, gid),
                    None => Ok(()),
                }
            };
            make().map_err(|error| self.failure(path, &error))?;
        }
        Ok(())
    }

    fn place<S: Source>(&mut self, entry: &Entry, reader: &mut TarReader<S>) -> Result<(), Failure> {
        let path = clean(&entry.name)?;
        if path.is_empty() {
            return self.place_root(entry);
        }
        if self.devices == Devices::Refuse && matches!(entry.kind, TYPE_CHAR | TYPE_BLOCK) {
            return Err(refused(&entry.name, "is a device"));
        }
        // Whatever changes the tree may make the remembered directory another one's.
        if entry.kind != TYPE_FILE {
            self.parent = None;
        }
        let (parent, name) = self.parent_of(&path)?;
        let name = name.as_c_str();
        let failed = |error: io::Error| Failure::file(&entry.name, &error);
        match entry.kind {
            TYPE_FILE => return self.place_file(entry, parent, name, reader),
            TYPE_DIRECTORY => return self.place_directory(entry, &path, parent, name),
            TYPE_SYMLINK => {
                let target = sys::c_path(&entry.link).map_err(failed)?;
                afresh(parent, name, || sys::symlink_at(&target, parent, name)).map_err(failed)?;
            }
            TYPE_HARD_LINK => {
                let target = clean(&entry.link)?;
                if target == path {
                    return Ok(());
                }
                let (directory, target_name) = split(&target);
                let target_name = sys::c_path(target_name).map_err(failed)?;
                let opened = self.open_dir(directory, sys::O_PATH);
                let from = opened.map_err(|error| self.failure(&entry.link, &error))?;
                let link = || sys::link_at(from.as_raw_fd(), &target_name, parent, name);
                // Owner, mode and the rest are the other name's.
                return afresh(parent, name, link).map_err(failed);
            }
            TYPE_FIFO | TYPE_CHAR | TYPE_BLOCK => {
                let kind = match entry.kind {
                    TYPE_FIFO => sys::S_IFIFO,
                    TYPE_CHAR => sys::S_IFCHR,
                    _ => sys::S_IFBLK,
                };
                let mode = kind | (entry.mode & 0o7777);
                let make = || sys::mknod_at(parent, name, mode, entry.major, entry.minor);
                afresh(parent, name, make).map_err(failed)?;
            }
            other => {
                return Err(refused(&entry.name, &format!("has the unknown type {:?}", char::from(other))))
            }
        }
        if let Some((uid, gid)) = self.owner_of(entry)? {
            sys::chown_at(parent, name, uid, gid).map_err(failed)?;
        }
        self.set_xattrs(entry, parent, name)?;
        if entry.kind != TYPE_SYMLINK {
            sys::chmod_at(parent, name, entry.mode).map_err(failed)?;
        }
        sys::set_mtime_at(parent, name, entry.mtime).map_err(failed)
    }

    fn place_file<S: Source>(
        &mut self,
        entry: &Entry,
        parent: RawFd,
        name: &CStr,
        reader: &mut TarReader<S>,
    ) -> Result<(), Failure> {
        let failed = |error: io::Error| Failure::file(&entry.name, &error);
        let flags = sys::O_WRONLY | sys::O_CREAT | sys::O_EXCL | sys::O_NOFOLLOW;
        let file = afresh(parent, name, || sys::open_at(parent, name, flags, 0o600)).map_err(failed)?;
        let fd = file.as_raw_fd();
        match &entry.sparse {
            Some(map) => fill_sparse(fd, map, reader, failed)?,
            None => {
                while let Some(piece) = reader.body()? {
                    sys::write_all(fd, piece).map_err(failed)?;
                }
            }
        }
        // In this order: a change of owner drops setuid and capabilities, a write the time.
        if let Some((uid, gid)) = self.owner_of(entry)? {
            sys::chown(fd, Some(uid), Some(gid)).map_err(failed)?;
        }
        self.set_xattrs(entry, parent, name)?;
        sys::chmod(fd, entry.mode).map_err(failed)?;
        sys::set_mtime(fd, entry.mtime).map_err(failed)
    }

    fn place_directory(
        &mut self,
        entry: &Entry,
        path: &[u8],
        parent: RawFd,
        name: &CStr,
    ) -> Result<(), Failure> {
        let failed = |error: io::Error| Failure::file(&entry.name, &error);
        match sys::mkdir_at(parent, name, 0o700) {
            Err(error) if sys::errno_of(&error) == EEXIST => {
                let there = sys::stat_at(parent, name).map_err(failed)?;
                // A link to a directory inside stands for it (`/lib` of most images), and is not ours to change.
                if there.kind() == sys::S_IFLNK && self.open_dir(path, sys::O_PATH).is_ok() {
                    return Ok(());
                }
                if !there.is_dir() {
                    afresh(parent, name, || sys::mkdir_at(parent, name, 0o700)).map_err(failed)?;
                }
            }
            other => other.map_err(failed)?,
        }
        let flags = sys::O_RDONLY | sys::O_DIRECTORY | sys::O_NOFOLLOW;
        let dir = sys::open_at(parent, name, flags, 0).map_err(failed)?;
        self.dress_directory(entry, &dir, parent, name)?;
        self.put_off_time(path, entry.mtime)
    }

    fn place_root(&mut self, entry: &Entry) -> Result<(), Failure> {
        if entry.kind != TYPE_DIRECTORY {
            return Err(refused(&entry.name, "has no name"));
        }
        if !self.root_is_ours {
            return Ok(());
        }
        let failed = |error: io::Error| Failure::file(&entry.name, &error);
        let dot = sys::c_path(b".").map_err(failed)?;
        let dir =
            sys::open_at(self.root.as_raw_fd(), &dot, sys::O_RDONLY | sys::O_DIRECTORY, 0).map_err(failed)?;
        self.dress_directory(entry, &dir, self.root.as_raw_fd(), &dot)?;
        self.put_off_time(b"", entry.mtime)
    }

    fn dress_directory(
        &self,
        entry: &Entry,
        dir: &OwnedFd,
        parent: RawFd,
        name: &CStr,
    ) -> Result<(), Failure> {
        let failed = |error: io::Error| Failure::file(&entry.name, &error);
        if let Some((uid, gid)) = self.owner_of(entry)? {
            sys::chown(dir.as_raw_fd(), Some(uid), Some(gid)).map_err(failed)?;
        }
        self.set_xattrs(entry, parent, name)?;
        // Without privileges a directory that its owner may not write to could not be filled.
        let mode = if self.keep_owners { entry.mode } else { entry.mode | 0o700 };
        sys::chmod(dir.as_raw_fd(), mode).map_err(failed)
    }

    fn owner_of(&self, entry: &Entry) -> Result<Option<(u32, u32)>, Failure> {
        if !self.keep_owners {
            return Ok(None);
        }
        if self.owner.is_some() {
            return Ok(self.owner);
        }
        match (u32::try_from(entry.uid), u32::try_from(entry.gid)) {
            (Ok(uid), Ok(gid)) if uid != u32::MAX && gid != u32::MAX => Ok(Some((uid, gid))),
            _ => Err(refused(&entry.name, "has an owner out of range")),
        }
    }

    fn set_xattrs(&self, entry: &Entry, parent: RawFd, name: &CStr) -> Result<(), Failure> {
        for (key, value) in &entry.xattrs {
            let set = || -> io::Result<()> {
                sys::set_xattr(&xattr_path(parent, name)?, &sys::c_path(key)?, value)
            };
            match set() {
                // A file system without this kind; the file is right otherwise.
                Err(error) if sys::errno_of(&error) == EOPNOTSUPP => {}
                Err(_) if !self.keep_owners => {}
                other => other.map_err(|error| Failure::file(&entry.name, &error))?,
            }
        }
        Ok(())
    }

    fn put_off_time(&mut self, path: &[u8], mtime: TimeSpec) -> Result<(), Failure> {
        self.put_off.push((path.to_vec(), mtime));
        self.put_off_bytes += path.len() + 64;
        if self.put_off_bytes > MAX_PUT_OFF {
            self.set_directory_times()?;
        }
        Ok(())
    }

    fn set_directory_times(&mut self) -> Result<(), Failure> {
        self.put_off_bytes = 0;
        for (path, mtime) in std::mem::take(&mut self.put_off).into_iter().rev() {
            match self.open_dir(&path, sys::O_RDONLY) {
                Ok(dir) => {
                    sys::set_mtime(dir.as_raw_fd(), mtime).map_err(|error| Failure::file(&path, &error))?
                }
                // A later entry took its place.
                Err(_) => continue,
            }
        }
        Ok(())
    }
}

/// Writes a sparse file's body to its places. The map was checked: it takes the whole body.
fn fill_sparse<S: Source>(
    fd: RawFd,
    map: &SparseMap,
    reader: &mut TarReader<S>,
    failed: impl Fn(io::Error) -> Failure,
) -> Result<(), Failure> {
    let mut extents = map.extents.iter().copied();
    let mut into = extents.next();
    while let Some(mut piece) = reader.body()? {
        while let Some(extent) = into.as_mut().filter(|_| !piece.is_empty()) {
            let count = extent.length.min(piece.len() as u64);
            let (now, rest) = piece.split_at(count as usize);
            sys::pwrite_all(fd, now, extent.offset).map_err(&failed)?;
            piece = rest;
            extent.offset += count;
            extent.length -= count;
            if extent.length == 0 {
                into = extents.next();
            }
        }
    }
    sys::truncate(fd, map.size).map_err(failed)
}

/// There is no system call for the attributes of a name in a directory; by `/proc` there is a path to it that
/// follows no last link.
pub fn xattr_path(parent: RawFd, name: &CStr) -> io::Result<CString> {
    let mut path = format!("/proc/self/fd/{parent}/").into_bytes();
    path.extend_from_slice(name.to_bytes());
    sys::c_path(&path)
}

/// Makes something under a name; what has the name goes first, unless it is a directory with something in it.
fn afresh<T>(parent: RawFd, name: &CStr, make: impl Fn() -> io::Result<T>) -> io::Result<T> {
    match make() {
        Err(error) if sys::errno_of(&error) == EEXIST => {}
        other => return other,
    }
    match sys::unlink_at(parent, name, 0) {
        Err(error) if sys::errno_of(&error) == EISDIR => sys::unlink_at(parent, name, sys::AT_REMOVEDIR)?,
        Err(error) if sys::errno_of(&error) == ENOENT => {}
        other => other?,
    }
    make()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;
    use std::path::PathBuf;

    struct Pieces(Vec<Vec<u8>>);
    impl Source for Pieces {
        fn receive(&mut self) -> Result<Option<Vec<u8>>, Failure> {
            Ok(if self.0.is_empty() { None } else { Some(self.0.remove(0)) })
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

    fn entry(kind: u8, name: &str, link: &str) -> Entry {
        let (uid, gid) = sys::effective_ids();
        Entry {
            kind,
            name: name.into(),
            link: link.into(),
            mode: if kind == TYPE_DIRECTORY { 0o755 } else { 0o640 },
            uid: uid.into(),
            gid: gid.into(),
            size: 0,
            mtime: TimeSpec { seconds: 1000, nanoseconds: 5 },
            major: 0,
            minor: 0,
            xattrs: Vec::new(),
            sparse: None,
        }
    }

    fn tar(entries: &[(Entry, &[u8])]) -> Vec<u8> {
        let mut out = Vec::new();
        for (entry, body) in entries {
            let entry = Entry { size: body.len() as u64, ..entry.clone() };
            write_header(&mut out, &entry);
            out.extend_from_slice(body);
            out.resize(out.len() + padding(body.len() as u64), 0);
        }
        out.resize(out.len() + 2 * BLOCK, 0);
        out
    }

    fn unpack_into(dir: &Dir, below: &str, tar: &[u8], piece: usize) -> Result<(), Failure> {
        let pieces = tar.chunks(piece).map(<[u8]>::to_vec).collect();
        let path = dir.0.join(below).into_os_string().into_string().unwrap();
        let rules = Rules { owner: None, devices: Devices::Refuse };
        unpack(Pieces(pieces), path.as_bytes(), rules, || {})
    }

    #[test]
    fn files_directories_and_links_arrive_as_they_were() {
        for piece in [1, 100, 1 << 20] {
            let dir = Dir::new();
            let tar = tar(&[
                (entry(TYPE_DIRECTORY, "./", ""), b""),
                (entry(TYPE_DIRECTORY, "./d/", ""), b""),
                (entry(TYPE_FILE, "./d/file", ""), b"content"),
                (entry(TYPE_HARD_LINK, "hard", "./d/file"), b""),
                (entry(TYPE_SYMLINK, "soft", "d/file"), b""),
                (entry(TYPE_FILE, "not/listed/above", ""), &[7; 3000]),
                (entry(TYPE_FILE, &"long/".repeat(1000), ""), b""),
                (entry(TYPE_FILE, &format!("{}x", "long/".repeat(1000)), ""), b"deep"),
            ]);
            unpack_into(&dir, "new", &tar, piece).unwrap();
            let root = dir.0.join("new");
            assert_eq!(std::fs::read(root.join("soft")).unwrap(), b"content");
            let meta = std::fs::metadata(root.join("hard")).unwrap();
            assert_eq!((meta.nlink(), meta.mode() & 0o7777), (2, 0o640));
            assert_eq!((meta.mtime(), meta.mtime_nsec()), (1000, 5));
            assert_eq!(std::fs::metadata(root.join("d")).unwrap().mtime(), 1000);
            assert_eq!(std::fs::metadata(&root).unwrap().mtime(), 1000);
            assert_eq!(std::fs::read(root.join("not/listed/above")).unwrap(), [7; 3000]);
        }
    }

    #[test]
    fn what_would_leave_the_directory_or_is_a_device_is_refused() {
        let link_out = |target: &str| entry(TYPE_SYMLINK, "out", target);
        let through = || (entry(TYPE_FILE, "out/evil", ""), &b"x"[..]);
        let cases: Vec<Vec<(Entry, &[u8])>> = vec![
            vec![(entry(TYPE_FILE, "../evil", ""), b"x")],
            vec![(entry(TYPE_FILE, "a/../../evil", ""), b"x")],
            vec![(entry(TYPE_FILE, "/tmp/evil", ""), b"x")],
            vec![(link_out(".."), b""), through()],
            vec![(link_out("/tmp"), b""), through()],
            vec![(link_out("a/../.."), b""), (entry(TYPE_DIRECTORY, "a", ""), b""), through()],
            vec![(entry(TYPE_HARD_LINK, "hard", "../secret"), b"")],
            vec![(entry(TYPE_HARD_LINK, "hard", "/etc/passwd"), b"")],
            vec![(link_out(".."), b""), (entry(TYPE_HARD_LINK, "hard", "out/secret"), b"")],
            vec![(entry(TYPE_DIRECTORY, "..", ""), b"")],
            vec![(entry(b'Z', "odd", ""), b"")],
            vec![(entry(TYPE_FILE, ".", ""), b"x")],
            vec![(entry(TYPE_CHAR, "null", ""), b"")],
            vec![(entry(TYPE_BLOCK, "disk", ""), b"")],
        ];
        for (index, case) in cases.iter().enumerate() {
            let dir = Dir::new();
            std::fs::write(dir.0.join("secret"), "s").unwrap();
            let failure = unpack_into(&dir, "in", &tar(case), 512).unwrap_err();
            assert_eq!(failure.code, "InvalidInput", "case {index}: {}", failure.message);
            assert!(!dir.0.join("evil").exists());
            assert_eq!(std::fs::metadata(dir.0.join("secret")).unwrap().nlink(), 1);
        }
    }

    #[test]
    fn what_is_in_the_way_is_replaced_but_links_to_directories_inside_stay() {
        let dir = Dir::new();
        let tar = tar(&[
            (entry(TYPE_DIRECTORY, "usr/lib", ""), b""),
            (entry(TYPE_SYMLINK, "lib", "usr/lib"), b""),
            (entry(TYPE_DIRECTORY, "lib", ""), b""),
            (entry(TYPE_FILE, "lib/so", ""), b"1"),
            (entry(TYPE_FILE, "x", ""), b"1"),
            (entry(TYPE_SYMLINK, "x", "nowhere"), b""),
            (entry(TYPE_FILE, "x", ""), b"2"),
            (entry(TYPE_DIRECTORY, "x", ""), b""),
            (entry(TYPE_FIFO, "x", ""), b""),
        ]);
        unpack_into(&dir, "", &tar, 700).unwrap();
        assert_eq!(std::fs::read(dir.0.join("usr/lib/so")).unwrap(), b"1");
        assert!(std::fs::symlink_metadata(dir.0.join("lib")).unwrap().file_type().is_symlink());
        assert_eq!(std::fs::symlink_metadata(dir.0.join("x")).unwrap().mode() & 0o170000, 0o010000);
    }

    #[test]
    fn a_cut_or_damaged_tar_is_an_error_and_never_a_panic() {
        let whole =
            tar(&[(entry(TYPE_FILE, &"n".repeat(150), ""), &[1; 900]), (entry(TYPE_SYMLINK, "l", "n"), b"")]);
        let dir = Dir::new();
        let mut seed = 1u32;
        for cut in (1..whole.len() - 1024).step_by(97) {
            let _ = unpack_into(&dir, "cut", &whole[..cut], 333);
            let mut damaged = whole.clone();
            for _ in 0..3 {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let at = seed as usize % damaged.len();
                damaged[at] = (seed >> 24) as u8;
            }
            let _ = unpack_into(&dir, "damaged", &damaged, 333);
        }
        assert!(unpack_into(&dir, "cut", &whole[..700], 333).is_err());
    }
}
