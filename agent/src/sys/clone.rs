//! The child between clone and exec.

use std::os::raw::c_void;

pub const CLONE_VM: u64 = 0x100;
pub const CLONE_CHILD_CLEARTID: u64 = 0x0020_0000;
pub const CLONE_NEWNS: u64 = 0x2_0000;
pub const CLONE_NEWUTS: u64 = 0x400_0000;
pub const CLONE_NEWCGROUP: u64 = 0x0200_0000;
pub const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct CloneArgs {
    pub flags: u64,
    pub pidfd: u64,
    pub child_tid: u64,
    pub parent_tid: u64,
    pub exit_signal: u64,
    pub stack: u64,
    pub stack_size: u64,
    pub tls: u64,
    pub set_tid: u64,
    pub set_tid_size: u64,
    pub cgroup: u64,
}

/// System calls of the child between clone and exec, which shares the agent's memory and so must not touch errno.
pub mod raw {
    pub const WRITE: usize = 1;
    pub const IOCTL: usize = 16;
    pub const RT_SIGPROCMASK: usize = 14;
    pub const EXECVE: usize = 59;
    pub const EXIT: usize = 60;
    pub const CHDIR: usize = 80;
    pub const UMASK: usize = 95;
    pub const SETSID: usize = 112;
    pub const SETGROUPS: usize = 116;
    pub const SETRESUID: usize = 117;
    pub const SETRESGID: usize = 119;
    pub const UNSHARE: usize = 272;
    pub const DUP3: usize = 292;
    pub const PRLIMIT64: usize = 302;

    /// # Safety
    /// As the system call's own contract says.
    #[inline(always)]
    pub unsafe fn call4(number: usize, a: usize, b: usize, c: usize, d: usize) -> isize {
        let result: isize;
        std::arch::asm!(
            "syscall",
            inlateout("rax") number => result,
            in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d,
            out("rcx") _, out("r11") _,
            options(nostack)
        );
        result
    }

    /// clone3 with a stack of its own for the child, on which it calls `entry(data)`. Negative errno on failure.
    ///
    /// # Safety
    /// `args` must hold CLONE_VM and a stack that stays valid until the child has exec'd or ended.
    pub unsafe fn clone3(
        args: &super::CloneArgs,
        entry: unsafe extern "C" fn(*const super::c_void) -> !,
        data: *const super::c_void,
    ) -> isize {
        let result: isize;
        std::arch::asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, r8",
            "call r9",
            "ud2",
            "2:",
            // Named registers: one of the compiler's choice may be rbp, which the child clears.
            in("r8") data,
            in("r9") entry,
            inlateout("rax") 435usize => result,
            in("rdi") args as *const super::CloneArgs,
            in("rsi") std::mem::size_of::<super::CloneArgs>(),
            out("rcx") _, out("r11") _,
        );
        result
    }
}
