//! Sockets.

use super::{check, errno_of, owned};
use std::io;
use std::os::raw::{c_int, c_uint, c_void};
use std::os::unix::io::{AsRawFd, OwnedFd};

mod foreign {
    use super::*;
    extern "C" {
        pub fn socket(domain: c_int, kind: c_int, protocol: c_int) -> c_int;
        pub fn connect(fd: c_int, address: *const c_void, length: c_uint) -> c_int;
        pub fn getsockopt(
            fd: c_int,
            level: c_int,
            option: c_int,
            value: *mut c_void,
            length: *mut c_uint,
        ) -> c_int;
        pub fn shutdown(fd: c_int, how: c_int) -> c_int;
    }
}

pub const AF_INET: c_int = 2;

pub const SOCK_STREAM: c_int = 1;
pub const SOCK_DGRAM: c_int = 2;
pub const SOCK_NONBLOCK: c_int = 0o4000;
pub const SOCK_CLOEXEC: c_int = 0o2000000;

pub fn socket(domain: c_int, kind: c_int) -> io::Result<OwnedFd> {
    owned(unsafe { foreign::socket(domain, kind | SOCK_CLOEXEC, 0) })
}

/// Begins to connect to `127.0.0.1:port`; EINPROGRESS is no error.
pub fn connect_loopback(fd: &OwnedFd, port: u16) -> io::Result<()> {
    let mut address = [0u8; 16];
    address[..2].copy_from_slice(&(AF_INET as u16).to_ne_bytes());
    address[2..4].copy_from_slice(&port.to_be_bytes());
    address[4..8].copy_from_slice(&[127, 0, 0, 1]);
    let result = unsafe { foreign::connect(fd.as_raw_fd(), address.as_ptr().cast(), 16) };
    match check(result) {
        Err(error) if errno_of(&error) == crate::failure::EINPROGRESS => Ok(()),
        other => other.map(|_| ()),
    }
}

pub fn socket_error(fd: &OwnedFd) -> io::Result<()> {
    let mut value: c_int = 0;
    let mut length: c_uint = 4;
    check(unsafe {
        foreign::getsockopt(fd.as_raw_fd(), 1, 4, (&mut value as *mut c_int).cast(), &mut length)
    })?;
    if value == 0 {
        Ok(())
    } else {
        Err(io::Error::from_raw_os_error(value))
    }
}

pub fn shutdown_write(fd: &OwnedFd) {
    unsafe { foreign::shutdown(fd.as_raw_fd(), 1) };
}

pub fn shutdown_both(fd: &OwnedFd) {
    unsafe { foreign::shutdown(fd.as_raw_fd(), 2) };
}
