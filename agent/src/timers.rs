//! When the loop has to look at something again although nothing happened.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timer {
    Command(u32),
    /// Cgroups to remove and to make, leftovers to look after.
    Maintenance,
    /// Whether the host's side of the port is really closed.
    Port,
    /// A SYNC whose answer waits for what it ended.
    Sync,
    Shutdown,
}

#[derive(Default)]
pub struct Timers(BinaryHeap<Reverse<(Instant, Timer)>>);

impl Timers {
    /// A timer that is not needed any more fires for nothing; nobody minds.
    pub fn set(&mut self, at: Instant, timer: Timer) {
        self.0.push(Reverse((at, timer)));
    }

    pub fn due(&mut self, now: Instant) -> Option<Timer> {
        match self.0.peek() {
            Some(Reverse((at, _))) if *at <= now => self.0.pop().map(|Reverse((_, timer))| timer),
            _ => None,
        }
    }

    /// For epoll: milliseconds until the next, rounded up; -1 for none.
    pub fn timeout_ms(&self, now: Instant) -> i32 {
        match self.0.peek() {
            None => -1,
            Some(Reverse((at, _))) => {
                let wait = at.saturating_duration_since(now) + Duration::from_micros(999);
                wait.as_millis().min(60_000) as i32
            }
        }
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
