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

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    /// The files of a cgroup, in a directory that has the processes of none.
    fn played(name: &str, events: &str) -> (Standstill, std::path::PathBuf) {
        let dir = std::env::temp_dir().join(format!("alcove-standstill-{}-{name}", std::process::id()));
        std::fs::create_dir(&dir).unwrap();
        std::fs::write(dir.join("events"), events).unwrap();
        let open =
            |name: &str, flags| sys::open(dir.join(name).to_str().unwrap().as_bytes(), flags, 0o600).unwrap();
        let freeze = open("freeze", sys::O_WRONLY | sys::O_CREAT);
        let root = Arc::new(open(".", sys::O_RDONLY | sys::O_DIRECTORY));
        let strays = Strays::new(root, open(".", sys::O_RDONLY | sys::O_DIRECTORY));
        (Standstill::new(freeze, open("events", sys::O_RDONLY), strays), dir)
    }

    #[test]
    fn is_over_when_the_kernel_says_so() {
        let (all, dir) = played("over", "populated 1\nfrozen 1\n");
        all.begin(Duration::from_millis(1)).unwrap();
        assert_eq!(std::fs::read(dir.join("freeze")).unwrap(), b"1");
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn is_undone_when_it_takes_too_long() {
        let (all, dir) = played("late", "populated 1\nfrozen 0\n");
        let error = all.begin(Duration::from_millis(3)).unwrap_err();
        assert_eq!(sys::errno_of(&error), ETIMEDOUT);
        assert_eq!(std::fs::read(dir.join("freeze")).unwrap(), b"10");
        std::fs::remove_dir_all(dir).unwrap();
    }
}
