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
    kill_at: Instant,
    killed: bool,
    finished: bool,
}

impl Agent {
    pub fn shut_down(&mut self, stream: u32, fields: &Fields) -> Result<(), Failure> {
        let grace = fields.u64(TAG_GRACE_MS)?.unwrap_or(DEFAULT_GRACE_MS).min(LONGEST_MS);
        self.answer(stream, Ok(Tlvs::new()));
        self.outbox.flush();
        let _ = self.guest.freezer.thaw_now();
        self.signal_everybody(sys::SIGTERM);
        // Somebody who is stopped hears nothing before that.
        self.signal_everybody(sys::SIGCONT);
        let kill_at = self.now + Duration::from_millis(grace);
        self.shutting_down = Some(Shutdown { kill_at, killed: false, finished: false });
        self.timers.set(self.now, Timer::Shutdown);
        Ok(())
    }

    pub fn shutdown_timer(&mut self) {
        let now = self.now;
        let anybody = self.anybody_left();
        let mut must_kill = false;
        if let Some(shutdown) = &mut self.shutting_down {
            if !anybody || (shutdown.killed && now >= shutdown.kill_at) {
                shutdown.finished = true;
            } else if now >= shutdown.kill_at {
                shutdown.killed = true;
                shutdown.kill_at = now + AFTER_KILL;
                must_kill = true;
            }
        }
        if must_kill {
            for command in self.commands.values_mut() {
                command.kill();
            }
            self.signal_everybody(sys::SIGKILL);
        }
        self.timers.set(now + LOOK, Timer::Shutdown);
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
