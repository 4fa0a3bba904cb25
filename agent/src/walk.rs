//! Walking a tree of files with one open directory, whatever its depth: no recursion, no path that grows too long
//! for the kernel, no link followed. On the way back up it makes sure that `..` is where it came from.

use crate::failure::{ENOENT, ENOTDIR, ESTALE};
use crate::sys::{self, Statx};
use std::ffi::{CStr, CString};
use std::io;
use std::os::unix::io::{AsRawFd, OwnedFd, RawFd};

pub enum Step {
    /// A directory, just opened: `dir`. What is in it follows, then its `Leave`.
    Enter {
        dir: RawFd,
        name: CString,
        stat: Statx,
    },
    Leave {
        parent: RawFd,
        name: CString,
    },
    /// A directory where another file system begins; not entered.
    Boundary {
        parent: RawFd,
        name: CString,
        stat: Statx,
    },
    /// Anything else.
    Entry {
        parent: RawFd,
        name: CString,
        stat: Statx,
    },
    Done,
}

struct Level {
    /// Names still to come, the next one last.
    names: Vec<CString>,
    /// The name of this directory in the one above, and which directory that one is.
    name: CString,
    above: ((u32, u32), u64),
}

pub struct Walk {
    dir: OwnedFd,
    levels: Vec<Level>,
    device: (u32, u32),
}

const OPEN_DIR: i32 = sys::O_RDONLY | sys::O_DIRECTORY | sys::O_NOFOLLOW | sys::O_NONBLOCK;

fn dot_dot() -> &'static CStr {
    CStr::from_bytes_with_nul(b"..\0").unwrap_or_default()
}

impl Walk {
    pub fn begin(path: &[u8]) -> io::Result<Walk> {
        Walk::begin_at(sys::open(path, sys::O_RDONLY | sys::O_DIRECTORY, 0)?)
    }

    pub fn begin_at(dir: OwnedFd) -> io::Result<Walk> {
        let stat = sys::stat_fd(dir.as_raw_fd())?;
        let names = names_backwards(dir.as_raw_fd())?;
        let top = Level { names, name: CString::default(), above: ((0, 0), 0) };
        Ok(Walk { dir, levels: vec![top], device: stat.dev() })
    }

    /// The open directory; where `Entry` and `Boundary` are.
    pub fn dir(&self) -> RawFd {
        self.dir.as_raw_fd()
    }

    pub fn step(&mut self) -> io::Result<Step> {
        loop {
            let parent = self.dir.as_raw_fd();
            let level = match self.levels.last_mut() {
                Some(level) => level,
                None => return Ok(Step::Done),
            };
            let name = match level.names.pop() {
                Some(name) => name,
                None => {
                    let left = self.levels.pop();
                    if self.levels.is_empty() {
                        return Ok(Step::Done);
                    }
                    let above = sys::open_at(parent, dot_dot(), sys::O_RDONLY | sys::O_DIRECTORY, 0)?;
                    let stat = sys::stat_fd(above.as_raw_fd())?;
                    let name = match left {
                        Some(left) if left.above == (stat.dev(), stat.ino) => left.name,
                        // Moved elsewhere meanwhile: what is above now is none of ours.
                        _ => return Err(io::Error::from_raw_os_error(ESTALE)),
                    };
                    self.dir = above;
                    return Ok(Step::Leave { parent: self.dir.as_raw_fd(), name });
                }
            };
            let stat = match sys::stat_at(parent, &name) {
                Ok(stat) => stat,
                Err(error) if sys::errno_of(&error) == ENOENT => continue,
                Err(error) => return Err(error),
            };
            if !stat.is_dir() {
                return Ok(Step::Entry { parent, name, stat });
            }
            // Only directories tell: on an overlay other files have the devices of its layers.
            if stat.dev() != self.device {
                return Ok(Step::Boundary { parent, name, stat });
            }
            let here = sys::stat_fd(parent)?;
            let dir = match sys::open_at(parent, &name, OPEN_DIR, 0) {
                Ok(dir) => dir,
                Err(error) if matches!(sys::errno_of(&error), ENOENT | ENOTDIR) => continue,
                Err(error) => return Err(error),
            };
            let names = names_backwards(dir.as_raw_fd())?;
            self.levels.push(Level { names, name: name.clone(), above: (here.dev(), here.ino) });
            let _above = std::mem::replace(&mut self.dir, dir);
            let dir = self.dir.as_raw_fd();
            return Ok(Step::Enter { dir, name, stat });
        }
    }

    /// Names of the directories from the top down to the open one.
    pub fn path(&self) -> Vec<u8> {
        let mut path = Vec::new();
        for level in self.levels.iter().skip(1) {
            path.extend_from_slice(level.name.as_bytes());
            path.push(b'/');
        }
        path
    }
}

fn names_backwards(dir: RawFd) -> io::Result<Vec<CString>> {
    let mut names = sys::names_in(dir)?;
    names.sort_unstable_by(|a, b| b.cmp(a));
    Ok(names)
}
