//! Which function does which operation of those that run on a worker.

use crate::failure::Failure;
use crate::guest::Guest;
use crate::link::Link;
use crate::protocol::*;
use crate::tlv::{Fields, Tlvs};

pub type Operation = fn(&Guest, &Link, &Fields) -> Result<Tlvs, Failure>;

pub fn find(op: u8) -> Option<Operation> {
    Some(match op {
        OP_SETUP => crate::setup::set_up,
        OP_READ_FILE => crate::read_file::read_file,
        OP_WRITE_FILE => crate::write_file::write_file,
        OP_STAT => crate::files::stat,
        OP_LIST_DIR => crate::files::list_dir,
        OP_REMOVE => crate::remove::remove,
        OP_RENAME => crate::files::rename,
        OP_MKDIR => crate::files::make_dir,
        OP_WATCH => crate::watch::watch,
        OP_TAR_IN => crate::tar_in::tar_in,
        OP_TAR_OUT => crate::tar_out::tar_out,
        OP_FREEZE => crate::freeze::freeze,
        OP_THAW => crate::freeze::thaw,
        OP_CLOCK => crate::identity::set_clock,
        OP_ENTROPY => crate::identity::add_entropy,
        OP_IDENTITY => crate::identity::set_identity,
        OP_NETWORK => crate::network::set_network,
        OP_RENEW => crate::renew::renew,
        OP_HOOKS => crate::hooks::run_hooks,
        OP_REHEARSE => crate::rehearse::rehearse,
        OP_USAGE => crate::usage::usage,
        _ => return None,
    })
}
