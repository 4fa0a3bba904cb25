//! RENEW: a guest that was restored, resumed or sealed becomes somebody, and only then do its processes go on.

use crate::failure::Failure;
use crate::guest::Guest;
use crate::hooks;
use crate::hurry::Hurry;
use crate::identity::{Clock, Entropy, Identity};
use crate::link::Link;
use crate::network::Network;
use crate::protocol::*;
use crate::tlv::{Fields, Tlvs};

pub fn renew(guest: &Guest, link: &Link, fields: &Fields) -> Result<Tlvs, Failure> {
    // Processes that were just let go would all run before the host is told: 2 to 3 ms with three of them.
    let _hurry = Hurry::new(guest);
    link.end(become_somebody(guest, fields));
    link.wake_loop();
    Ok(Tlvs::new())
}

fn become_somebody(guest: &Guest, fields: &Fields) -> Result<Tlvs, Failure> {
    let entropy = Entropy::parse(fields)?;
    let clock = Clock::parse(fields)?;
    let identity = Identity::parse(fields)?;
    let network = Network::parse(fields)?;
    let turn = guest.freezer.turn();
    if guest.is_vm() {
        entropy.apply()?;
        clock.apply()?;
        // The files that say who it is are on the frozen disk.
        turn.thaw_files()?;
        guest.identity.change(identity, |identity, _| identity.apply())?;
        if let Some(network) = network {
            guest.network.change(network, Network::apply)?;
        }
    }
    // Before others want the disk, too.
    let has_hooks = hooks::any(guest, "after-restore");
    turn.let_processes_go()?;
    turn.open();
    Ok(Tlvs::new().u8(TAG_HOOKS, u8::from(has_hooks)))
}
