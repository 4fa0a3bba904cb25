//! The system: every foreign function, constant and layout the agent uses, and thin wrappers that turn -1 into
//! `io::Error`. Nothing outside this file is `unsafe` but the child between clone and exec (`spawn.rs`).

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
compile_error!("system call numbers and the clone stub stand here for x86-64 Linux only");

use std::ffi::{CStr, CString};
use std::io;
use std::os::raw::{c_char, c_int, c_long, c_uint, c_ulong, c_void};
use std::os::unix::io::{AsRawFd, FromRawFd, OwnedFd, RawFd};

mod foreign {
    use super::*;
    extern "C" {
        pub fn syscall(number: c_long, ...) -> c_long;
        pub fn read(fd: c_int, buffer: *mut c_void, count: usize) -> isize;
        pub fn write(fd: c_int, buffer: *const c_void, count: usize) -> isize;
        pub fn pread(fd: c_int, buffer: *mut c_void, count: usize, offset: i64) -> isize;
        pub fn pwrite(fd: c_int, buffer: *const c_void, count: usize, offset: i64) -> isize;
        pub fn ftruncate(fd: c_int, length: i64) -> c_int;
        pub fn openat(dir: c_int, path: *const c_char, flags: c_int, ...) -> c_int;
        pub fn fcntl(fd: c_int, command: c_int, ...) -> c_int;
        pub fn ioctl(fd: c_int, request: c_ulong, ...) -> c_int;
        pub fn dup3(from: c_int, to: c_int, flags: c_int) -> c_int;
        pub fn pipe2(fds: *mut c_int, flags: c_int) -> c_int;
        pub fn eventfd(initial: c_uint, flags: c_int) -> c_int;
        pub fn signalfd(fd: c_int, mask: *const SignalSet, flags: c_int) -> c_int;
        pub fn epoll_create1(flags: c_int) -> c_int;
        pub fn epoll_ctl(epoll: c_int, op: c_int, fd: c_int, event: *mut EpollEvent) -> c_int;
        pub fn epoll_wait(epoll: c_int, events: *mut EpollEvent, count: c_int, timeout: c_int) -> c_int;
        pub fn poll(fds: *mut PollFd, count: c_ulong, timeout: c_int) -> c_int;
        pub fn ppoll(
            fds: *mut PollFd,
            count: c_ulong,
            timeout: *const TimeSpec,
            mask: *const SignalSet,
        ) -> c_int;
        pub fn setpriority(which: c_int, who: c_uint, nice: c_int) -> c_int;
        pub fn pthread_sigmask(how: c_int, set: *const SignalSet, old: *mut SignalSet) -> c_int;
        pub fn signal(number: c_int, handler: usize) -> usize;
        pub fn waitpid(pid: c_int, status: *mut c_int, options: c_int) -> c_int;
        pub fn kill(pid: c_int, signal: c_int) -> c_int;
        pub fn fork() -> c_int;
        pub fn _exit(status: c_int) -> !;
        pub fn unshare(flags: c_int) -> c_int;
        pub fn prctl(option: c_int, ...) -> c_int;
        pub fn prlimit(pid: c_int, resource: c_int, new: *const Limit, old: *mut Limit) -> c_int;
        pub fn geteuid() -> c_uint;
        pub fn getegid() -> c_uint;
        pub fn umask(mask: c_uint) -> c_uint;
        pub fn getgroups(size: c_int, list: *mut c_uint) -> c_int;
        pub fn mallopt(parameter: c_int, value: c_int) -> c_int;
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
        pub fn statx(dir: c_int, path: *const c_char, flags: c_int, mask: c_uint, out: *mut Statx) -> c_int;
        pub fn getdents64(fd: c_int, buffer: *mut c_void, count: usize) -> isize;
        pub fn fsync(fd: c_int) -> c_int;
        pub fn syncfs(fd: c_int) -> c_int;
        pub fn sync();
        pub fn fstatvfs(fd: c_int, out: *mut StatVfs) -> c_int;
        pub fn llistxattr(path: *const c_char, list: *mut c_char, size: usize) -> isize;
        pub fn lgetxattr(path: *const c_char, name: *const c_char, value: *mut c_void, size: usize) -> isize;
        pub fn lsetxattr(
            path: *const c_char,
            name: *const c_char,
            value: *const c_void,
            size: usize,
            flags: c_int,
        ) -> c_int;
        pub fn inotify_init1(flags: c_int) -> c_int;
        pub fn inotify_add_watch(fd: c_int, path: *const c_char, mask: c_uint) -> c_int;
        pub fn inotify_rm_watch(fd: c_int, watch: c_int) -> c_int;
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
        pub fn sethostname(name: *const c_char, length: usize) -> c_int;
        pub fn clock_settime(clock: c_int, time: *const TimeSpec) -> c_int;
        pub fn sched_setscheduler(pid: c_int, policy: c_int, parameter: *const c_int) -> c_int;
        pub fn reboot(command: c_int) -> c_int;
    }
}

pub const AT_FDCWD: c_int = -100;
pub const AT_SYMLINK_NOFOLLOW: c_int = 0x100;
pub const AT_REMOVEDIR: c_int = 0x200;
pub const AT_EMPTY_PATH: c_int = 0x1000;

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

pub const S_IFMT: u32 = 0o170000;
pub const S_IFSOCK: u32 = 0o140000;
pub const S_IFLNK: u32 = 0o120000;
pub const S_IFREG: u32 = 0o100000;
pub const S_IFBLK: u32 = 0o060000;
pub const S_IFDIR: u32 = 0o040000;
pub const S_IFCHR: u32 = 0o020000;
pub const S_IFIFO: u32 = 0o010000;

pub const EPOLLIN: u32 = 0x001;
pub const EPOLLOUT: u32 = 0x004;
pub const EPOLLERR: u32 = 0x008;
pub const EPOLLHUP: u32 = 0x010;
pub const EPOLLRDHUP: u32 = 0x2000;
pub const EPOLLET: u32 = 1 << 31;

pub const SIGHUP: c_int = 1;
pub const SIGABRT: c_int = 6;
pub const SIGKILL: c_int = 9;
pub const SIGPIPE: c_int = 13;
pub const SIGTERM: c_int = 15;
pub const SIGCHLD: c_int = 17;
pub const SIGCONT: c_int = 18;
const SIGNALS: c_int = 64;

pub const RLIMIT_NOFILE: c_int = 7;
pub const RLIMIT_MSGQUEUE: c_int = 12;

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

pub const TIOCSCTTY: c_ulong = 0x540e;
const TIOCSWINSZ: c_ulong = 0x5414;
const TIOCSPTLCK: c_ulong = 0x4004_5431;
const TIOCGPTPEER: c_ulong = 0x5441;
const TCGETS: c_ulong = 0x5401;
pub const FIFREEZE: c_ulong = 0xc004_5877;
pub const FITHAW: c_ulong = 0xc004_5878;
pub const RNDADDENTROPY: c_ulong = 0x4008_5203;
pub const RNDRESEEDCRNG: c_ulong = 0x5207;

pub const STATX_BASIC_STATS: c_uint = 0x7ff;

pub const RESOLVE_NO_MAGICLINKS: u64 = 0x02;
pub const RESOLVE_BENEATH: u64 = 0x08;
pub const RESOLVE_IN_ROOT: u64 = 0x10;

pub const AF_INET: c_int = 2;
pub const SOCK_STREAM: c_int = 1;
pub const SOCK_DGRAM: c_int = 2;
pub const SOCK_NONBLOCK: c_int = 0o4000;
pub const SOCK_CLOEXEC: c_int = 0o2000000;

pub const RB_POWER_OFF: c_int = 0x4321_fedc;

#[repr(C)]
#[derive(Clone, Copy)]
pub struct SignalSet([u64; 16]);

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
pub const POLLIN: i16 = 1;
pub const POLLPRI: i16 = 2;
pub const POLLOUT: i16 = 4;

#[repr(C)]
#[derive(Clone, Copy)]
pub struct Limit {
    pub soft: u64,
    pub hard: u64,
}

#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeSpec {
    pub seconds: i64,
    pub nanoseconds: i64,
}
/// In `utimensat`: leaves that time as it is.
pub const UTIME_OMIT: i64 = (1 << 30) - 2;

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

#[repr(C)]
struct OpenHow {
    flags: u64,
    mode: u64,
    resolve: u64,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct CloneArgs {
    pub flags: u64,
    pub pidfd: u64,
    pub child_tid: u64,
    pub parent_tid: u64,
    pub exit_signal: u64,
    pub stack: u64,
    pub stack_size: u64,
    pub tls: u64,
    pub set_tid: u64,
    pub set_tid_size: u64,
    pub cgroup: u64,
}
pub const CLONE_VM: u64 = 0x100;
pub const CLONE_CHILD_CLEARTID: u64 = 0x0020_0000;
pub const CLONE_NEWNS: u64 = 0x2_0000;
pub const CLONE_NEWUTS: u64 = 0x400_0000;
pub const CLONE_NEWCGROUP: u64 = 0x0200_0000;
pub const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// System calls of the child between clone and exec, which shares the agent's memory and so must not touch errno.
pub mod raw {
    pub const WRITE: usize = 1;
    pub const IOCTL: usize = 16;
    pub const RT_SIGPROCMASK: usize = 14;
    pub const EXECVE: usize = 59;
    pub const EXIT: usize = 60;
    pub const CHDIR: usize = 80;
    pub const UMASK: usize = 95;
    pub const SETSID: usize = 112;
    pub const SETGROUPS: usize = 116;
    pub const SETRESUID: usize = 117;
    pub const SETRESGID: usize = 119;
    pub const UNSHARE: usize = 272;
    pub const DUP3: usize = 292;
    pub const PRLIMIT64: usize = 302;

    /// # Safety
    /// As the system call's own contract says.
    #[inline(always)]
    pub unsafe fn call4(number: usize, a: usize, b: usize, c: usize, d: usize) -> isize {
        let result: isize;
        std::arch::asm!(
            "syscall",
            inlateout("rax") number => result,
            in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d,
            out("rcx") _, out("r11") _,
            options(nostack)
        );
        result
    }

    /// clone3 with a stack of its own for the child, on which it calls `entry(data)`. Negative errno on failure.
    ///
    /// # Safety
    /// `args` must hold CLONE_VM and a stack that stays valid until the child has exec'd or ended.
    pub unsafe fn clone3(
        args: &super::CloneArgs,
        entry: unsafe extern "C" fn(*const super::c_void) -> !,
        data: *const super::c_void,
    ) -> isize {
        let result: isize;
        std::arch::asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, r8",
            "call r9",
            "ud2",
            "2:",
            // Named registers: one of the compiler's choice may be rbp, which the child clears.
            in("r8") data,
            in("r9") entry,
            inlateout("rax") 435usize => result,
            in("rdi") args as *const super::CloneArgs,
            in("rsi") std::mem::size_of::<super::CloneArgs>(),
            out("rcx") _, out("r11") _,
        );
        result
    }
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

/// Blocks SIGCHLD (it arrives by the signalfd that is answered) and SIGPIPE (writes answer EPIPE) in this thread and
/// all that it starts. Handlers stay at their defaults, so a child has only its mask to reset.
pub fn take_signals() -> io::Result<OwnedFd> {
    let mut set = SignalSet([0; 16]);
    set.0[0] = 1 << (SIGCHLD - 1) | 1 << (SIGPIPE - 1);
    let mut child = SignalSet([0; 16]);
    child.0[0] = 1 << (SIGCHLD - 1);
    unsafe {
        foreign::pthread_sigmask(0, &set, std::ptr::null_mut());
        foreign::signal(SIGPIPE, 0);
        foreign::signal(SIGCHLD, 0);
        owned(foreign::signalfd(-1, &child, O_CLOEXEC | O_NONBLOCK))
    }
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

#[derive(Debug, PartialEq, Eq)]
pub enum Reaped {
    /// One that has ended: its pid, and its wait status.
    Child(i32, i32),
    /// There are children, all alive.
    AllAlive,
    /// There are no children.
    NoChildren,
}

/// Takes in a child that has ended, however it was made.
pub fn reap() -> Reaped {
    const WNOHANG: c_int = 1;
    const WALL: c_int = 0x4000_0000;
    let mut status = 0;
    match check(unsafe { foreign::waitpid(-1, &mut status, WNOHANG | WALL) }) {
        Ok(pid) if pid > 0 => Reaped::Child(pid, status),
        Err(error) if errno_of(&error) == crate::failure::ECHILD => Reaped::NoChildren,
        _ => Reaped::AllAlive,
    }
}
/// Waits for a child to end; answers its wait status.
pub fn wait(pid: i32) -> io::Result<i32> {
    let mut status = 0;
    check(unsafe { foreign::waitpid(pid, &mut status, 0) }).map(|_| status)
}
/// Forks a child that ends at once, and waits for it. For processes of one thread.
pub fn fork_once() -> io::Result<()> {
    // SAFETY: the child does nothing but end.
    match check(unsafe { foreign::fork() })? {
        0 => unsafe { foreign::_exit(0) },
        pid => wait(pid).map(|_| ()),
    }
}
pub fn unshare(flags: u64) -> io::Result<()> {
    check(unsafe { foreign::unshare(flags as c_int) }).map(|_| ())
}
pub fn kill(pid: i32, signal: i32) -> io::Result<()> {
    check(unsafe { foreign::kill(pid, signal) }).map(|_| ())
}
pub fn is_signal(number: u32) -> bool {
    (1..=SIGNALS as u32).contains(&number)
}
pub fn become_subreaper() {
    unsafe { foreign::prctl(36, 1 as c_ulong) };
}
pub fn limit(pid: i32, resource: c_int) -> io::Result<Limit> {
    let mut old = Limit { soft: 0, hard: 0 };
    check(unsafe { foreign::prlimit(pid, resource, std::ptr::null(), &mut old) })?;
    Ok(old)
}
pub fn set_limit(resource: c_int, limit: Limit) -> io::Result<()> {
    check(unsafe { foreign::prlimit(0, resource, &limit, std::ptr::null_mut()) }).map(|_| ())
}
pub fn effective_ids() -> (u32, u32) {
    unsafe { (foreign::geteuid(), foreign::getegid()) }
}
pub fn has_groups() -> bool {
    unsafe { foreign::getgroups(0, std::ptr::null_mut()) != 0 }
}
pub fn set_umask(mask: u32) {
    unsafe { foreign::umask(mask) };
}
/// Puts this thread before all that commands run, and their processes and our workers back where they belong.
pub fn run_first() -> io::Result<()> {
    const SCHED_RR: c_int = 2;
    const SCHED_RESET_ON_FORK: c_int = 0x4000_0000;
    let priority: c_int = 1;
    check(unsafe { foreign::sched_setscheduler(0, SCHED_RR | SCHED_RESET_ON_FORK, &priority) }).map(|_| ())
}
/// Puts this thread back among ordinary ones, where it was.
pub fn run_as_others() {
    const SCHED_OTHER: c_int = 0;
    let priority: c_int = 0;
    unsafe { foreign::sched_setscheduler(0, SCHED_OTHER, &priority) };
}
/// Puts this thread before an ordinary one.
pub fn be_preferred() {
    unsafe { foreign::setpriority(0, 0, -10) };
}
/// One malloc arena for all threads: glibc's default of many costs memory and buys nothing on one or two CPUs.
pub fn single_arena() {
    unsafe { foreign::mallopt(-8, 1) };
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

/// Loads a kernel module that is not compressed.
pub fn load_module(fd: RawFd) -> io::Result<()> {
    let none = [0 as c_char];
    check(unsafe { foreign::syscall(313, fd, none.as_ptr(), 0) } as c_int).map(|_| ())
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

/// Names of extended attributes, of the thing itself when it is a symlink.
pub fn list_xattrs(path: &CStr) -> io::Result<Vec<CString>> {
    let mut buffer = vec![0u8; 1024];
    loop {
        let result = unsafe { foreign::llistxattr(path.as_ptr(), buffer.as_mut_ptr().cast(), buffer.len()) };
        match check_size(result) {
            Err(error) if errno_of(&error) == crate::failure::ERANGE && buffer.len() < 65536 => {
                buffer = vec![0; 65536];
            }
            Err(error) => return Err(error),
            Ok(count) => {
                let names = buffer[..count].split(|&byte| byte == 0).filter(|name| !name.is_empty());
                return names.map(c_path).collect();
            }
        }
    }
}
pub fn xattr(path: &CStr, name: &CStr) -> io::Result<Vec<u8>> {
    let mut buffer = vec![0u8; 65536];
    let result =
        unsafe { foreign::lgetxattr(path.as_ptr(), name.as_ptr(), buffer.as_mut_ptr().cast(), buffer.len()) };
    buffer.truncate(check_size(result)?);
    Ok(buffer)
}
pub fn set_xattr(path: &CStr, name: &CStr, value: &[u8]) -> io::Result<()> {
    check(unsafe { foreign::lsetxattr(path.as_ptr(), name.as_ptr(), value.as_ptr().cast(), value.len(), 0) })
        .map(|_| ())
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

/// An ioctl whose argument is a buffer laid out by the caller.
pub fn ioctl_bytes(fd: RawFd, request: c_ulong, argument: &mut [u8]) -> io::Result<()> {
    check(unsafe { foreign::ioctl(fd, request, argument.as_mut_ptr()) }).map(|_| ())
}
pub fn ioctl_value(fd: RawFd, request: c_ulong, argument: c_ulong) -> io::Result<c_int> {
    check(unsafe { foreign::ioctl(fd, request, argument) })
}

/// A new terminal: the agent's side (non-blocking), and the command's.
pub fn open_terminal() -> io::Result<(OwnedFd, OwnedFd)> {
    let master = open(b"/dev/ptmx", O_RDWR | O_NOCTTY | O_NONBLOCK, 0)?;
    ioctl_bytes(master.as_raw_fd(), TIOCSPTLCK, &mut [0; 4])?;
    let flags = (O_RDWR | O_NOCTTY | O_CLOEXEC) as c_ulong;
    let slave = owned(ioctl_value(master.as_raw_fd(), TIOCGPTPEER, flags)?)?;
    Ok((master, slave))
}
pub fn set_window(terminal: &OwnedFd, rows: u16, columns: u16) -> io::Result<()> {
    let mut size = [0u8; 8];
    size[..2].copy_from_slice(&rows.to_ne_bytes());
    size[2..4].copy_from_slice(&columns.to_ne_bytes());
    ioctl_bytes(terminal.as_raw_fd(), TIOCSWINSZ, &mut size)
}
/// The character that ends input on this terminal; usually Ctrl-D.
pub fn end_of_file_character(terminal: &OwnedFd) -> u8 {
    // struct termios as the kernel has it: four u32, c_line, then c_cc with VEOF at 4.
    let mut termios = [0u8; 64];
    match ioctl_bytes(terminal.as_raw_fd(), TCGETS, &mut termios) {
        Ok(()) => termios[17 + 4],
        Err(_) => 4,
    }
}

pub fn set_hostname(name: &str) -> io::Result<()> {
    check(unsafe { foreign::sethostname(name.as_ptr().cast(), name.len()) }).map(|_| ())
}
pub fn set_clock(unix_ns: u64) -> io::Result<()> {
    let time =
        TimeSpec { seconds: (unix_ns / 1_000_000_000) as i64, nanoseconds: (unix_ns % 1_000_000_000) as i64 };
    check(unsafe { foreign::clock_settime(0, &time) }).map(|_| ())
}
/// Random bytes that never block, also before the kernel's pool is seeded; for names, not for secrets.
pub fn random_name_bytes() -> [u8; 16] {
    let mut out = [0u8; 16];
    // getrandom with GRND_INSECURE (5.6); an older kernel answers EINVAL and has /dev/urandom.
    let got = unsafe { foreign::syscall(318, out.as_mut_ptr(), out.len(), 4) };
    if got != out.len() as c_long {
        if let Ok(file) = open(b"/dev/urandom", O_RDONLY, 0) {
            let _ = read(file.as_raw_fd(), &mut out);
        }
    }
    out
}
/// Returns only when it failed.
pub fn power_off() -> io::Error {
    unsafe { foreign::reboot(RB_POWER_OFF) };
    io::Error::last_os_error()
}
