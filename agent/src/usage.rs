//! USAGE: what the guest uses of what it has.

use crate::failure::Failure;
use crate::guest::Guest;
use crate::link::Link;
use crate::protocol::*;
use crate::sys;
use crate::tlv::{Fields, Tlvs};
use std::os::unix::io::AsRawFd;

/// The kernel counts CPU time in these for user space, whatever its own tick is.
const TICK_US: u64 = 10_000;

pub fn usage(guest: &Guest, _: &Link, _: &Fields) -> Result<Tlvs, Failure> {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let memory = read("/proc/meminfo");
    let uptime = read("/proc/uptime");
    let root = guest.writable_root().map_or_else(|| sys::open(b"/", sys::O_RDONLY, 0), Ok);
    let disk = root.and_then(|root| sys::stat_filesystem(root.as_raw_fd())).unwrap_or_default();
    let seconds: f64 = uptime.split(' ').next().and_then(|text| text.parse().ok()).unwrap_or(0.0);
    Ok(Tlvs::new()
        .u64(TAG_MEMORY_TOTAL, kilobytes(&memory, "MemTotal:") * 1024)
        .u64(TAG_MEMORY_AVAILABLE, kilobytes(&memory, "MemAvailable:") * 1024)
        .u64(TAG_DISK_TOTAL, disk.blocks * disk.fragment_size)
        .u64(TAG_DISK_USED, (disk.blocks - disk.blocks_free) * disk.fragment_size)
        .u64(TAG_CPU_US, busy_ticks(&read("/proc/stat")) * TICK_US)
        .u32(TAG_PROCESSES, count_processes())
        .u64(TAG_UPTIME_US, (seconds * 1e6) as u64))
}

fn kilobytes(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("");
    line.trim().trim_end_matches(" kB").parse().unwrap_or(0)
}

/// All but idle and waiting for devices (the fourth and fifth number), and guests' time, which user time holds already.
fn busy_ticks(stat: &str) -> u64 {
    let line = stat.lines().next().unwrap_or("");
    let ticks = line.split_whitespace().skip(1).take(8).filter_map(|text| text.parse::<u64>().ok());
    ticks.enumerate().filter(|(index, _)| *index != 3 && *index != 4).map(|(_, ticks)| ticks).sum()
}

/// Processes but for the kernel's own threads, which are pid 2 and its children.
fn count_processes() -> u32 {
    let is_kernels = |pid: i32| {
        let stat = std::fs::read(format!("/proc/{pid}/stat")).unwrap_or_default();
        let after_name = stat.iter().rposition(|&byte| byte == b')').map_or(0, |at| at + 1);
        let parent = stat[after_name..].split(|&byte| byte == b' ').nth(2);
        pid == 2 || parent == Some(b"2")
    };
    let pids = crate::tree::all_pids().unwrap_or_default();
    pids.into_iter().filter(|&pid| !is_kernels(pid)).count() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_from_proc() {
        assert_eq!(kilobytes("MemTotal:      123 kB\nMemAvailable: 7 kB\n", "MemAvailable:"), 7);
        assert_eq!(busy_ticks("cpu  1 2 3 100 200 4 5 6 7 8\ncpu0 9"), 21);
    }
}
