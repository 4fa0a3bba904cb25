//! The machine as a whole: its modules, name, clock, randomness and power.

use super::{check, open, read, TimeSpec, O_RDONLY};
use std::io;
use std::os::raw::{c_char, c_int, c_long, c_ulong};
use std::os::unix::io::{AsRawFd, RawFd};

mod foreign {
    use super::*;
    extern "C" {
        pub fn syscall(number: c_long, ...) -> c_long;
        pub fn sethostname(name: *const c_char, length: usize) -> c_int;
        pub fn clock_settime(clock: c_int, time: *const TimeSpec) -> c_int;
        pub fn reboot(command: c_int) -> c_int;
    }
}

pub const RNDADDENTROPY: c_ulong = 0x4008_5203;
pub const RNDRESEEDCRNG: c_ulong = 0x5207;

pub const RB_POWER_OFF: c_int = 0x4321_fedc;

/// Loads a kernel module that is not compressed.
pub fn load_module(fd: RawFd) -> io::Result<()> {
    let none = [0 as c_char];
    check(unsafe { foreign::syscall(313, fd, none.as_ptr(), 0) } as c_int).map(|_| ())
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
