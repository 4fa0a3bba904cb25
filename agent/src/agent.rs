//! The loop: one thread that owns the port and all commands, and waits in epoll.
//!
//! One thread, because on one emulated CPU every switch to another costs as much as the work itself: a command's
//! start, output, end and result take no other thread. What may block (files, mounts that a guest's user made) runs
//! on workers (`pool.rs`), each with a `Link` to its stream.

use crate::account::Accounts;
use crate::command::Command;
use crate::dial::Dial;
use crate::failure::Failure;
use crate::frame::{Decoded, Decoder, Frame};
use crate::guest::Guest;
use crate::held::{is_served_sealed, Held};
use crate::kit::Kits;
use crate::link::Link;
use crate::outbox::{self, Outbox};
use crate::pool::Pool;
use crate::protocol::*;
use crate::sys::{self, EpollEvent};
use crate::timers::{Timer, Timers};
use crate::tlv::{Fields, Tlvs};
use crate::transport::{Received, Transport};
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

/// How long SYNC waits for what it ended: processes that the kernel will not let go, a write on a frozen file system.
const SYNC_PATIENCE: Duration = Duration::from_millis(1500);
/// In a sealed guest what it ended executes nothing more, and what cannot go before the disk is thawed does not go sooner.
const SEALED_SYNC_PATIENCE: Duration = Duration::from_millis(100);
/// How long the host's side must stay closed to count as closed.
const PORT_DOUBT: Duration = Duration::from_millis(50);
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

    /// Reads what the host sent, within a turn. True when there may be more.
    fn take_input(&mut self, transport: &mut Transport, decoder: &mut Decoder) -> bool {
        let mut taken = 0;
        while taken < TURN {
            // A host that sends requests and reads no answers is not read any further.
            if self.outbox.pending() > 4 * outbox::FULL {
                self.stalled = true;
                self.input_paused = true;
                return false;
            }
            match transport.receive(decoder.space()) {
                Received::Bytes(count) => {
                    taken += count;
                    decoder.filled(count);
                    self.take_frames(decoder);
                    // Answers are on their way while the next read finds nothing.
                    self.outbox.flush();
                }
                Received::Nothing => return false,
                Received::Doubt => {
                    self.doubt_port();
                    return false;
                }
                Received::Gone => {
                    self.host_gone(decoder);
                    self.outbox.set_port(transport.port());
                }
                Received::Connected => {
                    self.outbox.set_port(transport.port());
                    let added = sys::epoll_add(
                        self.epoll.as_raw_fd(),
                        transport.port(),
                        outbox::PORT_EVENTS,
                        token(Source::Port, 0),
                    );
                    if let Err(error) = added {
                        self.guest.log(&format!("cannot watch the port: {error}"));
                    }
                }
            }
        }
        true
    }

    fn take_frames(&mut self, decoder: &mut Decoder) {
        loop {
            let handled = match decoder.next_frame() {
                Decoded::More => return,
                Decoded::Bad(why) => Err(why),
                Decoded::Frame(frame) => {
                    let outcome = catch_unwind(AssertUnwindSafe(|| self.on_frame(frame)));
                    outcome.unwrap_or(Err("the handling of a frame panicked"))
                }
            };
            if let Err(why) = handled {
                self.guest.log(&format!("bad frame: {why}"));
                decoder.hunt();
            }
        }
    }

    fn on_frame(&mut self, frame: Frame<'_>) -> Result<(), &'static str> {
        match frame.kind {
            FRAME_SYNC => self.on_sync(frame.payload),
            FRAME_OPEN => {
                if frame.stream <= self.last_stream || frame.stream == outbox::NOBODY {
                    return Err("a stream id was used again");
                }
                self.last_stream = frame.stream;
                self.open(frame.stream, frame.flag, frame.payload);
            }
            FRAME_DATA if frame.flag == CHANNEL_MAIN => return self.on_data(frame.stream, frame.payload),
            FRAME_EOF if frame.flag == CHANNEL_MAIN => self.on_eof(frame.stream),
            FRAME_WINDOW => {
                let bytes = <[u8; 4]>::try_from(frame.payload).map_err(|_| "malformed WINDOW")?;
                self.on_window(frame.stream, frame.flag, u32::from_le_bytes(bytes));
            }
            FRAME_CONTROL => self.on_control(frame.stream, frame.flag, frame.payload),
            FRAME_RESET => self.on_reset(frame.stream),
            // Channels that the host has no use for.
            _ => {}
        }
        Ok(())
    }

    pub fn on_data(&mut self, stream: u32, payload: &[u8]) -> Result<(), &'static str> {
        let beyond = Err("data beyond credit");
        match self.streams.get_mut(&stream) {
            None => Ok(()),
            Some(Stream::Job(link)) => {
                if link.deliver(payload) {
                    Ok(())
                } else {
                    beyond
                }
            }
            Some(Stream::Dial(dial)) => {
                if !dial.deliver(payload) {
                    return beyond;
                }
                self.pump_dial(stream);
                Ok(())
            }
            Some(Stream::Held(held)) => {
                if held.deliver(payload) {
                    Ok(())
                } else {
                    beyond
                }
            }
            Some(Stream::Command(key)) => {
                let key = *key;
                if let Some(command) = self.commands.get_mut(&key) {
                    if let Some(attachment) = &mut command.attachment {
                        if payload.len() > attachment.allowance as usize {
                            return beyond;
                        }
                        attachment.allowance -= payload.len() as u32;
                    }
                    command.feed(payload);
                    self.pump_stdin(key);
                }
                Ok(())
            }
        }
    }

    pub fn on_eof(&mut self, stream: u32) {
        match self.streams.get_mut(&stream) {
            None => {}
            Some(Stream::Job(link)) => link.deliver_end(),
            Some(Stream::Dial(dial)) => {
                dial.deliver_end();
                self.pump_dial(stream);
            }
            Some(Stream::Held(held)) => held.deliver_end(),
            Some(Stream::Command(key)) => {
                let key = *key;
                if let Some(command) = self.commands.get_mut(&key) {
                    command.end_input();
                    self.pump_stdin(key);
                }
            }
        }
    }

    pub fn on_window(&mut self, stream: u32, channel: u8, bytes: u32) {
        match self.streams.get_mut(&stream) {
            None => {}
            Some(Stream::Job(link)) => link.add_credit(bytes),
            Some(Stream::Dial(dial)) => {
                dial.add_credit(bytes);
                self.pump_dial(stream);
            }
            Some(Stream::Held(held)) => held.add_credit(channel, bytes),
            Some(Stream::Command(key)) => {
                let key = *key;
                self.command_window(key, channel, bytes);
            }
        }
    }

    fn on_control(&mut self, stream: u32, control: u8, payload: &[u8]) {
        if let (Some(Stream::Command(key)), Ok(fields)) = (self.streams.get(&stream), Fields::parse(payload))
        {
            let key = *key;
            self.command_control(key, control, &fields);
        }
    }

    fn on_reset(&mut self, stream: u32) {
        match self.streams.get(&stream) {
            None => {}
            Some(Stream::Job(link)) => {
                link.give_up();
                self.give_up_hook(stream);
            }
            Some(Stream::Command(key)) => {
                let key = *key;
                self.give_up_command(key);
            }
            Some(Stream::Dial(_) | Stream::Held(_)) => {
                self.streams.remove(&stream);
                self.answer(stream, Err(Failure::cancelled()));
            }
        }
    }

    /// The end of a stream that needed no worker.
    pub fn answer(&self, stream: u32, outcome: Result<Tlvs, Failure>) {
        match outcome {
            Ok(tlvs) => self.outbox.push(FRAME_RESULT, 0, stream, tlvs.as_slice()),
            Err(failure) => self.outbox.push(FRAME_ERROR, 0, stream, failure.tlvs().as_slice()),
        }
    }

    pub fn open(&mut self, stream: u32, op: u8, payload: &[u8]) {
        if self.streams.len() >= MAX_STREAMS {
            self.forget_ended_jobs();
        }
        if let Err(failure) = self.try_open(stream, op, payload) {
            self.streams.remove(&stream);
            self.answer(stream, Err(failure));
        }
    }

    fn try_open(&mut self, stream: u32, op: u8, payload: &[u8]) -> Result<(), Failure> {
        if self.streams.len() >= MAX_STREAMS {
            let message = format!("{MAX_STREAMS} streams are open already");
            return Err(Failure::new("AtCapacity", message));
        }
        let before_setup =
            matches!(op, OP_PING | OP_SETUP | OP_CLOCK | OP_ENTROPY | OP_USAGE | OP_SHUTDOWN | OP_REHEARSE);
        if !before_setup && (OP_PING..=OP_REHEARSE).contains(&op) && !self.guest.is_ready() {
            return Err(Failure::new("GuestUnreachable", "the guest is not set up yet"));
        }
        if self.shutting_down.is_some() && op != OP_PING {
            return Err(Failure::new("GuestUnreachable", "the guest is shutting down"));
        }
        if self.guest.freezer.is_sealed() && !is_served_sealed(op) {
            self.hold(stream, op, payload);
            return Ok(());
        }
        let fields = Fields::parse(payload)?;
        match op {
            OP_PING => self.answer(stream, Ok(Tlvs::new())),
            OP_EXEC => return self.exec(stream, &fields),
            OP_ATTACH => return self.attach(stream, &fields),
            OP_LIST_DETACHED => self.list_detached(stream),
            OP_DIAL => return self.dial(stream, &fields),
            OP_SHUTDOWN => return self.shut_down(stream, &fields),
            _ => match crate::operations::find(op) {
                Some(operation) => return self.start_job(stream, fields, operation),
                None => {
                    let message = format!("this agent does not know operation {op}");
                    return Err(Failure::new("Unsupported", message));
                }
            },
        }
        Ok(())
    }

    fn start_job(
        &mut self,
        stream: u32,
        fields: Fields,
        operation: crate::operations::Operation,
    ) -> Result<(), Failure> {
        let link = Link::new(stream, self.epoch, self.outbox.clone(), self.wake.as_raw_fd());
        let link = Arc::new(link);
        self.streams.insert(stream, Stream::Job(link.clone()));
        let guest = self.guest.clone();
        let started = self.pool.run(move || {
            let outcome = catch_unwind(AssertUnwindSafe(|| operation(&guest, &link, &fields)));
            let defect = || Failure::new("Internal", "the agent's worker panicked");
            link.end(outcome.unwrap_or_else(|_| Err(defect())));
        });
        // Ended jobs cost a map entry each; they are dropped a few dozen at a time.
        if self.streams.len() % 64 == 0 {
            self.forget_ended_jobs();
        }
        if started {
            Ok(())
        } else {
            Err(Failure::new("AtCapacity", "the guest has no room for another thread"))
        }
    }

    /// Which connection this is, counted.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Whether the host still waits for a worker's stream.
    pub fn is_wanted(&self, epoch: u64, stream: u32) -> bool {
        let job = self.streams.get(&stream);
        epoch == self.epoch && matches!(job, Some(Stream::Job(link)) if !link.is_given_up())
    }

    fn forget_ended_jobs(&mut self) {
        self.streams.retain(|_, stream| !matches!(stream, Stream::Job(link) if link.has_ended()));
    }

    fn on_sync(&mut self, payload: &[u8]) {
        self.drop_streams();
        self.last_stream = 0;
        let nonce = payload.get(..16).unwrap_or(&[0; 16]).to_vec();
        // The host repeats SYNC until it is answered; that must not prolong the wait.
        let patience = if self.guest.freezer.is_sealed() { SEALED_SYNC_PATIENCE } else { SYNC_PATIENCE };
        let until = self.pending_sync.as_ref().map_or(self.now + patience, |(_, until)| *until);
        self.pending_sync = Some((nonce, until));
        self.timers.set(until, Timer::Sync);
        self.try_sync();
    }

    /// The port says that the host's side is closed. The kernel tells of closing and opening apart from the bytes, and
    /// late: this may be the end of the last connection, with the SYNC of the next one already answered.
    fn doubt_port(&mut self) {
        if !std::mem::replace(&mut self.port_in_doubt, true) {
            self.timers.set(self.now + PORT_DOUBT, Timer::Port);
        }
    }

    /// The host's end went away. What is not detached ends with it.
    fn host_gone(&mut self, decoder: &mut Decoder) {
        decoder.reset();
        self.pending_sync = None;
        self.drop_streams();
    }

    fn drop_streams(&mut self) {
        self.epoch = self.outbox.begin_epoch();
        for (stream, what) in std::mem::take(&mut self.streams) {
            match what {
                Stream::Job(link) => {
                    link.give_up();
                    self.give_up_hook(stream);
                    self.dropped_links.push(link);
                }
                Stream::Dial(_) | Stream::Held(_) => {}
                Stream::Command(key) => self.drop_command(key, stream),
            }
        }
        self.dropped_links.retain(|link| !link.has_ended());
    }

    /// Answers SYNC once what it ended has ended.
    fn try_sync(&mut self) {
        let over = match &self.pending_sync {
            None => return,
            Some((_, until)) => *until <= self.now,
        };
        self.dropped_links.retain(|link| !link.has_ended());
        let dying = self.commands.values().any(|command| command.cancelled);
        if !over && (dying || !self.dropped_links.is_empty()) {
            return;
        }
        if let Some((nonce, _)) = self.pending_sync.take() {
            let hello = self.guest.hello();
            let mut payload = nonce;
            payload.extend_from_slice(hello.as_slice());
            self.outbox.push(FRAME_SYNC_ACK, 0, 0, &payload);
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
