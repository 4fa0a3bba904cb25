//! SHUTDOWN: everybody is asked to end, then made to, then the disks are made clean and the machine is switched off.

use crate::agent::Agent;
use crate::failure::Failure;
use crate::protocol::*;
use crate::sys;
use crate::timers::Timer;
use crate::tlv::{Fields, Tlvs};
use crate::tree;
use std::os::unix::io::AsRawFd;
use std::time::{Duration, Instant};

const DEFAULT_GRACE_MS: u64 = 2000;
const LONGEST_MS: u64 = 600_000;
/// How often it is looked whether anybody is left.
const LOOK: Duration = Duration::from_millis(10);
/// For processes that a signal does not end at once, in a call to a disk.
const AFTER_KILL: Duration = Duration::from_secs(2);

pub struct Shutdown {
    /// Whose processes are asked to end.
    line: u64,
    grace: Duration,
    /// They have been; before that, somebody who freezes or thaws the guest is waited for.
    begun: bool,
    kill_at: Instant,
    killed: bool,
    finished: bool,
}

impl Agent {
    pub fn shut_down(&mut self, stream: u32, fields: &Fields) -> Result<(), Failure> {
        let grace = fields.u64(TAG_GRACE_MS)?.unwrap_or(DEFAULT_GRACE_MS).min(LONGEST_MS);
        self.answer(stream, Ok(Tlvs::new()));
        self.outbox.flush();
        let grace = Duration::from_millis(grace);
        let kill_at = self.now + grace + AFTER_KILL;
        let line = self.epoch();
        self.shutting_down =
            Some(Shutdown { line, grace, begun: false, kill_at, killed: false, finished: false });
        self.timers.set(self.now, Timer::Shutdown);
        Ok(())
    }

    /// Has everything go on that stands still, so that it can end, and asks it to. False when that cannot be done now.
    fn begin_to_end(&mut self, line: u64) -> bool {
        let guest = self.guest.clone();
        let turn = match guest.freezer.try_turn() {
            Some(turn) => turn,
            None => return false,
        };
        if turn.is_sealed_by_another(line) {
            // Nobody gave them randomness and a name of their own: they end as they stand.
            self.kill_everybody();
        }
        if let Err(failure) = turn.go_on() {
            guest.log(&failure.message);
        }
        drop(turn);
        self.release_held();
        self.signal_everybody(sys::SIGTERM);
        // Somebody who is stopped hears nothing before that.
        self.signal_everybody(sys::SIGCONT);
        true
    }

    pub fn shutdown_timer(&mut self) {
        let now = self.now;
        let waiting = match &self.shutting_down {
            Some(shutdown) if !shutdown.begun => Some(shutdown.line),
            _ => None,
        };
        let begins = waiting.map_or(false, |line| self.begin_to_end(line));
        let anybody = self.anybody_left();
        let mut must_kill = false;
        if let Some(shutdown) = &mut self.shutting_down {
            if begins {
                shutdown.begun = true;
                shutdown.kill_at = now + shutdown.grace;
            }
            if (!anybody && shutdown.begun) || (shutdown.killed && now >= shutdown.kill_at) {
                shutdown.finished = true;
            } else if now >= shutdown.kill_at {
                shutdown.killed = true;
                shutdown.kill_at = now + AFTER_KILL;
                must_kill = true;
            }
        }
        if must_kill {
            self.kill_everybody();
        }
        self.timers.set(now + LOOK, Timer::Shutdown);
    }

    fn kill_everybody(&mut self) {
        for command in self.commands.values_mut() {
            command.kill();
        }
        self.signal_everybody(sys::SIGKILL);
    }

    /// True when nothing is left to do but to go.
    pub fn shutdown_finished(&self) -> bool {
        let over = matches!(&self.shutting_down, Some(shutdown) if shutdown.finished);
        if over && self.guest.is_vm() {
            power_off(self);
        }
        over
    }

    fn signal_everybody(&self, signal: i32) {
        if self.guest.is_vm() {
            // To all but PID 1 itself and the kernel's.
            let _ = sys::kill(-1, signal);
        } else {
            for command in self.commands.values() {
                if let Some(tree) = &command.tree {
                    tree.signal(signal);
                }
            }
        }
    }

    fn anybody_left(&self) -> bool {
        if self.guest.is_vm() {
            let has_program = |pid: i32| std::fs::read_link(format!("/proc/{pid}/exe")).is_ok();
            tree::all_pids().unwrap_or_default().into_iter().any(|pid| pid > 2 && has_program(pid))
        } else {
            self.commands.values().any(|command| command.is_alive())
        }
    }
}

fn power_off(agent: &Agent) {
    agent.outbox.flush();
    sys::sync_all();
    // The overlay first, then what lies below it: read-only, its journal is empty and its superblock says clean.
    let _ = sys::mount("", "/", "", sys::MS_REMOUNT | sys::MS_RDONLY, "");
    if let Some(root) = agent.guest.writable_root() {
        let path = format!("/proc/self/fd/{}", root.as_raw_fd());
        if let Err(error) = sys::mount("", &path, "", sys::MS_REMOUNT | sys::MS_RDONLY, "") {
            agent.guest.log(&format!("the disk stays writable: {error}"));
        }
    }
    sys::sync_all();
    let error = sys::power_off();
    agent.guest.log(&format!("cannot power off: {error}"));
}
