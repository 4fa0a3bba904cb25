//! All commands' processes made to stand still, and let go on, by the freezer of the cgroup that all of theirs are in.

use crate::failure::ETIMEDOUT;
use crate::strays::Strays;
use crate::sys::{self, PollFd};
use std::io;
use std::os::unix::io::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

/// How often it is looked whether all stand still. The kernel tells too, but at most once in 10 ms, and not at once.
const LOOK_US: u32 = 500;

pub struct Standstill {
    freeze: OwnedFd,
    events: OwnedFd,
    strays: Strays,
}

impl Standstill {
    /// `freeze` and `events` are the cgroup's files of these names.
    pub fn new(freeze: OwnedFd, events: OwnedFd, strays: Strays) -> Standstill {
        Standstill { freeze, events, strays }
    }

    /// Returns when no process in it or below it executes anything any more; what waits for a disk, or for a process that
    /// stands still already, may keep it from that. After `patience` all go on, and the error is ETIMEDOUT.
    pub fn begin(&self, patience: Duration) -> io::Result<()> {
        self.strays.take()?;
        let until = Instant::now() + patience;
        sys::write(self.freeze.as_raw_fd(), b"1")?;
        loop {
            match self.is_complete() {
                Ok(true) => return Ok(()),
                Ok(false) if Instant::now() < until => {}
                outcome => {
                    self.end()?;
                    return outcome.and_then(|_| Err(io::Error::from_raw_os_error(ETIMEDOUT)));
                }
            }
            sys::poll_us(
                &mut [PollFd { fd: self.events.as_raw_fd(), events: sys::POLLPRI, revents: 0 }],
                LOOK_US,
            );
        }
    }

    pub fn end(&self) -> io::Result<()> {
        sys::write(self.freeze.as_raw_fd(), b"0").map(|_| ())
    }

    fn is_complete(&self) -> io::Result<bool> {
        let mut buffer = [0u8; 128];
        let count = sys::pread(self.events.as_raw_fd(), &mut buffer, 0)?;
        Ok(buffer[..count].split(|&byte| byte == b'\n').any(|line| line == b"frozen 1"))
    }
}
