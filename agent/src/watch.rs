use crate::failure::Failure;
use crate::guest::Guest;
use crate::link::Link;
use crate::tlv::{Fields, Tlvs};
pub fn watch(_: &Guest, _: &Link, _: &Fields) -> Result<Tlvs, Failure> {
    Err(Failure::new("Unsupported", "not here yet"))
}
