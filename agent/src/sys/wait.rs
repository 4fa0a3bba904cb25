//! Waiting for something to happen: epoll, poll and inotify.

use super::{check, owned, TimeSpec, O_CLOEXEC, O_NONBLOCK};
use std::ffi::CStr;
use std::io;
use std::os::raw::{c_char, c_int, c_uint, c_ulong, c_void};
use std::os::unix::io::{OwnedFd, RawFd};

mod foreign {
    use super::*;
    extern "C" {
        pub fn epoll_create1(flags: c_int) -> c_int;
        pub fn epoll_ctl(epoll: c_int, op: c_int, fd: c_int, event: *mut EpollEvent) -> c_int;
        pub fn epoll_wait(epoll: c_int, events: *mut EpollEvent, count: c_int, timeout: c_int) -> c_int;
        pub fn poll(fds: *mut PollFd, count: c_ulong, timeout: c_int) -> c_int;
        pub fn ppoll(
            fds: *mut PollFd,
            count: c_ulong,
            timeout: *const TimeSpec,
            mask: *const c_void,
        ) -> c_int;
        pub fn inotify_init1(flags: c_int) -> c_int;
        pub fn inotify_add_watch(fd: c_int, path: *const c_char, mask: c_uint) -> c_int;
        pub fn inotify_rm_watch(fd: c_int, watch: c_int) -> c_int;
    }
}

pub const EPOLLIN: u32 = 0x001;
pub const EPOLLOUT: u32 = 0x004;
pub const EPOLLERR: u32 = 0x008;
pub const EPOLLHUP: u32 = 0x010;
pub const EPOLLRDHUP: u32 = 0x2000;
pub const EPOLLET: u32 = 1 << 31;

pub const POLLIN: i16 = 1;
pub const POLLPRI: i16 = 2;
pub const POLLOUT: i16 = 4;

#[repr(C, packed)]
#[derive(Clone, Copy)]
pub struct EpollEvent {
    pub events: u32,
    pub token: u64,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct PollFd {
    pub fd: c_int,
    pub events: i16,
    pub revents: i16,
}

pub fn epoll() -> io::Result<OwnedFd> {
    owned(unsafe { foreign::epoll_create1(O_CLOEXEC) })
}

pub fn epoll_add(epoll: RawFd, fd: RawFd, events: u32, token: u64) -> io::Result<()> {
    let mut event = EpollEvent { events, token };
    check(unsafe { foreign::epoll_ctl(epoll, 1, fd, &mut event) }).map(|_| ())
}

pub fn epoll_change(epoll: RawFd, fd: RawFd, events: u32, token: u64) -> io::Result<()> {
    let mut event = EpollEvent { events, token };
    check(unsafe { foreign::epoll_ctl(epoll, 3, fd, &mut event) }).map(|_| ())
}

pub fn epoll_remove(epoll: RawFd, fd: RawFd) {
    let mut event = EpollEvent { events: 0, token: 0 };
    unsafe { foreign::epoll_ctl(epoll, 2, fd, &mut event) };
}

/// `timeout_ms` below 0 waits for ever.
pub fn epoll_wait(epoll: RawFd, events: &mut [EpollEvent], timeout_ms: c_int) -> io::Result<usize> {
    let result =
        unsafe { foreign::epoll_wait(epoll, events.as_mut_ptr(), events.len() as c_int, timeout_ms) };
    match check(result) {
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(0),
        other => other.map(|count| count as usize),
    }
}

pub fn poll(fds: &mut [PollFd], timeout_ms: c_int) -> io::Result<usize> {
    match check(unsafe { foreign::poll(fds.as_mut_ptr(), fds.len() as c_ulong, timeout_ms) }) {
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(0),
        other => other.map(|count| count as usize),
    }
}

/// Whether the other side of a descriptor is closed.
pub fn is_hung_up(fd: RawFd) -> bool {
    const POLLHUP: i16 = 0x10;
    let mut fds = [PollFd { fd, events: 0, revents: 0 }];
    poll(&mut fds, 0).is_ok() && fds[0].revents & POLLHUP != 0
}

/// As `poll`, with a wait of less than a second in microseconds.
pub fn poll_us(fds: &mut [PollFd], timeout_us: u32) -> usize {
    let timeout = TimeSpec { seconds: 0, nanoseconds: i64::from(timeout_us) * 1000 };
    let count = fds.len() as c_ulong;
    let result = unsafe { foreign::ppoll(fds.as_mut_ptr(), count, &timeout, std::ptr::null()) };
    result.max(0) as usize
}

pub fn inotify() -> io::Result<OwnedFd> {
    owned(unsafe { foreign::inotify_init1(O_CLOEXEC | O_NONBLOCK) })
}

pub fn inotify_add(fd: RawFd, path: &CStr, mask: u32) -> io::Result<i32> {
    check(unsafe { foreign::inotify_add_watch(fd, path.as_ptr(), mask) })
}

pub fn inotify_remove(fd: RawFd, watch: i32) {
    unsafe { foreign::inotify_rm_watch(fd, watch) };
}
