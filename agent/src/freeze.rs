//! FREEZE and THAW of the writable file system, so that a disk can be copied at one instant.
//!
//! The worker that froze it stays and thaws it when nobody else does: needing a new thread, or memory for one, while
//! every write in the guest hangs would be asking for it.

use crate::failure::{Failure, EBUSY, EINVAL};
use crate::guest::Guest;
use crate::link::Link;
use crate::locks::lock;
use crate::protocol::*;
use crate::sys;
use crate::tlv::{Fields, Tlvs};
use std::os::unix::io::{AsRawFd, OwnedFd};
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

const DEFAULT_MAX_MS: u64 = 10_000;
const LONGEST_MS: u64 = 3_600_000;

#[derive(Default)]
pub struct Freezer {
    state: Mutex<Option<Frozen>>,
    changed: Condvar,
}

struct Frozen {
    until: Instant,
    /// `None` on a host, where freezing is only played.
    root: Option<OwnedFd>,
}

impl Freezer {
    /// Does nothing when nothing is frozen.
    pub fn thaw_now(&self) -> Result<(), Failure> {
        let mut state = lock(&self.state);
        if let Some(Frozen { root: Some(root), .. }) = &*state {
            match sys::ioctl_value(root.as_raw_fd(), sys::FITHAW, 0) {
                // Somebody in the guest has thawed it.
                Err(error) if sys::errno_of(&error) == EINVAL => {}
                Err(error) => return Err(Failure::system("GuestFile", "cannot thaw", &error)),
                Ok(_) => {}
            }
        }
        *state = None;
        self.changed.notify_all();
        Ok(())
    }
}

pub fn freeze(guest: &Guest, link: &Link, fields: &Fields) -> Result<Tlvs, Failure> {
    let max = Duration::from_millis(fields.u64(TAG_MAX_MS)?.unwrap_or(DEFAULT_MAX_MS).min(LONGEST_MS));
    let freezer = &guest.freezer;
    let failed = |what: &'static str| move |error| Failure::system("GuestFile", what, &error);
    {
        let mut state = lock(&freezer.state);
        if let Some(frozen) = &mut *state {
            // Frozen already: only longer.
            frozen.until = Instant::now() + max;
            freezer.changed.notify_all();
            return Ok(Tlvs::new());
        }
        let root = guest.writable_root();
        if let Some(root) = &root {
            // Most of the writing happens before, while others can still write too.
            sys::sync_filesystem(root.as_raw_fd()).map_err(failed("cannot sync"))?;
            match sys::ioctl_value(root.as_raw_fd(), sys::FIFREEZE, 0) {
                // Frozen by somebody in the guest; it stays so until our thaw.
                Err(error) if sys::errno_of(&error) == EBUSY => {}
                Err(error) => return Err(failed("cannot freeze")(error)),
                Ok(_) => {}
            }
        }
        *state = Some(Frozen { until: Instant::now() + max, root });
    }
    link.end(Ok(Tlvs::new()));

    let mut state = lock(&freezer.state);
    loop {
        let wait = match &*state {
            None => break,
            Some(frozen) => frozen.until.saturating_duration_since(Instant::now()),
        };
        if wait == Duration::from_millis(0) {
            drop(state);
            if let Err(failure) = freezer.thaw_now() {
                guest.log(&failure.message);
            }
            break;
        }
        state = match freezer.changed.wait_timeout(state, wait) {
            Ok((state, _)) => state,
            Err(poisoned) => poisoned.into_inner().0,
        };
    }
    Ok(Tlvs::new())
}

pub fn thaw(guest: &Guest, _: &Link, _: &Fields) -> Result<Tlvs, Failure> {
    guest.freezer.thaw_now()?;
    Ok(Tlvs::new())
}
