//! HOOKS: programs that a guest's owner wants run around a snapshot, one after the other in the order of their names.
//!
//! A worker looks for them and waits; the loop, which alone starts processes, runs each as a command without a client.

use crate::agent::Agent;
use crate::command::{Command, Output};
use crate::failure::{Failure, Path, ENOENT};
use crate::files::c_path;
use crate::guest::Guest;
use crate::link::Link;
use crate::locks::lock;
use crate::protocol::*;
use crate::spawn::{self, Program};
use crate::sys;
use crate::tlv::{Fields, Tlvs};
use std::os::unix::io::AsRawFd;
use std::sync::mpsc::{channel, Sender};
use std::sync::Mutex;
use std::time::{Duration, Instant};

pub const DIRECTORY: &str = "/etc/alcove/hooks";
const NAMES: [&str; 3] = ["before-snapshot", "after-snapshot", "after-restore"];
const DEFAULT_TIMEOUT_MS: u64 = 30_000;
const LONGEST_MS: u64 = 3_600_000;
/// Of a program's output, its end is told when it fails.
const KEPT_OUTPUT: usize = 4096;

/// Something that a worker wants done by the loop.
pub struct Order {
    task: Task,
    hook: Hook,
}

pub enum Task {
    /// A program, run as a command without a client until it is over or the time has come.
    Program(Program, Instant),
    /// What EXEC would do with these TLVs, for nobody.
    Exec(Tlvs),
    /// Nothing is to be left of commands that are over.
    TidyUp,
}

/// What the loop knows of a command that a worker waits for.
pub struct Hook {
    epoch: u64,
    pub stream: u32,
    ended: Sender<Result<End, Failure>>,
}

/// How a program ended.
#[derive(Default)]
pub struct End {
    pub status: i32,
    pub timed_out: bool,
    pub output: Vec<u8>,
}

#[derive(Default)]
pub struct Orders(Mutex<Vec<Order>>);

/// Has the loop do it; returns when it is over.
pub fn order(guest: &Guest, link: &Link, task: Task) -> Result<End, Failure> {
    let (ended, end) = channel();
    let hook = Hook { epoch: link.epoch(), stream: link.stream, ended };
    lock(&guest.hook_orders.0).push(Order { task, hook });
    link.wake_loop();
    end.recv().unwrap_or_else(|_| Err(Failure::new("Internal", "the agent lost a hook")))
}

pub fn run_hooks(guest: &Guest, link: &Link, fields: &Fields) -> Result<Tlvs, Failure> {
    let name = fields.require_text(TAG_NAME)?;
    if !NAMES.contains(&name) {
        return Err(Failure::invalid(format!("NAME must be one of {}", NAMES.join(", "))));
    }
    let timeout = fields.u64(TAG_TIMEOUT_MS)?.unwrap_or(DEFAULT_TIMEOUT_MS).min(LONGEST_MS);
    let deadline = Instant::now() + Duration::from_millis(timeout);
    for path in programs(guest, name)? {
        link.check()?;
        let end = match order(guest, link, Task::Program(program(&path, name)?, deadline)) {
            Err(failure) if failure.code == "CommandNotStarted" => {
                return Err(failed(&path, &failure.message, b""));
            }
            end => end?,
        };
        let signal = end.status & 0x7f;
        if end.timed_out {
            return Err(failed(
                &path,
                &format!("was not done {timeout} ms after the first began"),
                &end.output,
            ));
        }
        if signal != 0 {
            return Err(failed(&path, &format!("was ended by signal {signal}"), &end.output));
        }
        let code = (end.status >> 8) & 0xff;
        if code != 0 {
            return Err(failed(&path, &format!("ended with exit code {code}"), &end.output));
        }
    }
    Ok(Tlvs::new())
}

/// Whether there is a program to run. What cannot be looked at has none.
pub fn any(guest: &Guest, name: &str) -> bool {
    programs(guest, name).map_or(false, |found| !found.is_empty())
}

fn failed(path: &[u8], how: &str, output: &[u8]) -> Failure {
    let mut failure = Failure::new("GuestHookFailed", format!("{} {how}", Path(path)));
    failure.more = Tlvs::new().bytes(TAG_PATH, path).bytes(TAG_OUTPUT, output);
    failure
}

/// Paths of the programs for an event, in byte order of their names. Passed over is what run-parts passes over: what cannot
/// be executed, hidden files and editors' backups.
fn programs(guest: &Guest, name: &str) -> Result<Vec<Vec<u8>>, Failure> {
    let directory = format!("{}/{name}.d", guest.hooks_directory).into_bytes();
    let failed = |error| Failure::file(&directory, &error);
    let fd = match sys::open(&directory, sys::O_RDONLY | sys::O_DIRECTORY, 0) {
        Err(error) if sys::errno_of(&error) == ENOENT => return Ok(Vec::new()),
        opened => opened.map_err(failed)?,
    };
    let mut names = sys::names_in(fd.as_raw_fd()).map_err(failed)?;
    names.sort_unstable();
    let mut paths = Vec::new();
    for name in names {
        let name = name.as_bytes();
        if name.starts_with(b".") || name.ends_with(b"~") {
            continue;
        }
        let path = [&directory, &b"/"[..], name].concat();
        let stat = c_path(&path).and_then(|path| sys::stat(&path).map_err(failed));
        if stat.map_or(false, |stat| stat.kind() == sys::S_IFREG && stat.mode() & 0o111 != 0) {
            paths.push(path);
        }
    }
    Ok(paths)
}

fn program(path: &[u8], name: &str) -> Result<Program, Failure> {
    let path = c_path(path)?;
    let env = [format!("PATH={}", spawn::DEFAULT_PATH), "HOME=/root".into(), format!("ALCOVE_HOOK={name}")];
    Ok(Program {
        argv: vec![path.clone()],
        candidates: vec![path],
        env: env.iter().map(|entry| c_path(entry.as_bytes())).collect::<Result<_, _>>()?,
        cwd: c_path(b"/")?,
        cwd_is_default: false,
        identity: None,
    })
}

impl Hook {
    /// Tells the worker, if it is still there.
    pub fn end(self, end: Result<End, Failure>) {
        let _ = self.ended.send(end);
    }
}

impl Command {
    /// What a hook's worker wants to know of its end.
    pub fn hook_end(&mut self) -> End {
        let mut output = self.outputs[0].retained.take();
        output.drain(..output.len().saturating_sub(KEPT_OUTPUT));
        End { status: self.exit.unwrap_or_default().0, timed_out: self.timed_out, output }
    }
}

impl Agent {
    /// Starts what workers want run.
    pub fn take_orders(&mut self) {
        let orders = std::mem::take(&mut *lock(&self.guest.hook_orders.0));
        for Order { task, hook } in orders {
            if !self.is_wanted(hook.epoch, hook.stream) {
                hook.end(Err(Failure::cancelled()));
                continue;
            }
            match task {
                Task::Program(program, deadline) => self.run_hook(program, deadline, hook),
                Task::Exec(request) => self.exec_for_nobody(&request, hook),
                Task::TidyUp => {
                    self.tidy_up();
                    hook.end(Ok(End::default()));
                }
            }
        }
    }

    fn run_hook(&mut self, program: Program, deadline: Instant, hook: Hook) {
        let kit = match self.kits.take() {
            Ok(kit) => kit,
            Err(error) => {
                return hook.end(Err(Failure::system("CommandNotStarted", "cannot make a cgroup", &error)));
            }
        };
        let [output, _] = kit.pipes;
        let fds = [self.null.as_raw_fd(), output.theirs.as_raw_fd(), output.theirs.as_raw_fd()];
        match spawn::spawn(program, fds, false, &kit.tree) {
            Ok((pid, launch)) => {
                let mut command = self.new_command(pid, launch, kit.tree);
                command.outputs = [Output::of(output.ours), Output::default()];
                command.deadline = Some(deadline);
                command.grace = Duration::from_millis(0);
                command.hook = Some(hook);
                self.add_command(command);
            }
            Err(error) => {
                self.kits.retire(kit.tree);
                hook.end(Err(Failure::system("CommandNotStarted", "cannot make a process", &error)));
            }
        }
    }

    /// Ends the hook that a stream waits for.
    pub fn give_up_hook(&mut self, stream: u32) {
        let is_its = |c: &&Command| c.hook.as_ref().map_or(false, |hook| hook.stream == stream);
        let keys: Vec<u32> = self.commands.values().filter(is_its).map(|c| c.key).collect();
        for key in keys {
            self.give_up_command(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest::Place;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn programs_are_taken_as_run_parts_takes_them() {
        let mut guest = Guest::new(Place::Host, false, None);
        let home = std::env::temp_dir().join(format!("alcove-hooks-{}", std::process::id()));
        guest.hooks_directory = home.to_str().unwrap().to_string();
        assert!(programs(&guest, "after-restore").unwrap().is_empty());

        let dir = home.join("after-restore.d");
        std::fs::create_dir_all(dir.join("folder")).unwrap();
        assert!(!any(&guest, "after-restore"));
        for (name, mode) in [
            ("b", 0o755),
            ("a", 0o700),
            ("10", 0o755),
            ("9", 0o744),
            (".h", 0o755),
            ("a~", 0o755),
            ("c", 0o644),
        ] {
            std::fs::write(dir.join(name), "").unwrap();
            std::fs::set_permissions(dir.join(name), PermissionsExt::from_mode(mode)).unwrap();
        }
        std::os::unix::fs::symlink("a", dir.join("link")).unwrap();
        std::os::unix::fs::symlink("nowhere", dir.join("broken")).unwrap();
        let names: Vec<String> = programs(&guest, "after-restore")
            .unwrap()
            .iter()
            .map(|path| String::from_utf8_lossy(&path[dir.to_str().unwrap().len() + 1..]).into())
            .collect();
        assert_eq!(names, ["10", "9", "a", "b", "link"]);
        assert!(any(&guest, "after-restore"));
        assert!(!any(&guest, "before-snapshot"));
        std::fs::remove_dir_all(&home).unwrap();
    }
}
