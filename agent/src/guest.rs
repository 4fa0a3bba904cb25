//! What every thread knows of the machine it serves: a VM of ours, or (for tests) just a process on a host.

use crate::account::Account;
use crate::freeze::Freezer;
use crate::hooks::{self, Orders};
use crate::identity;
use crate::last::Last;
use crate::locks::lock;
use crate::network::Network;
use crate::protocol::*;
use crate::spawn::Identity;
use crate::standstill::Standstill;
use crate::sys;
use crate::tlv::Tlvs;
use std::os::unix::io::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// PID 1 of a virtual machine.
    Vm,
    /// A process among others: nothing of the machine is changed.
    Host,
}

pub struct Guest {
    pub place: Place,
    pub freezer: Freezer,
    pub identity: Last<identity::Identity>,
    pub network: Last<Network>,
    /// Programs that a worker wants run.
    pub hook_orders: Orders,
    pub hooks_directory: String,
    ready: AtomicBool,
    boot_id: String,
    kernel: String,
    default_user: String,
    ids: (u32, u32),
    has_groups: bool,
    debug: bool,
    /// The root of the writable file system (of the upper one, below an overlay).
    writable_root: Mutex<Option<OwnedFd>>,
    setup: Mutex<()>,
}

pub const VERSION: &str = env!("CARGO_PKG_VERSION");

impl Guest {
    /// `processes` is how all commands' processes are made to stand still; a host has none.
    pub fn new(place: Place, debug: bool, processes: Option<Standstill>) -> Guest {
        let random = sys::random_name_bytes();
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let ids = sys::effective_ids();
        Guest {
            place,
            freezer: Freezer::new(processes),
            identity: Last::default(),
            network: Last::default(),
            hook_orders: Orders::default(),
            hooks_directory: hooks::DIRECTORY.to_string(),
            ready: AtomicBool::new(false),
            boot_id: random.iter().map(|byte| format!("{byte:02x}")).collect(),
            kernel: kernel.trim().to_string(),
            default_user: if place == Place::Vm { "root".into() } else { ids.0.to_string() },
            ids,
            has_groups: sys::has_groups(),
            debug,
            writable_root: Mutex::new(None),
            setup: Mutex::new(()),
        }
    }

    pub fn is_vm(&self) -> bool {
        self.place == Place::Vm
    }
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }
    pub fn set_ready(&self) {
        self.ready.store(true, Ordering::Release);
    }

    /// Two requests to set up at once are served one after the other; the second finds it done.
    pub fn begin_setup(&self) -> MutexGuard<'_, ()> {
        lock(&self.setup)
    }

    pub fn set_writable_root(&self, fd: OwnedFd) {
        *lock(&self.writable_root) = Some(fd);
    }
    /// Another descriptor of the writable file system's root.
    pub fn writable_root(&self) -> Option<OwnedFd> {
        lock(&self.writable_root).as_ref().and_then(|fd| fd.try_clone().ok())
    }

    /// What SYNC_ACK says after the nonce.
    pub fn hello(&self) -> Tlvs {
        Tlvs::new()
            .u32(TAG_PROTOCOL, PROTOCOL_VERSION)
            .bytes(TAG_VERSION, VERSION.as_bytes())
            .bytes(TAG_BOOT_ID, self.boot_id.as_bytes())
            .u8(TAG_READY, u8::from(self.is_ready()))
            .bytes(TAG_KERNEL, self.kernel.as_bytes())
    }

    /// Whose commands are when nobody is named.
    pub fn default_user(&self) -> &str {
        &self.default_user
    }

    /// What a child must change to be `account`; `None` when it is that already.
    pub fn identity_for(&self, account: &Account) -> Option<Identity> {
        let same_ids = (account.uid, account.gid) == self.ids;
        let may_not_change = !self.is_vm() && self.ids.0 != 0;
        if same_ids && account.groups.is_empty() && !self.has_groups {
            return None;
        }
        if may_not_change && account.uid == self.ids.0 {
            return None;
        }
        Some(Identity { uid: account.uid, gid: account.gid, groups: account.groups.clone() })
    }

    /// On the console, only when asked for: a serial console costs milliseconds a line under emulation.
    pub fn log(&self, message: &str) {
        if self.debug {
            eprintln!("alcove-agent: {message}");
        }
    }
}
