//! PID 1 from the kernel's hand-over to the first frame: kernel file systems, modules, the port. No disk is touched,
//! so that a VM suspended here can become any image's.

use crate::agent::Agent;
use crate::cgroup::Cgroups;
use crate::failure::EBUSY;
use crate::guest::{Guest, Place};
use crate::network::bring_up_loopback;
use crate::protocol::PORT_NAME;
use crate::sys;
use crate::transport::Transport;
use crate::tree::Trees;
use std::io;
use std::os::unix::io::{AsRawFd, OwnedFd};
use std::panic::catch_unwind;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long the port may take to appear; it comes with a message of the device's after its driver is loaded.
const PORT_PATIENCE: Duration = Duration::from_secs(60);
/// Also what commands inherit: room for servers, and a soft limit that programs which close "all" can bear.
const OPEN_FILES: sys::Limit = sys::Limit { soft: 65_536, hard: 1_048_576 };

/// Never returns: when PID 1 ends, the kernel panics.
pub fn main() -> ! {
    match catch_unwind(boot_and_serve) {
        Ok(error) => eprintln!("alcove-agent: cannot go on: {error}"),
        Err(_) => eprintln!("alcove-agent: cannot go on: a panic"),
    }
    // The host sees silence, and this line on the console. Orphans are still reaped.
    loop {
        while let sys::Reaped::Child(..) = sys::reap() {}
        std::thread::sleep(Duration::from_secs(1));
    }
}

fn boot_and_serve() -> String {
    let clock = Instant::now();
    sys::set_umask(0);
    mount_kernel_file_systems();
    crate::setup::make_mount_points();
    open_console();
    let cmdline = std::fs::read_to_string("/proc/cmdline").unwrap_or_default();
    let debug = cmdline.split_whitespace().any(|word| word == "alcove.debug");
    let stage = |name: &str| {
        if debug {
            eprintln!("alcove-agent: {name} after {} ms", clock.elapsed().as_millis());
        }
    };
    stage("file systems mounted");
    for (module, took, outcome) in load_modules() {
        match outcome {
            Err(error) => eprintln!("alcove-agent: cannot load {module}: {error}"),
            Ok(()) if debug => eprintln!("alcove-agent: {module} took {} us", took.as_micros()),
            Ok(()) => {}
        }
    }
    stage("modules loaded");
    // Here, where it is done once for all machines that start as copies of this one.
    if let Err(error) = bring_up_loopback() {
        return format!("no loopback interface: {error}");
    }
    let _ = sys::set_limit(sys::RLIMIT_NOFILE, OPEN_FILES);
    let signals = match sys::take_signals() {
        Ok(signals) => signals,
        Err(error) => return format!("signals: {error}"),
    };
    let (cgroups, standstill) = match Cgroups::open(task_limit())
        .and_then(|all| all.standstill().map(|standstill| (all, standstill)))
    {
        Ok(both) => both,
        Err(error) => return format!("no cgroups: {error}"),
    };
    let trees = Trees::Cgroups(cgroups);
    let guest = Arc::new(Guest::new(Place::Vm, debug, Some(standstill)));
    let mut agent = match Agent::new(guest, trees, signals) {
        Ok(agent) => agent,
        Err(error) => return format!("cannot start: {error}"),
    };
    stage("agent ready");
    let port = match open_port() {
        Ok(port) => port,
        Err(error) => return format!("no port {PORT_NAME}: {error}"),
    };
    stage("port open");
    set_kernel_parameters();
    // Or a fork bomb starves the agent for seconds, its deadline included.
    if let Err(error) = sys::run_first() {
        eprintln!("alcove-agent: no real-time priority: {error}");
    }
    agent.run(Transport::Virtio { port, gone: true }).to_string()
}

fn mount_kernel_file_systems() {
    let quiet = sys::MS_NOSUID | sys::MS_NOEXEC | sys::MS_NODEV;
    let mounts = [
        ("devtmpfs", "/dev", sys::MS_NOSUID, "mode=755"),
        ("proc", "/proc", quiet, ""),
        ("sysfs", "/sys", quiet, ""),
        ("tmpfs", "/run", sys::MS_NOSUID | sys::MS_NODEV, "mode=755"),
        ("devpts", "/dev/pts", sys::MS_NOSUID | sys::MS_NOEXEC, "mode=620,ptmxmode=666,gid=5"),
        ("tmpfs", "/dev/shm", sys::MS_NOSUID | sys::MS_NODEV, "mode=1777"),
        // With nsdelegate a command, in a cgroup namespace of its own, cannot move itself out of its cgroup.
        ("cgroup2", "/sys/fs/cgroup", quiet, "nsdelegate"),
    ];
    for (kind, target, flags, data) in mounts {
        let _ = std::fs::create_dir(target);
        match sys::mount(kind, target, kind, flags, data) {
            // A kernel that mounts devtmpfs itself.
            Err(error) if sys::errno_of(&error) != EBUSY => eprintln!("alcove-agent: {target}: {error}"),
            _ => {}
        }
    }
    for (target, link) in [
        ("/proc/self/fd", "/dev/fd"),
        ("/proc/self/fd/0", "/dev/stdin"),
        ("/proc/self/fd/1", "/dev/stdout"),
        ("/proc/self/fd/2", "/dev/stderr"),
    ] {
        let _ = std::os::unix::fs::symlink(target, link);
    }
}

/// Best effort: a kernel without one of them works as well.
fn set_kernel_parameters() {
    let parameters = [
        // Every session is one to the scheduler, however many processes it has: a command beside a fork bomb took
        // 0.13 s with it, and 5 s without.
        ("/proc/sys/kernel/sched_autogroup_enabled", "1"),
        // The usual 128 are fewer than the streams that may watch, and than what an editor and a bundler take.
        ("/proc/sys/fs/inotify/max_user_instances", "4096"),
        // Freezing a file system waits for three grace periods of RCU, with all processes standing still: 30 ms, and 1 ms
        // so. What it costs are interrupts to the other CPUs, of which there are few.
        ("/sys/kernel/rcu_expedited", "1"),
    ];
    for (path, value) in parameters {
        let _ = std::fs::write(path, value);
    }
}

/// 0, 1 and 2 must be open: what is opened next would get those numbers, and children their meaning.
fn open_console() {
    if (0..3).all(sys::is_open) {
        return;
    }
    let console = sys::open(b"/dev/console", sys::O_RDWR | sys::O_NOCTTY, 0)
        .or_else(|_| sys::open(b"/dev/null", sys::O_RDWR, 0));
    if let Ok(fd) = console.and_then(|console| sys::dup_high(console.as_raw_fd())) {
        for target in 0..3 {
            let _ = sys::dup_onto(fd.as_raw_fd(), target);
        }
    }
}

/// Loads what `/modules/order` lists, and frees the memory that the files took. Answers how each went.
fn load_modules() -> Vec<(String, Duration, io::Result<()>)> {
    let order = std::fs::read_to_string("/modules/order").unwrap_or_default();
    let mut modules = Vec::new();
    for name in order.lines().map(str::trim).filter(|name| !name.is_empty()) {
        let path = format!("/modules/{name}");
        let clock = Instant::now();
        let loaded =
            sys::open(path.as_bytes(), sys::O_RDONLY, 0).and_then(|file| sys::load_module(file.as_raw_fd()));
        let outcome = match loaded {
            Err(error) if sys::errno_of(&error) == crate::failure::EEXIST => Ok(()),
            other => other,
        };
        modules.push((name.to_string(), clock.elapsed(), outcome));
        let _ = std::fs::remove_file(&path);
    }
    modules
}

/// How many tasks the kernel could run at most.
fn task_limit() -> u64 {
    let read = |path: &str| std::fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok());
    let pids: u64 = read("/proc/sys/kernel/pid_max").unwrap_or(32768);
    let threads: u64 = read("/proc/sys/kernel/threads-max").unwrap_or(pids);
    pids.min(threads)
}

fn open_port() -> io::Result<OwnedFd> {
    let until = Instant::now() + PORT_PATIENCE;
    loop {
        if let Some(device) = find_port() {
            let path = format!("/dev/{device}");
            return sys::open(path.as_bytes(), sys::O_RDWR | sys::O_NONBLOCK, 0);
        }
        if Instant::now() > until {
            return Err(io::Error::from_raw_os_error(crate::failure::ENODEV));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn find_port() -> Option<String> {
    for entry in std::fs::read_dir("/sys/class/virtio-ports").ok()?.flatten() {
        let name = std::fs::read_to_string(entry.path().join("name")).unwrap_or_default();
        if name.trim() == PORT_NAME {
            return entry.file_name().into_string().ok();
        }
    }
    None
}
