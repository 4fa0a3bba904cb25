//! The loop: one thread that owns the port and all commands, and waits in epoll.
//!
//! One thread, because on one emulated CPU every switch to another costs as much as the work itself: a command's
//! start, output, end and result take no other thread. What may block (files, mounts that a guest's user made) runs
//! on workers (`pool.rs`), each with a `Link` to its stream.

mod connection;
mod frames;
mod opening;

use crate::account::Accounts;
use crate::command::Command;
use crate::dial::Dial;
use crate::frame::Decoder;
use crate::guest::Guest;
use crate::held::Held;
use crate::kit::Kits;
use crate::link::Link;
use crate::outbox::Outbox;
use crate::pool::Pool;
use crate::sys::{self, EpollEvent};
use crate::timers::{Timer, Timers};
use crate::transport::Transport;
use crate::tree::Trees;
use std::collections::BTreeMap;
use std::io;
use std::os::unix::io::{AsRawFd, OwnedFd, RawFd};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What an event of epoll is about: the upper half of its token; the lower is a command's key or a stream.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Source {
    Port = 1,
    Listener = 2,
    Signals = 3,
    Wake = 4,
    Stdout = 6,
    Stderr = 7,
    Stdin = 8,
    Dial = 9,
}

pub fn token(source: Source, key: u32) -> u64 {
    (source as u64) << 32 | u64::from(key)
}

pub enum Stream {
    Command(u32),
    Job(Arc<Link>),
    Dial(Box<Dial>),
    Held(Box<Held>),
}

/// Work put off until commands are no longer coming one after the other.
const MAINTENANCE_DELAY: Duration = Duration::from_millis(30);
/// Bytes of one source handled before others get their turn.
pub const TURN: usize = 128 * 1024;

pub struct Agent {
    pub epoll: OwnedFd,
    pub outbox: Arc<Outbox>,
    pub guest: Arc<Guest>,
    pub timers: Timers,
    pub kits: Kits,
    pub accounts: Accounts,
    pub commands: BTreeMap<u32, Command>,
    pub by_pid: BTreeMap<i32, u32>,
    pub last_command: u32,
    pub streams: BTreeMap<u32, Stream>,
    /// Commands and connections that have more to read, but had their turn.
    pub ready: Vec<u32>,
    pub ready_dials: Vec<u32>,
    /// Some wait for room in the outbox.
    pub stalled: bool,
    pub scratch: Vec<u8>,
    pub null: OwnedFd,
    pub now: Instant,
    pub shutting_down: Option<crate::shutdown::Shutdown>,
    pub pool: Pool,
    pub signals: OwnedFd,
    /// Commands started since the loop last turned.
    pub fresh: Vec<u32>,
    /// A command has ended, and with it the need of what the next one will take.
    pub refill_due: bool,
    /// While ends are looked at: nobody has a child of ours as an ancestor, since there is none.
    pub childless: bool,
    /// Some streams wait for the guest to go on.
    pub any_held: bool,
    wake: OwnedFd,
    epoch: u64,
    last_stream: u32,
    /// Workers of dropped streams that have not ended yet.
    dropped_links: Vec<Arc<Link>>,
    pending_sync: Option<(Vec<u8>, Instant)>,
    maintenance_at: Option<Instant>,
    input_paused: bool,
    port_in_doubt: bool,
    port_check_due: bool,
    more_children: bool,
}

impl Agent {
    pub fn new(guest: Arc<Guest>, trees: Trees, signals: OwnedFd) -> io::Result<Agent> {
        let epoll = sys::epoll()?;
        let wake = sys::eventfd()?;
        sys::epoll_add(epoll.as_raw_fd(), signals.as_raw_fd(), sys::EPOLLIN, token(Source::Signals, 0))?;
        sys::epoll_add(epoll.as_raw_fd(), wake.as_raw_fd(), sys::EPOLLIN, token(Source::Wake, 0))?;
        let outbox = Arc::new(Outbox::new(epoll.as_raw_fd(), token(Source::Port, 0)));
        let in_vm = guest.is_vm();
        let mut agent = Agent {
            null: sys::open(b"/dev/null", sys::O_RDWR, 0)?,
            epoll,
            outbox,
            guest,
            timers: Timers::default(),
            kits: Kits::new(trees),
            accounts: Accounts::default(),
            commands: BTreeMap::new(),
            by_pid: BTreeMap::new(),
            last_command: 0,
            streams: BTreeMap::new(),
            ready: Vec::new(),
            ready_dials: Vec::new(),
            stalled: false,
            scratch: vec![0; 32 * 1024 - 20],
            now: Instant::now(),
            shutting_down: None,
            pool: Pool::new(in_vm),
            signals,
            fresh: Vec::new(),
            refill_due: false,
            childless: false,
            any_held: false,
            wake,
            epoch: 0,
            last_stream: 0,
            dropped_links: Vec::new(),
            pending_sync: None,
            maintenance_at: None,
            input_paused: false,
            port_in_doubt: false,
            port_check_due: false,
            more_children: false,
        };
        agent.kits.refill();
        Ok(agent)
    }

    /// Serves until the agent has shut down.
    pub fn run(&mut self, mut transport: Transport) -> io::Error {
        if let Err(error) = transport.register(self.epoll.as_raw_fd()) {
            return error;
        }
        self.outbox.set_port(transport.port());
        let mut decoder = Decoder::new();
        let mut input_ready = true;
        let mut events = [EpollEvent { events: 0, token: 0 }; 64];
        loop {
            let busy =
                input_ready || self.more_children || !self.ready.is_empty() || !self.ready_dials.is_empty();
            let timeout = if busy || self.timers_due_at_once() {
                0
            } else if self.timers.is_empty() {
                -1
            } else {
                self.timers.timeout_ms(Instant::now())
            };
            let count = match sys::epoll_wait(self.epoll.as_raw_fd(), &mut events, timeout) {
                Ok(count) => count,
                Err(error) => return error,
            };
            self.now = Instant::now();
            let mut reap = std::mem::take(&mut self.more_children);
            for event in &events[..count] {
                let (flags, token) = (event.events, event.token);
                if token >> 32 == Source::Port as u64 {
                    if flags & sys::EPOLLOUT != 0 {
                        self.outbox.unblocked();
                    }
                    if flags & (sys::EPOLLHUP | sys::EPOLLERR) != 0 {
                        self.doubt_port();
                    }
                    input_ready = true;
                } else if token >> 32 == Source::Listener as u64 {
                    input_ready = true;
                } else if token >> 32 == Source::Signals as u64 {
                    reap = true;
                } else {
                    self.guarded(|agent| agent.on_event(token, flags));
                }
            }
            if self.input_paused && !self.outbox.is_full() {
                self.input_paused = false;
                input_ready = true;
            }
            if input_ready {
                input_ready = self.take_input(&mut transport, &mut decoder);
            }
            if reap {
                self.guarded(Agent::on_children);
            }
            let port = transport.port();
            self.guarded(|agent| agent.linger(port));
            self.guarded(Agent::on_turn);
            while let Some(timer) = self.timers.due(self.now) {
                self.guarded(|agent| agent.on_timer(timer));
            }
            if std::mem::take(&mut self.port_check_due) && transport.has_hung_up() {
                self.host_gone(&mut decoder);
            }
            self.guarded(Agent::try_sync);
            self.outbox.flush();
            if std::mem::take(&mut self.refill_due) {
                // The host is busy with the answer meanwhile.
                self.kits.refill();
            }
            if self.shutdown_finished() {
                return io::Error::from_raw_os_error(0);
            }
        }
    }

    fn timers_due_at_once(&self) -> bool {
        self.stalled && !self.outbox.is_full()
    }

    /// A defect in the handling of one event must not end PID 1.
    fn guarded(&mut self, handle: impl FnOnce(&mut Agent)) {
        if catch_unwind(AssertUnwindSafe(|| handle(self))).is_err() {
            self.guest.log("an event's handling panicked");
        }
    }

    fn on_event(&mut self, token_value: u64, flags: u32) {
        let key = token_value as u32;
        let is = |source: Source| token_value >> 32 == source as u64;
        if is(Source::Stdout) {
            if flags & sys::EPOLLOUT != 0 {
                self.pump_stdin(key);
            }
            if flags & !sys::EPOLLOUT != 0 {
                self.output_readable(key, 0);
            }
        } else if is(Source::Stderr) {
            self.output_readable(key, 1);
        } else if is(Source::Stdin) {
            self.pump_stdin(key);
        } else if is(Source::Dial) {
            self.dial_event(key, flags);
        } else if is(Source::Wake) {
            sys::clear(self.wake.as_raw_fd());
            self.take_orders();
            self.release_held();
        }
    }

    pub fn on_children(&mut self) {
        // One signal may stand for many children; what it says is read and not looked at.
        let mut buffer = [0u8; 1024];
        let _ = sys::read(self.signals.as_raw_fd(), &mut buffer);
        self.more_children = self.reap();
    }

    /// Lets those go on that had their turn, or for whom there is room again.
    fn on_turn(&mut self) {
        for key in std::mem::take(&mut self.ready) {
            self.pump_command(key);
        }
        for stream in std::mem::take(&mut self.ready_dials) {
            self.pump_dial(stream);
        }
        if self.stalled && !self.outbox.is_full() {
            self.stalled = false;
            let keys: Vec<u32> = self.commands.keys().copied().collect();
            for key in keys {
                self.pump_command(key);
            }
            let dials = |(id, stream): (&u32, &Stream)| matches!(stream, Stream::Dial(_)).then_some(*id);
            let dials: Vec<u32> = self.streams.iter().filter_map(dials).collect();
            for stream in dials {
                self.pump_dial(stream);
            }
        }
    }

    fn on_timer(&mut self, timer: Timer) {
        match timer {
            Timer::Command(key) => self.command_timer(key),
            Timer::Sync => {}
            Timer::Port => {
                self.port_in_doubt = false;
                self.port_check_due = true;
            }
            Timer::Shutdown => self.shutdown_timer(),
            Timer::Maintenance => {
                // Only the latest counts: a burst of commands puts it off until the burst is over.
                match self.maintenance_at {
                    Some(at) if at <= self.now => {}
                    _ => return,
                }
                self.maintenance_at = None;
                self.tidy_up();
            }
        }
    }

    /// Frees what is left of commands that are over, and makes ready what the next one needs.
    pub fn tidy_up(&mut self) {
        self.look_after_leftovers();
        self.kits.clean();
        self.kits.refill();
    }

    pub fn maintain_later(&mut self) {
        let at = self.now + MAINTENANCE_DELAY;
        self.maintenance_at = Some(at);
        self.timers.set(at, Timer::Maintenance);
    }

    pub fn watch(&self, fd: RawFd, events: u32, source: Source, key: u32) -> io::Result<()> {
        sys::epoll_add(self.epoll.as_raw_fd(), fd, events | sys::EPOLLET, token(source, key))
    }
}
