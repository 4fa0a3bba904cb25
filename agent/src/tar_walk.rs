//! What of a tree goes into its tar, in order: looked at, opened, and being read by the kernel already while what comes before it is
//! still sent. So a disk's answers are waited for once and not for each file.

use crate::failure::{Failure, ELOOP, ENOENT, ENXIO};
use crate::sys::{self, Bearer, Statx, TimeSpec};
use crate::tar_format::*;
use crate::tar_in::xattr_path;
use crate::tar_sparse;
use crate::walk::{Step, Walk};
use std::collections::BTreeMap;
use std::ffi::CStr;
use std::os::unix::io::{AsRawFd, OwnedFd, RawFd};
use std::sync::mpsc::{sync_channel, SyncSender};

/// Handed over at once: each time costs two switches of threads.
const BATCH: usize = 8;
/// Batches that wait. With the one that is made and the one that is sent, four times `BATCH` files are open at most.
const AHEAD: usize = 2;
/// No recursion, and buffers are on the heap.
const STACK: usize = 192 * 1024;
/// Files from this size on are read past the page cache, in large pieces: they would fill it, and 300 MiB took an emulated
/// processor 0.66 s through it and 0.10 s past it.
const DIRECT: u64 = 1 << 20;

/// One thing for a tar.
pub struct Found {
    /// All of its header but the size, which follows from `file` and `sparse`.
    pub entry: Entry,
    /// With its size. Only of regular files.
    pub file: Option<(OwnedFd, u64)>,
    /// Reads of `file` bypass the page cache.
    pub direct: bool,
}

/// Hands over everything below a directory, but not the directory itself, while a thread looks ahead.
pub fn each(walk: Walk, mut take: impl FnMut(Found) -> Result<(), Failure>) -> Result<(), Failure> {
    let (send, found) = sync_channel(AHEAD);
    std::thread::scope(|scope| {
        let look = move || {
            let mut finder = Finder { send, batch: Vec::new(), links: BTreeMap::new() };
            let outcome = finder.tree(walk).and_then(|()| finder.hand_over());
            if let Err(Stop::Failed(failure)) = outcome {
                finder.batch.push(Err(failure));
                // Nobody is there to be told when sending has failed first.
                let _ = finder.hand_over();
            }
        };
        std::thread::Builder::new()
            .stack_size(STACK)
            .spawn_scoped(scope, look)
            .map_err(|error| Failure::system("GuestFile", "starting a thread", &error))?;
        // In here, so that the thread ends when this does.
        let found = found;
        found.iter().flatten().try_for_each(|found| take(found?))
    })
}

/// One thing that is no directory.
pub fn single(path: &[u8], stat: &Statx, parent: RawFd, name: &CStr) -> Result<Option<Found>, Failure> {
    look_at(path, stat, parent, name)
}

pub fn directory(path: &[u8], stat: &Statx, dir: RawFd) -> Found {
    let mut entry = describe(TYPE_DIRECTORY, path, stat);
    entry.xattrs = xattrs(Bearer::Open(dir));
    plain(entry)
}

/// Device and inode.
type FileId = ((u32, u32), u64);

enum Stop {
    Failed(Failure),
    /// What is found is wanted no more.
    Unwanted,
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Stop {
        Stop::Failed(failure)
    }
}

struct Finder {
    send: SyncSender<Vec<Result<Found, Failure>>>,
    batch: Vec<Result<Found, Failure>>,
    /// First names of files that have several, until the last was seen.
    links: BTreeMap<FileId, (Vec<u8>, u32)>,
}

impl Finder {
    fn hand_over(&mut self) -> Result<(), Stop> {
        self.send.send(std::mem::take(&mut self.batch)).map_err(|_| Stop::Unwanted)
    }

    fn tree(&mut self, mut walk: Walk) -> Result<(), Stop> {
        loop {
            let step = walk.step().map_err(|error| Failure::file(&walk.path(), &error))?;
            let found = match step {
                Step::Done => return Ok(()),
                Step::Leave { .. } => None,
                Step::Enter { dir, stat, .. } => Some(directory(&walk.path(), &stat, dir)),
                Step::Boundary { parent, name, stat } => {
                    let path = [&walk.path(), name.as_bytes(), b"/"].concat();
                    let mut entry = describe(TYPE_DIRECTORY, &path, &stat);
                    entry.xattrs = xattrs_by_name(parent, &name);
                    Some(plain(entry))
                }
                Step::Entry { parent, name, stat } => {
                    let path = [&walk.path(), name.as_bytes()].concat();
                    self.entry(&path, &stat, parent, &name)?
                }
            };
            self.batch.extend(found.map(Ok));
            if self.batch.len() >= BATCH {
                self.hand_over()?;
            }
        }
    }

    /// Anything but a directory: itself, or that it is a further name of what came before.
    fn entry(
        &mut self,
        path: &[u8],
        stat: &Statx,
        parent: RawFd,
        name: &CStr,
    ) -> Result<Option<Found>, Failure> {
        if stat.nlink < 2 {
            return look_at(path, stat, parent, name);
        }
        let key = (stat.dev(), stat.ino);
        if let Some((first, left)) = self.links.get_mut(&key) {
            let entry = Entry { link: first.clone(), ..describe(TYPE_HARD_LINK, path, stat) };
            *left -= 1;
            if *left == 0 {
                self.links.remove(&key);
            }
            return Ok(Some(plain(entry)));
        }
        let found = look_at(path, stat, parent, name)?;
        if found.is_some() {
            self.links.insert(key, (path.to_vec(), stat.nlink - 1));
        }
        Ok(found)
    }
}

/// `None` for what is gone by now, and for sockets.
fn look_at(path: &[u8], stat: &Statx, parent: RawFd, name: &CStr) -> Result<Option<Found>, Failure> {
    let kind = match stat.kind() {
        sys::S_IFREG => return look_at_file(path, parent, name),
        sys::S_IFLNK => TYPE_SYMLINK,
        sys::S_IFIFO => TYPE_FIFO,
        sys::S_IFCHR => TYPE_CHAR,
        sys::S_IFBLK => TYPE_BLOCK,
        _ => return Ok(None),
    };
    let mut entry = describe(kind, path, stat);
    if kind == TYPE_SYMLINK {
        entry.link = match sys::read_link_at(parent, name) {
            Ok(target) => target,
            Err(error) if sys::errno_of(&error) == ENOENT => return Ok(None),
            Err(error) => return Err(Failure::file(path, &error)),
        };
    }
    entry.xattrs = xattrs_by_name(parent, name);
    Ok(Some(plain(entry)))
}

/// `None` when it is none any more.
fn look_at_file(path: &[u8], parent: RawFd, name: &CStr) -> Result<Option<Found>, Failure> {
    let failed = |error| Failure::file(path, &error);
    // Not to wait for the writer of a fifo that has taken its place.
    let flags = sys::O_RDONLY | sys::O_NOFOLLOW | sys::O_NONBLOCK | sys::O_NOCTTY;
    let file = match sys::open_at(parent, name, flags, 0) {
        Ok(file) => file,
        Err(error) if matches!(sys::errno_of(&error), ENOENT | ELOOP | ENXIO) => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let fd = file.as_raw_fd();
    let stat = sys::stat_fd(fd).map_err(failed)?;
    if stat.kind() != sys::S_IFREG {
        return Ok(None);
    }
    let mut entry = describe(TYPE_FILE, path, &stat);
    entry.xattrs = xattrs(Bearer::Open(fd));
    if may_have_holes(&stat) {
        // A file system that cannot tell has no holes.
        entry.sparse = tar_sparse::scan(fd, stat.size).unwrap_or_default();
    }
    let direct = stat.size >= DIRECT && entry.sparse.is_none() && sys::set_direct(fd, true).is_ok();
    if !direct && stat.blocks > 0 {
        sys::read_ahead(fd, stat.size.min(DIRECT));
    }
    Ok(Some(Found { entry, file: Some((file, stat.size)), direct }))
}

fn plain(entry: Entry) -> Found {
    Found { entry, file: None, direct: false }
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

fn describe(kind: u8, path: &[u8], stat: &Statx) -> Entry {
    Entry {
        kind,
        name: path.to_vec(),
        link: Vec::new(),
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

fn xattrs_by_name(parent: RawFd, name: &CStr) -> Vec<(Vec<u8>, Vec<u8>)> {
    xattr_path(parent, name).map_or_else(|_| Vec::new(), |path| xattrs(Bearer::Path(&path)))
}

/// Those that can be read; a file system without any has none.
fn xattrs(of: Bearer) -> Vec<(Vec<u8>, Vec<u8>)> {
    let keys = sys::list_xattrs(of).unwrap_or_default();
    let value = |key: std::ffi::CString| Some((key.as_bytes().to_vec(), sys::xattr(of, &key).ok()?));
    keys.into_iter().filter_map(value).collect()
}
