//! FREEZE and THAW: the writable file system, so that a disk can be copied at one instant; and when asked every process
//! of every command, so that memory can be copied too. The guest is *sealed* then: what needs it going waits (`held`),
//! and only the line that sealed it may thaw it. A copy, whose line is another one, must be renewed (`renew`).
//!
//! The worker that froze it stays and thaws it when nobody else does: needing a new thread, or memory for one, while
//! every write in the guest hangs would be asking for it.

use crate::failure::{Failure, EBUSY, EINVAL};
use crate::guest::Guest;
use crate::hurry::Hurry;
use crate::identity::Entropy;
use crate::link::Link;
use crate::locks::lock;
use crate::protocol::*;
use crate::standstill::Standstill;
use crate::sys;
use crate::tlv::{Fields, Tlvs};
use std::os::unix::io::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, TryLockError};
use std::time::{Duration, Instant};

const DEFAULT_MAX_MS: u64 = 10_000;
const LONGEST_MS: u64 = 3_600_000;
/// How long processes may take to stand still.
const PATIENCE: Duration = Duration::from_secs(2);
/// What is written while the first sync runs is synced once more, as it would be with all processes standing still, and so
/// on; unless somebody writes as fast as the disk takes it.
const SYNCS: usize = 3;
const SHORT_SYNC: Duration = Duration::from_millis(10);
/// How soon thawing by itself is tried again when it failed.
const RETRY: Duration = Duration::from_secs(1);

pub struct Freezer {
    /// `None` on a host, where freezing is only played.
    processes: Option<Standstill>,
    /// Held by whoever freezes or thaws, for as long as disks take. The loop does not wait for it.
    turn: Mutex<()>,
    state: Mutex<State>,
    changed: Condvar,
    sealed: AtomicBool,
}

#[derive(Default)]
struct State {
    frozen: Option<Frozen>,
    /// How often it was frozen.
    count: u64,
}

struct Frozen {
    number: u64,
    until: Instant,
    /// `None` on a host.
    root: Option<OwnedFd>,
    /// The line that sealed it.
    seal: Option<u64>,
}

/// The right to freeze and thaw.
pub struct Turn<'a> {
    freezer: &'a Freezer,
    _turn: MutexGuard<'a, ()>,
}

impl Freezer {
    pub fn new(processes: Option<Standstill>) -> Freezer {
        Freezer {
            processes,
            turn: Mutex::default(),
            state: Mutex::default(),
            changed: Condvar::new(),
            sealed: AtomicBool::new(false),
        }
    }

    /// Whether requests that need the guest going must wait.
    pub fn is_sealed(&self) -> bool {
        self.sealed.load(Ordering::Acquire)
    }

    /// Waits for who has it.
    pub fn turn(&self) -> Turn<'_> {
        Turn { freezer: self, _turn: lock(&self.turn) }
    }

    pub fn try_turn(&self) -> Option<Turn<'_>> {
        let turn = match self.turn.try_lock() {
            Ok(turn) => turn,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        Some(Turn { freezer: self, _turn: turn })
    }

    /// Thaws a guest that nobody has thawed in time.
    fn watch(&self, guest: &Guest, number: u64) {
        let mut state = lock(&self.state);
        loop {
            let (wait, sealed) = match &state.frozen {
                Some(frozen) if frozen.number == number => {
                    (frozen.until.saturating_duration_since(Instant::now()), frozen.seal.is_some())
                }
                _ => return,
            };
            if wait > Duration::from_millis(0) {
                state = match self.changed.wait_timeout(state, wait) {
                    Ok((state, _)) => state,
                    Err(poisoned) => poisoned.into_inner().0,
                };
                continue;
            }
            drop(state);
            let outcome = self.thaw_late(guest, number, sealed);
            state = lock(&self.state);
            match (outcome, &mut state.frozen) {
                (Err(failure), Some(frozen)) => {
                    guest.log(&failure.message);
                    frozen.until = frozen.until.max(Instant::now() + RETRY);
                }
                _ => {}
            }
        }
    }

    /// A sealed guest may be a copy whose host has not come, with the randomness of the one it was copied from: it goes on
    /// with its own or not at all.
    fn thaw_late(&self, guest: &Guest, number: u64, sealed: bool) -> Result<(), Failure> {
        // Before it has its turn: the device may take its time, and somebody who renews the guest must not wait for it.
        let fresh = if sealed && guest.is_vm() { Some(Entropy::of_this_machine()?) } else { None };
        let turn = self.turn();
        match &lock(&self.state).frozen {
            Some(frozen) if frozen.number == number && frozen.until <= Instant::now() => {}
            _ => return Ok(()),
        }
        if let Some(fresh) = fresh {
            fresh.apply()?;
        }
        turn.go_on()
    }
}

impl Turn<'_> {
    /// Whether the guest was sealed by another line than this one.
    pub fn is_sealed_by_another(&self, line: u64) -> bool {
        let seal = lock(&self.freezer.state).frozen.as_ref().and_then(|frozen| frozen.seal);
        seal.map_or(false, |by| by != line)
    }

    /// Does nothing when they are not frozen.
    pub fn thaw_files(&self) -> Result<(), Failure> {
        let root = match &lock(&self.freezer.state).frozen {
            // Out of the lock: this waits for the disk.
            Some(Frozen { root: Some(root), .. }) => root.try_clone(),
            _ => return Ok(()),
        };
        let thawed = root.and_then(|root| sys::ioctl_value(root.as_raw_fd(), sys::FITHAW, 0));
        match thawed {
            // Somebody in the guest has thawed it.
            Err(error) if sys::errno_of(&error) == EINVAL => Ok(()),
            Err(error) => Err(Failure::system("GuestFile", "cannot thaw", &error)),
            Ok(_) => Ok(()),
        }
    }

    /// Does nothing when they do not stand still.
    pub fn let_processes_go(&self) -> Result<(), Failure> {
        let state = lock(&self.freezer.state);
        if let (Some(Frozen { seal: Some(_), .. }), Some(processes)) =
            (&state.frozen, &self.freezer.processes)
        {
            processes.end().map_err(|error| Failure::system("GuestFile", "cannot thaw processes", &error))?;
        }
        Ok(())
    }

    /// The guest is as it was before it was frozen. What waited for that begins when the loop is woken.
    pub fn open(&self) {
        lock(&self.freezer.state).frozen = None;
        self.freezer.sealed.store(false, Ordering::Release);
        self.freezer.changed.notify_all();
    }

    /// All of it goes on. Processes first: they stand still no longer than they must, and the file system waits for the
    /// disk once more. Does nothing when nothing is frozen.
    pub fn go_on(&self) -> Result<(), Failure> {
        self.let_processes_go()?;
        self.thaw_files()?;
        self.open();
        Ok(())
    }

    /// Answers the number of this freeze, or `None` when an earlier one lasts longer now.
    fn freeze(&self, guest: &Guest, link: &Link, max: Duration, seal: bool) -> Result<Option<u64>, Failure> {
        if let Some(frozen) = &mut lock(&self.freezer.state).frozen {
            if frozen.seal.is_some() || !seal {
                frozen.until = Instant::now() + max;
                self.freezer.changed.notify_all();
                return Ok(None);
            }
        }
        // A process that waits for a frozen file system cannot be made to stand still.
        self.go_on()?;
        let root = guest.writable_root();
        let failed = |what: &'static str| move |error| Failure::system("GuestFile", what, &error);
        if let Some(root) = &root {
            // Most of the writing happens before, while others can still write too.
            for _ in 0..SYNCS {
                let begin = Instant::now();
                sys::sync_filesystem(root.as_raw_fd()).map_err(failed("cannot sync"))?;
                if begin.elapsed() < SHORT_SYNC {
                    break;
                }
            }
        }
        link.check()?;
        if seal {
            self.freezer.sealed.store(true, Ordering::Release);
            let stopped = self.freezer.processes.as_ref().map_or(Ok(()), |all| all.begin(PATIENCE));
            stopped.map_err(failed("cannot make all processes stand still"))?;
        }
        let mut state = lock(&self.freezer.state);
        state.count += 1;
        let number = state.count;
        let seal = if seal { Some(link.epoch()) } else { None };
        state.frozen = Some(Frozen { number, until: Instant::now() + max, root: None, seal });
        drop(state);
        if let Some(root) = root {
            match sys::ioctl_value(root.as_raw_fd(), sys::FIFREEZE, 0) {
                // Frozen by somebody in the guest; it stays so until our thaw.
                Err(error) if sys::errno_of(&error) == EBUSY => {}
                Err(error) => return Err(failed("cannot freeze")(error)),
                Ok(_) => {}
            }
            if let Some(frozen) = &mut lock(&self.freezer.state).frozen {
                frozen.root = Some(root);
            }
        }
        // Nobody will hear that it is frozen.
        link.check()?;
        Ok(Some(number))
    }

    /// As far as it came.
    fn undo(&self, guest: &Guest) {
        if let Err(failure) = self.go_on() {
            guest.log(&failure.message);
        }
    }
}

pub fn freeze(guest: &Guest, link: &Link, fields: &Fields) -> Result<Tlvs, Failure> {
    let max = Duration::from_millis(fields.u64(TAG_MAX_MS)?.unwrap_or(DEFAULT_MAX_MS).min(LONGEST_MS));
    let seal = fields.flag(TAG_SEAL)?;
    let outcome = {
        let turn = guest.freezer.turn();
        let outcome = turn.freeze(guest, link, max, seal);
        if outcome.is_err() {
            turn.undo(guest);
        }
        outcome
    };
    let number = outcome.map_err(|failure| {
        link.wake_loop();
        failure
    })?;
    link.end(Ok(Tlvs::new()));
    if let Some(number) = number {
        guest.freezer.watch(guest, number);
        link.wake_loop();
    }
    Ok(Tlvs::new())
}

pub fn thaw(guest: &Guest, link: &Link, _: &Fields) -> Result<Tlvs, Failure> {
    let turn = guest.freezer.turn();
    if turn.is_sealed_by_another(link.epoch()) {
        return Err(Failure::invalid("the guest was sealed on another line; only RENEW ends that"));
    }
    let _hurry = Hurry::new(guest);
    turn.go_on()?;
    link.wake_loop();
    Ok(Tlvs::new())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest::Place;
    use crate::outbox::Outbox;
    use std::sync::Arc;

    const HOUR: Duration = Duration::from_secs(3600);

    fn on_line(epoch: u64) -> Link {
        Link::new(1, epoch, Arc::new(Outbox::new(-1, 0)), -1)
    }
    fn sealed(guest: &Guest, line: u64) -> Option<u64> {
        guest.freezer.turn().freeze(guest, &on_line(line), HOUR, true).unwrap()
    }
    fn no_fields() -> Fields {
        Fields::parse(&[]).unwrap()
    }

    #[test]
    fn a_seal_is_ended_on_its_line() {
        let guest = Guest::new(Place::Host, false, None);
        for _ in 0..2 {
            assert!(sealed(&guest, 7).is_some());
            assert!(guest.freezer.is_sealed());
            thaw(&guest, &on_line(7), &no_fields()).unwrap();
            assert!(!guest.freezer.is_sealed());
        }
        thaw(&guest, &on_line(8), &no_fields()).unwrap();
    }

    #[test]
    fn a_seal_stays_on_another_line_whatever_that_asks_for() {
        let guest = Guest::new(Place::Host, false, None);
        sealed(&guest, 7);
        assert_eq!(sealed(&guest, 8), None);
        assert_eq!(guest.freezer.turn().freeze(&guest, &on_line(8), HOUR, false).unwrap(), None);
        assert_eq!(thaw(&guest, &on_line(8), &no_fields()).unwrap_err().code, "InvalidInput");
        assert!(guest.freezer.is_sealed());
        guest.freezer.turn().go_on().unwrap();
        assert!(!guest.freezer.is_sealed());
    }

    #[test]
    fn a_frozen_guest_is_not_sealed_before_it_is_asked_to_be() {
        let guest = Guest::new(Place::Host, false, None);
        let first = guest.freezer.turn().freeze(&guest, &on_line(7), HOUR, false).unwrap();
        assert!(!guest.freezer.is_sealed());
        assert_ne!(sealed(&guest, 7), first);
        assert!(guest.freezer.is_sealed());
    }

    #[test]
    fn nothing_stays_frozen_that_nobody_waits_for() {
        let guest = Guest::new(Place::Host, false, None);
        let link = on_line(7);
        link.give_up();
        let fields = Tlvs::new().u8(TAG_SEAL, 1);
        let outcome = freeze(&guest, &link, &Fields::parse(fields.as_slice()).unwrap());
        assert_eq!(outcome.unwrap_err().code, "Cancelled");
        assert!(!guest.freezer.is_sealed());
    }

    #[test]
    fn the_worker_that_froze_it_thaws_it_in_the_end() {
        let guest = Guest::new(Place::Host, false, None);
        let fields = Tlvs::new().u8(TAG_SEAL, 1).u64(TAG_MAX_MS, 1);
        freeze(&guest, &on_line(7), &Fields::parse(fields.as_slice()).unwrap()).unwrap();
        assert!(!guest.freezer.is_sealed());
    }
}
