//! Open files: reading, writing, duplicating, and telling a thread something.

use super::{check, check_size, errno_of, owned, O_CLOEXEC, O_NONBLOCK};
use std::io;
use std::os::raw::{c_int, c_uint, c_ulong, c_void};
use std::os::unix::io::{AsRawFd, FromRawFd, OwnedFd, RawFd};

mod foreign {
    use super::*;
    extern "C" {
        pub fn read(fd: c_int, buffer: *mut c_void, count: usize) -> isize;
        pub fn write(fd: c_int, buffer: *const c_void, count: usize) -> isize;
        pub fn pread(fd: c_int, buffer: *mut c_void, count: usize, offset: i64) -> isize;
        pub fn pwrite(fd: c_int, buffer: *const c_void, count: usize, offset: i64) -> isize;
        pub fn lseek(fd: c_int, offset: i64, whence: c_int) -> i64;
        pub fn posix_fadvise(fd: c_int, offset: i64, length: i64, advice: c_int) -> c_int;
        pub fn ftruncate(fd: c_int, length: i64) -> c_int;
        pub fn fcntl(fd: c_int, command: c_int, ...) -> c_int;
        pub fn ioctl(fd: c_int, request: c_ulong, ...) -> c_int;
        pub fn dup3(from: c_int, to: c_int, flags: c_int) -> c_int;
        pub fn pipe2(fds: *mut c_int, flags: c_int) -> c_int;
        pub fn eventfd(initial: c_uint, flags: c_int) -> c_int;
    }
}

pub fn read(fd: RawFd, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        let result = unsafe { foreign::read(fd, buffer.as_mut_ptr().cast(), buffer.len()) };
        match check_size(result) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            other => return other,
        }
    }
}

pub fn write(fd: RawFd, buffer: &[u8]) -> io::Result<usize> {
    loop {
        let result = unsafe { foreign::write(fd, buffer.as_ptr().cast(), buffer.len()) };
        match check_size(result) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            other => return other,
        }
    }
}

pub fn write_all(fd: RawFd, mut buffer: &[u8]) -> io::Result<()> {
    while !buffer.is_empty() {
        match write(fd, buffer)? {
            0 => return Err(io::Error::from_raw_os_error(crate::failure::EIO)),
            count => buffer = &buffer[count..],
        }
    }
    Ok(())
}

pub fn pread(fd: RawFd, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let result = unsafe { foreign::pread(fd, buffer.as_mut_ptr().cast(), buffer.len(), offset as i64) };
    check_size(result)
}

pub fn pwrite_all(fd: RawFd, mut buffer: &[u8], mut offset: u64) -> io::Result<()> {
    while !buffer.is_empty() {
        let at = offset as i64;
        let result = unsafe { foreign::pwrite(fd, buffer.as_ptr().cast(), buffer.len(), at) };
        match check_size(result) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
            Ok(0) => return Err(io::Error::from_raw_os_error(crate::failure::EIO)),
            Ok(count) => {
                buffer = &buffer[count..];
                offset += count as u64;
            }
        }
    }
    Ok(())
}

pub fn truncate(fd: RawFd, length: u64) -> io::Result<()> {
    let length = i64::try_from(length).map_err(|_| io::Error::from_raw_os_error(crate::failure::EFBIG))?;
    check(unsafe { foreign::ftruncate(fd, length) }).map(|_| ())
}

/// Has the kernel begin to read a file. Only a hint: that it fails means nothing.
pub fn read_ahead(fd: RawFd, length: u64) {
    let _ = unsafe { foreign::posix_fadvise(fd, 0, length as i64, 3) };
}

/// Whether reads bypass the page cache: then buffers, offsets and lengths must be multiples of 512. Fails where the file
/// system cannot.
pub fn set_direct(fd: RawFd, direct: bool) -> io::Result<()> {
    const O_DIRECT: c_int = 0o40000;
    let flags = check(unsafe { foreign::fcntl(fd, 3) })?;
    let flags = if direct { flags | O_DIRECT } else { flags & !O_DIRECT };
    check(unsafe { foreign::fcntl(fd, 4, flags) }).map(|_| ())
}

fn seek(fd: RawFd, offset: u64, whence: c_int) -> io::Result<u64> {
    let result = unsafe { foreign::lseek(fd, offset as i64, whence) };
    u64::try_from(result).map_err(|_| io::Error::last_os_error())
}

/// Where the next data begins, from `offset` on; `None`: there is none any more.
pub fn seek_data(fd: RawFd, offset: u64) -> io::Result<Option<u64>> {
    match seek(fd, offset, 3) {
        Err(error) if errno_of(&error) == crate::failure::ENXIO => Ok(None),
        other => other.map(Some),
    }
}

/// Where the next hole begins, from `offset` on; the end of the file counts as one.
pub fn seek_hole(fd: RawFd, offset: u64) -> io::Result<u64> {
    seek(fd, offset, 4)
}

/// Makes this the whole content of a file that has `size` bytes, without ever making it empty. Cutting it is far more work
/// for a file system than writing, and left out where there is nothing to cut.
pub fn overwrite(fd: RawFd, content: &[u8], size: u64) -> io::Result<()> {
    let result = unsafe { foreign::pwrite(fd, content.as_ptr().cast(), content.len(), 0) };
    if check_size(result)? != content.len() {
        return Err(io::Error::from_raw_os_error(crate::failure::EIO));
    }
    if size > content.len() as u64 {
        check(unsafe { foreign::ftruncate(fd, content.len() as i64) })?;
    }
    Ok(())
}

pub fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut fds = [0; 2];
    check(unsafe { foreign::pipe2(fds.as_mut_ptr(), O_CLOEXEC) })?;
    Ok(unsafe { (OwnedFd::from_raw_fd(fds[0]), OwnedFd::from_raw_fd(fds[1])) })
}

pub fn set_nonblocking(fd: &OwnedFd) -> io::Result<()> {
    // Fresh descriptors of ours have no other status flag that matters.
    check(unsafe { foreign::fcntl(fd.as_raw_fd(), 4, O_NONBLOCK) }).map(|_| ())
}

/// A duplicate on a number of at least 3, closed on exec.
pub fn dup_high(fd: RawFd) -> io::Result<OwnedFd> {
    owned(unsafe { foreign::fcntl(fd, 1030, 3) })
}

pub fn dup_onto(from: RawFd, to: RawFd) -> io::Result<()> {
    check(unsafe { foreign::dup3(from, to, 0) }).map(|_| ())
}

pub fn is_open(fd: RawFd) -> bool {
    unsafe { foreign::fcntl(fd, 1) >= 0 }
}

pub fn eventfd() -> io::Result<OwnedFd> {
    owned(unsafe { foreign::eventfd(0, O_CLOEXEC | O_NONBLOCK) })
}

pub fn notify(eventfd: RawFd) {
    let _ = write(eventfd, &1u64.to_ne_bytes());
}

pub fn clear(eventfd: RawFd) {
    let _ = read(eventfd, &mut [0; 8]);
}

/// An ioctl whose argument is a buffer laid out by the caller.
pub fn ioctl_bytes(fd: RawFd, request: c_ulong, argument: &mut [u8]) -> io::Result<()> {
    check(unsafe { foreign::ioctl(fd, request, argument.as_mut_ptr()) }).map(|_| ())
}

pub fn ioctl_value(fd: RawFd, request: c_ulong, argument: c_ulong) -> io::Result<c_int> {
    check(unsafe { foreign::ioctl(fd, request, argument) })
}
