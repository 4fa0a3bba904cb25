//! The small operations on files: stat, list, rename, make a directory.

use crate::failure::{Failure, EEXIST};
use crate::guest::Guest;
use crate::link::Link;
use crate::protocol::*;
use crate::sys::{self, Statx};
use crate::tlv::{Fields, Tlvs};
use std::ffi::CString;
use std::os::unix::io::AsRawFd;

/// A path of a request, for the kernel. It was checked for NUL.
pub fn c_path(path: &[u8]) -> Result<CString, Failure> {
    sys::c_path(path).map_err(|error| Failure::file(path, &error))
}

fn kind_of(stat: &Statx) -> u8 {
    match stat.kind() {
        sys::S_IFDIR => KIND_DIRECTORY,
        sys::S_IFLNK => KIND_SYMLINK,
        sys::S_IFIFO => KIND_FIFO,
        sys::S_IFSOCK => KIND_SOCKET,
        sys::S_IFCHR => KIND_CHAR,
        sys::S_IFBLK => KIND_BLOCK,
        _ => KIND_FILE,
    }
}

fn record(path: &[u8], stat: &Statx, target: Option<Vec<u8>>) -> Tlvs {
    let tlvs = Tlvs::new()
        .bytes(TAG_PATH, path)
        .u8(TAG_KIND, kind_of(stat))
        .u64(TAG_SIZE, stat.size)
        .u32(TAG_MODE, stat.mode() & 0o7777)
        .u32(TAG_UID, stat.uid)
        .u32(TAG_GID, stat.gid)
        .i64(TAG_MTIME_NS, stat.mtime_ns());
    match target {
        Some(target) => tlvs.bytes(TAG_TARGET, &target),
        None => tlvs,
    }
}

pub fn stat(_: &Guest, _: &Link, fields: &Fields) -> Result<Tlvs, Failure> {
    let path = fields.path(TAG_PATH)?;
    let name = c_path(path)?;
    let stat = sys::stat_at(sys::AT_FDCWD, &name).map_err(|error| Failure::file(path, &error))?;
    let target = match stat.kind() {
        sys::S_IFLNK => sys::read_link_at(sys::AT_FDCWD, &name).ok(),
        _ => None,
    };
    Ok(record(path, &stat, target))
}

pub fn list_dir(_: &Guest, link: &Link, fields: &Fields) -> Result<Tlvs, Failure> {
    let path = fields.path(TAG_PATH)?;
    let failed = |error| Failure::file(path, &error);
    let dir = sys::open(path, sys::O_RDONLY | sys::O_DIRECTORY, 0).map_err(failed)?;
    let mut names = sys::names_in(dir.as_raw_fd()).map_err(failed)?;
    names.sort_unstable();
    link.opened(&Tlvs::new());
    let mut prefix = path.to_vec();
    if prefix.last() != Some(&b'/') {
        prefix.push(b'/');
    }
    let mut batch = Vec::new();
    for name in names {
        let stat = match sys::stat_at(dir.as_raw_fd(), &name) {
            Ok(stat) => stat,
            // Removed since it was listed.
            Err(_) => continue,
        };
        let target = match stat.kind() {
            sys::S_IFLNK => sys::read_link_at(dir.as_raw_fd(), &name).ok(),
            _ => None,
        };
        let mut full = prefix.clone();
        full.extend_from_slice(name.as_bytes());
        batch.extend(record(&full, &stat, target).record());
        if batch.len() >= 16 * 1024 {
            link.send(&batch)?;
            batch.clear();
        }
    }
    link.send(&batch)?;
    link.send_end();
    Ok(Tlvs::new())
}

pub fn rename(_: &Guest, _: &Link, fields: &Fields) -> Result<Tlvs, Failure> {
    let (from, to) = (fields.path(TAG_PATH)?, fields.path(TAG_PATH2)?);
    sys::rename_at(sys::AT_FDCWD, &c_path(from)?, sys::AT_FDCWD, &c_path(to)?)
        .map_err(|error| Failure::file(from, &error))?;
    Ok(Tlvs::new())
}

pub fn make_dir(_: &Guest, _: &Link, fields: &Fields) -> Result<Tlvs, Failure> {
    let path = fields.path(TAG_PATH)?;
    let mode = fields.u32(TAG_MODE)?.unwrap_or(0o755) & 0o7777;
    make_dir_at(path, mode, fields.flag(TAG_PARENTS)?)?;
    Ok(Tlvs::new())
}

/// With `parents`, what is there already is fine, and what is missing above gets 0755.
pub fn make_dir_at(path: &[u8], mode: u32, parents: bool) -> Result<(), Failure> {
    let failed = |error| Failure::file(path, &error);
    if parents {
        let ends = (1..path.len()).filter(|&at| path[at] == b'/' && path[at - 1] != b'/');
        for end in ends {
            match sys::mkdir_at(sys::AT_FDCWD, &c_path(&path[..end])?, 0o755) {
                Err(error) if !is_there(&path[..end], &error)? => return Err(failed(error)),
                _ => {}
            }
        }
    }
    let name = c_path(path)?;
    match sys::mkdir_at(sys::AT_FDCWD, &name, mode) {
        Err(error) if parents && is_there(path, &error)? => Ok(()),
        Err(error) => Err(failed(error)),
        // mkdir takes no setuid, setgid and sticky bits everywhere.
        Ok(()) if mode & 0o7000 != 0 => sys::chmod_at(sys::AT_FDCWD, &name, mode).map_err(failed),
        Ok(()) => Ok(()),
    }
}

/// Whether mkdir failed only because there is a directory already. A read-only file system may say so instead.
fn is_there(path: &[u8], error: &std::io::Error) -> Result<bool, Failure> {
    let errno = sys::errno_of(error);
    if errno != EEXIST && errno != crate::failure::EROFS && errno != crate::failure::EACCES {
        return Ok(false);
    }
    Ok(sys::stat(&c_path(path)?).map_or(false, |stat| stat.is_dir()))
}
