//! Whole file systems: mounting, freezing, syncing, how full they are; and where this process sees the root.

use super::{c_path, check};
use std::io;
use std::os::raw::{c_char, c_int, c_ulong, c_void};
use std::os::unix::io::RawFd;

mod foreign {
    use super::*;
    extern "C" {
        pub fn mount(
            source: *const c_char,
            target: *const c_char,
            kind: *const c_char,
            flags: c_ulong,
            data: *const c_void,
        ) -> c_int;
        pub fn umount2(target: *const c_char, flags: c_int) -> c_int;
        pub fn chroot(path: *const c_char) -> c_int;
        pub fn chdir(path: *const c_char) -> c_int;
        pub fn fsync(fd: c_int) -> c_int;
        pub fn syncfs(fd: c_int) -> c_int;
        pub fn sync();
        pub fn fstatvfs(fd: c_int, out: *mut StatVfs) -> c_int;
    }
}

pub const MS_RDONLY: c_ulong = 1;
pub const MS_NOSUID: c_ulong = 2;
pub const MS_NODEV: c_ulong = 4;
pub const MS_NOEXEC: c_ulong = 8;
pub const MS_REMOUNT: c_ulong = 32;
pub const MS_NOATIME: c_ulong = 1024;
pub const MS_MOVE: c_ulong = 8192;
pub const MS_REC: c_ulong = 16384;
pub const MS_PRIVATE: c_ulong = 1 << 18;
pub const MNT_DETACH: c_int = 2;

pub const FIFREEZE: c_ulong = 0xc004_5877;
pub const FITHAW: c_ulong = 0xc004_5878;

#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct StatVfs {
    pub block_size: u64,
    pub fragment_size: u64,
    pub blocks: u64,
    pub blocks_free: u64,
    pub blocks_available: u64,
    pub files: u64,
    pub files_free: u64,
    pub files_available: u64,
    pub id: u64,
    pub flags: u64,
    pub name_max: u64,
    spare: [i32; 6],
}

pub fn mount(source: &str, target: &str, kind: &str, flags: c_ulong, data: &str) -> io::Result<()> {
    let source = c_path(source.as_bytes())?;
    let target = c_path(target.as_bytes())?;
    let kind = c_path(kind.as_bytes())?;
    let data = c_path(data.as_bytes())?;
    check(unsafe {
        foreign::mount(source.as_ptr(), target.as_ptr(), kind.as_ptr(), flags, data.as_ptr().cast())
    })
    .map(|_| ())
}

pub fn unmount(target: &str, flags: c_int) -> io::Result<()> {
    let target = c_path(target.as_bytes())?;
    check(unsafe { foreign::umount2(target.as_ptr(), flags) }).map(|_| ())
}

pub fn chroot(path: &str) -> io::Result<()> {
    let path = c_path(path.as_bytes())?;
    check(unsafe { foreign::chroot(path.as_ptr()) }).map(|_| ())
}

pub fn chdir(path: &str) -> io::Result<()> {
    let path = c_path(path.as_bytes())?;
    check(unsafe { foreign::chdir(path.as_ptr()) }).map(|_| ())
}

pub fn fsync(fd: RawFd) -> io::Result<()> {
    check(unsafe { foreign::fsync(fd) }).map(|_| ())
}

pub fn sync_filesystem(fd: RawFd) -> io::Result<()> {
    check(unsafe { foreign::syncfs(fd) }).map(|_| ())
}

pub fn sync_all() {
    unsafe { foreign::sync() };
}

pub fn stat_filesystem(fd: RawFd) -> io::Result<StatVfs> {
    let mut out = StatVfs::default();
    check(unsafe { foreign::fstatvfs(fd, &mut out) })?;
    Ok(out)
}
