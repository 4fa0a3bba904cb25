//! The system: every foreign function, constant and layout the agent uses, by what they are about, and thin wrappers that
//! turn -1 into `io::Error`. Nothing outside `sys` is `unsafe` but the child between clone and exec (`spawn.rs`).

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
compile_error!("system call numbers and the clone stub stand here for x86-64 Linux only");

mod clone;
mod descriptors;
mod filesystem;
mod machine;
mod paths;
mod process;
mod socket;
mod stat;
mod terminal;
mod wait;
mod xattr;

pub use clone::*;
pub use descriptors::*;
pub use filesystem::*;
pub use machine::*;
pub use paths::*;
pub use process::*;
pub use socket::*;
pub use stat::*;
pub use terminal::*;
pub use wait::*;
pub use xattr::*;

use std::ffi::CString;
use std::io;
use std::os::raw::c_int;
use std::os::unix::io::{FromRawFd, OwnedFd};

pub const AT_FDCWD: c_int = -100;
pub const AT_SYMLINK_NOFOLLOW: c_int = 0x100;

#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeSpec {
    pub seconds: i64,
    pub nanoseconds: i64,
}

fn check(result: c_int) -> io::Result<c_int> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

fn check_size(result: isize) -> io::Result<usize> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result as usize)
    }
}

fn owned(result: c_int) -> io::Result<OwnedFd> {
    // SAFETY: the kernel has just made this descriptor, and nobody else knows it.
    check(result).map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A path as the kernel wants it. A NUL inside is EINVAL, as every caller treats it.
pub fn c_path(path: &[u8]) -> io::Result<CString> {
    CString::new(path).map_err(|_| io::Error::from_raw_os_error(crate::failure::EINVAL))
}

pub fn errno_of(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(crate::failure::EIO)
}
