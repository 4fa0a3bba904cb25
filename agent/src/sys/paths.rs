//! What paths lead to: opening, making, naming and removing it; whose it is and of when.

use super::{c_path, check, check_size, errno_of, owned, TimeSpec, AT_FDCWD, AT_SYMLINK_NOFOLLOW};
use std::ffi::{CStr, CString};
use std::io;
use std::os::raw::{c_char, c_int, c_long, c_uint, c_void};
use std::os::unix::io::{OwnedFd, RawFd};

mod foreign {
    use super::*;
    extern "C" {
        pub fn syscall(number: c_long, ...) -> c_long;
        pub fn openat(dir: c_int, path: *const c_char, flags: c_int, ...) -> c_int;
        pub fn mkdirat(dir: c_int, path: *const c_char, mode: c_uint) -> c_int;
        pub fn mknodat(dir: c_int, path: *const c_char, mode: c_uint, device: u64) -> c_int;
        pub fn unlinkat(dir: c_int, path: *const c_char, flags: c_int) -> c_int;
        pub fn symlinkat(target: *const c_char, dir: c_int, path: *const c_char) -> c_int;
        pub fn readlinkat(dir: c_int, path: *const c_char, buffer: *mut c_char, size: usize) -> isize;
        pub fn linkat(
            from_dir: c_int,
            from: *const c_char,
            to_dir: c_int,
            to: *const c_char,
            flags: c_int,
        ) -> c_int;
        pub fn renameat(from_dir: c_int, from: *const c_char, to_dir: c_int, to: *const c_char) -> c_int;
        pub fn fchownat(dir: c_int, path: *const c_char, uid: c_uint, gid: c_uint, flags: c_int) -> c_int;
        pub fn fchmodat(dir: c_int, path: *const c_char, mode: c_uint, flags: c_int) -> c_int;
        pub fn fchown(fd: c_int, uid: c_uint, gid: c_uint) -> c_int;
        pub fn fchmod(fd: c_int, mode: c_uint) -> c_int;
        pub fn utimensat(dir: c_int, path: *const c_char, times: *const TimeSpec, flags: c_int) -> c_int;
        pub fn futimens(fd: c_int, times: *const TimeSpec) -> c_int;
        pub fn getdents64(fd: c_int, buffer: *mut c_void, count: usize) -> isize;
    }
}

pub const AT_REMOVEDIR: c_int = 0x200;

pub const O_RDONLY: c_int = 0;
pub const O_WRONLY: c_int = 1;
pub const O_RDWR: c_int = 2;
pub const O_CREAT: c_int = 0o100;
pub const O_EXCL: c_int = 0o200;
pub const O_NOCTTY: c_int = 0o400;
pub const O_TRUNC: c_int = 0o1000;
pub const O_APPEND: c_int = 0o2000;
pub const O_NONBLOCK: c_int = 0o4000;
pub const O_DIRECTORY: c_int = 0o200000;
pub const O_NOFOLLOW: c_int = 0o400000;
pub const O_CLOEXEC: c_int = 0o2000000;
pub const O_PATH: c_int = 0o10000000;

pub const RESOLVE_NO_MAGICLINKS: u64 = 0x02;
pub const RESOLVE_BENEATH: u64 = 0x08;
pub const RESOLVE_IN_ROOT: u64 = 0x10;

/// In `utimensat`: leaves that time as it is.
pub const UTIME_OMIT: i64 = (1 << 30) - 2;

#[repr(C)]
struct OpenHow {
    flags: u64,
    mode: u64,
    resolve: u64,
}

/// Opens with O_CLOEXEC always.
pub fn open_at(dir: RawFd, path: &CStr, flags: c_int, mode: u32) -> io::Result<OwnedFd> {
    loop {
        match owned(unsafe { foreign::openat(dir, path.as_ptr(), flags | O_CLOEXEC, mode) }) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            other => return other,
        }
    }
}

pub fn open(path: &[u8], flags: c_int, mode: u32) -> io::Result<OwnedFd> {
    open_at(AT_FDCWD, &c_path(path)?, flags, mode)
}

/// openat2: `resolve` confines how `path` is looked up.
pub fn open_within(dir: RawFd, path: &CStr, flags: c_int, resolve: u64) -> io::Result<OwnedFd> {
    let how = OpenHow { flags: (flags | O_CLOEXEC) as u64, mode: 0, resolve };
    let mut attempts = 0;
    loop {
        let result = unsafe {
            foreign::syscall(437, dir, path.as_ptr(), &how as *const OpenHow, std::mem::size_of::<OpenHow>())
        };
        match owned(result as c_int) {
            // The kernel says so when a rename elsewhere raced with the lookup.
            Err(error) if errno_of(&error) == crate::failure::EAGAIN && attempts < 100 => attempts += 1,
            other => return other,
        }
    }
}

pub fn mkdir_at(dir: RawFd, path: &CStr, mode: u32) -> io::Result<()> {
    check(unsafe { foreign::mkdirat(dir, path.as_ptr(), mode) }).map(|_| ())
}

pub fn mknod_at(dir: RawFd, path: &CStr, mode: u32, major: u32, minor: u32) -> io::Result<()> {
    let (major, minor) = (u64::from(major), u64::from(minor));
    let device = (major & 0xfff) << 8 | (major & !0xfff) << 32 | (minor & 0xff) | (minor & !0xff) << 12;
    check(unsafe { foreign::mknodat(dir, path.as_ptr(), mode, device) }).map(|_| ())
}

pub fn unlink_at(dir: RawFd, path: &CStr, flags: c_int) -> io::Result<()> {
    check(unsafe { foreign::unlinkat(dir, path.as_ptr(), flags) }).map(|_| ())
}

pub fn symlink_at(target: &CStr, dir: RawFd, path: &CStr) -> io::Result<()> {
    check(unsafe { foreign::symlinkat(target.as_ptr(), dir, path.as_ptr()) }).map(|_| ())
}

pub fn link_at(from_dir: RawFd, from: &CStr, to_dir: RawFd, to: &CStr) -> io::Result<()> {
    check(unsafe { foreign::linkat(from_dir, from.as_ptr(), to_dir, to.as_ptr(), 0) }).map(|_| ())
}

pub fn rename_at(from_dir: RawFd, from: &CStr, to_dir: RawFd, to: &CStr) -> io::Result<()> {
    check(unsafe { foreign::renameat(from_dir, from.as_ptr(), to_dir, to.as_ptr()) }).map(|_| ())
}

pub fn read_link_at(dir: RawFd, path: &CStr) -> io::Result<Vec<u8>> {
    let mut buffer = vec![0u8; 4096];
    let result = unsafe { foreign::readlinkat(dir, path.as_ptr(), buffer.as_mut_ptr().cast(), buffer.len()) };
    buffer.truncate(check_size(result)?);
    Ok(buffer)
}

pub fn chown_at(dir: RawFd, path: &CStr, uid: u32, gid: u32) -> io::Result<()> {
    check(unsafe { foreign::fchownat(dir, path.as_ptr(), uid, gid, AT_SYMLINK_NOFOLLOW) }).map(|_| ())
}

pub fn chmod_at(dir: RawFd, path: &CStr, mode: u32) -> io::Result<()> {
    check(unsafe { foreign::fchmodat(dir, path.as_ptr(), mode, 0) }).map(|_| ())
}

/// For each id, `None` leaves it as it is.
pub fn chown(fd: RawFd, uid: Option<u32>, gid: Option<u32>) -> io::Result<()> {
    let same = u32::MAX;
    check(unsafe { foreign::fchown(fd, uid.unwrap_or(same), gid.unwrap_or(same)) }).map(|_| ())
}

pub fn chmod(fd: RawFd, mode: u32) -> io::Result<()> {
    check(unsafe { foreign::fchmod(fd, mode) }).map(|_| ())
}

fn only_mtime(mtime: TimeSpec) -> [TimeSpec; 2] {
    [TimeSpec { seconds: 0, nanoseconds: UTIME_OMIT }, mtime]
}

pub fn set_mtime_at(dir: RawFd, path: &CStr, mtime: TimeSpec) -> io::Result<()> {
    let times = only_mtime(mtime);
    check(unsafe { foreign::utimensat(dir, path.as_ptr(), times.as_ptr(), AT_SYMLINK_NOFOLLOW) }).map(|_| ())
}

pub fn set_mtime(fd: RawFd, mtime: TimeSpec) -> io::Result<()> {
    let times = only_mtime(mtime);
    check(unsafe { foreign::futimens(fd, times.as_ptr()) }).map(|_| ())
}

/// The names in a directory, unsorted, without `.` and `..`.
pub fn names_in(dir: RawFd) -> io::Result<Vec<CString>> {
    let mut buffer = vec![0u8; 32 * 1024];
    let mut names = Vec::new();
    loop {
        let result = unsafe { foreign::getdents64(dir, buffer.as_mut_ptr().cast(), buffer.len()) };
        let count = check_size(result)?;
        if count == 0 {
            return Ok(names);
        }
        // struct linux_dirent64: ino u64, offset u64, length u16, type u8, name.
        let mut at = 0;
        while at + 19 < count {
            let length = usize::from(u16::from_ne_bytes([buffer[at + 16], buffer[at + 17]]));
            if length < 20 || at + length > count {
                break;
            }
            let name = &buffer[at + 19..at + length];
            let end = name.iter().position(|&byte| byte == 0).unwrap_or(name.len());
            if !matches!(&name[..end], b"." | b"..") {
                names.push(c_path(&name[..end])?);
            }
            at += length;
        }
    }
}
