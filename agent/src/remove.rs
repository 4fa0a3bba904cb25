//! REMOVE, recursively on request: without following links, without recursion, and without leaving the file system.

use crate::failure::{Failure, EBUSY, EISDIR, ENOENT, EPERM};
use crate::files::c_path;
use crate::guest::Guest;
use crate::link::Link;
use crate::protocol::*;
use crate::sys;
use crate::tlv::{Fields, Tlvs};
use crate::walk::{Step, Walk};
use std::io;

pub fn remove(_: &Guest, link: &Link, fields: &Fields) -> Result<Tlvs, Failure> {
    let path = fields.path(TAG_PATH)?;
    let recursive = fields.flag(TAG_RECURSIVE)?;
    let failed = |error: io::Error| Failure::file(path, &error);
    let name = c_path(path)?;
    let as_dir = match sys::unlink_at(sys::AT_FDCWD, &name, 0) {
        Ok(()) => return Ok(Tlvs::new()),
        Err(error) if matches!(sys::errno_of(&error), EISDIR | EPERM) => error,
        Err(error) => return Err(failed(error)),
    };
    let stat = sys::stat_at(sys::AT_FDCWD, &name).map_err(failed)?;
    if !stat.is_dir() {
        return Err(failed(as_dir));
    }
    if recursive {
        empty(link, path)?;
    }
    sys::unlink_at(sys::AT_FDCWD, &name, sys::AT_REMOVEDIR).map_err(failed)?;
    Ok(Tlvs::new())
}

/// Removes all that is below a directory.
fn empty(link: &Link, path: &[u8]) -> Result<(), Failure> {
    let failed = |error: io::Error| Failure::file(path, &error);
    let mut walk = Walk::begin(path).map_err(failed)?;
    loop {
        link.check()?;
        let gone = |result: io::Result<()>| match result {
            // Somebody else was quicker.
            Err(error) if sys::errno_of(&error) == ENOENT => Ok(()),
            other => other,
        };
        match walk.step().map_err(failed)? {
            Step::Done => return Ok(()),
            Step::Enter { .. } => {}
            Step::Leave { parent, name } => {
                gone(sys::unlink_at(parent, &name, sys::AT_REMOVEDIR)).map_err(failed)?;
            }
            Step::Boundary { .. } => return Err(failed(io::Error::from_raw_os_error(EBUSY))),
            Step::Entry { parent, name, .. } => {
                gone(sys::unlink_at(parent, &name, 0)).map_err(failed)?;
            }
        }
    }
}
