//! What something is: its kind, mode, owner, size and times.

use super::{check, AT_FDCWD, AT_SYMLINK_NOFOLLOW};
use std::ffi::CStr;
use std::io;
use std::os::raw::{c_char, c_int, c_uint};
use std::os::unix::io::RawFd;

mod foreign {
    use super::*;
    extern "C" {
        pub fn statx(dir: c_int, path: *const c_char, flags: c_int, mask: c_uint, out: *mut Statx) -> c_int;
    }
}

pub const AT_EMPTY_PATH: c_int = 0x1000;

pub const S_IFMT: u32 = 0o170000;
pub const S_IFSOCK: u32 = 0o140000;
pub const S_IFLNK: u32 = 0o120000;
pub const S_IFREG: u32 = 0o100000;
pub const S_IFBLK: u32 = 0o060000;
pub const S_IFDIR: u32 = 0o040000;
pub const S_IFCHR: u32 = 0o020000;
pub const S_IFIFO: u32 = 0o010000;

pub const STATX_BASIC_STATS: c_uint = 0x7ff;

#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct StatxTime {
    pub seconds: i64,
    pub nanoseconds: u32,
    pub reserved: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Statx {
    pub mask: u32,
    pub block_size: u32,
    pub attributes: u64,
    pub nlink: u32,
    pub uid: u32,
    pub gid: u32,
    pub mode: u16,
    pad: u16,
    pub ino: u64,
    pub size: u64,
    pub blocks: u64,
    pub attributes_mask: u64,
    pub atime: StatxTime,
    pub btime: StatxTime,
    pub ctime: StatxTime,
    pub mtime: StatxTime,
    pub rdev_major: u32,
    pub rdev_minor: u32,
    pub dev_major: u32,
    pub dev_minor: u32,
    pub mount_id: u64,
    spare: [u64; 13],
}

impl Statx {
    pub fn mode(&self) -> u32 {
        u32::from(self.mode)
    }
    pub fn kind(&self) -> u32 {
        self.mode() & S_IFMT
    }
    pub fn is_dir(&self) -> bool {
        self.kind() == S_IFDIR
    }
    pub fn dev(&self) -> (u32, u32) {
        (self.dev_major, self.dev_minor)
    }
    pub fn mtime_ns(&self) -> i64 {
        self.mtime.seconds.saturating_mul(1_000_000_000).saturating_add(i64::from(self.mtime.nanoseconds))
    }
}

/// Does not follow a last symlink.
pub fn stat_at(dir: RawFd, path: &CStr) -> io::Result<Statx> {
    let mut out = Statx::default();
    check(unsafe { foreign::statx(dir, path.as_ptr(), AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS, &mut out) })?;
    Ok(out)
}

pub fn stat_fd(fd: RawFd) -> io::Result<Statx> {
    let mut out = Statx::default();
    let empty = [0 as c_char];
    check(unsafe { foreign::statx(fd, empty.as_ptr(), AT_EMPTY_PATH, STATX_BASIC_STATS, &mut out) })?;
    Ok(out)
}

/// Follows symlinks.
pub fn stat(path: &CStr) -> io::Result<Statx> {
    let mut out = Statx::default();
    check(unsafe { foreign::statx(AT_FDCWD, path.as_ptr(), 0, STATX_BASIC_STATS, &mut out) })?;
    Ok(out)
}
