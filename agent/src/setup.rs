//! SETUP.
use crate::failure::Failure;
use crate::guest::Guest;
use crate::link::Link;
use crate::tlv::{Fields, Tlvs};
pub fn set_up(guest: &Guest, _: &Link, _: &Fields) -> Result<Tlvs, Failure> {
    guest.set_ready();
    Ok(Tlvs::new())
}
