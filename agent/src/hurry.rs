//! Short work that goes before everything else in the guest: what processes stand still for, and what a host waits for
//! while they want the CPU, too.

use crate::guest::Guest;
use crate::sys;

/// As long as it lives, its thread goes first.
pub struct Hurry {
    first: bool,
}

impl Hurry {
    /// On a host, where others have business too, it does nothing.
    pub fn new(guest: &Guest) -> Hurry {
        Hurry { first: guest.is_vm() && sys::run_first().is_ok() }
    }
}

impl Drop for Hurry {
    fn drop(&mut self) {
        if self.first {
            sys::run_as_others();
        }
    }
}
