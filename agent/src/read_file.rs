//! READ_FILE.

use crate::failure::{Failure, EISDIR};
use crate::guest::Guest;
use crate::link::Link;
use crate::protocol::*;
use crate::sys;
use crate::tlv::{Fields, Tlvs};
use std::io;
use std::os::unix::io::AsRawFd;

pub fn read_file(_: &Guest, link: &Link, fields: &Fields) -> Result<Tlvs, Failure> {
    let path = fields.path(TAG_PATH)?;
    let failed = |error| Failure::file(path, &error);
    let offset = fields.u64(TAG_OFFSET)?.unwrap_or(0);
    let mut left = fields.u64(TAG_LENGTH)?.unwrap_or(u64::MAX);
    // Non-blocking: a fifo without a writer is an empty file, not a worker that waits for ever.
    let file = sys::open(path, sys::O_RDONLY | sys::O_NONBLOCK | sys::O_NOCTTY, 0).map_err(failed)?;
    let fd = file.as_raw_fd();
    let stat = sys::stat_fd(fd).map_err(failed)?;
    if stat.is_dir() {
        return Err(failed(io::Error::from_raw_os_error(EISDIR)));
    }
    link.opened(&Tlvs::new().u64(TAG_SIZE, stat.size).u32(TAG_MODE, stat.mode() & 0o7777));
    // Only what can be sought in has an offset; elsewhere reading goes on from where it is.
    let seekable = stat.kind() == sys::S_IFREG || stat.kind() == sys::S_IFBLK;
    if !seekable && offset > 0 {
        return Err(failed(io::Error::from_raw_os_error(crate::failure::ESPIPE)));
    }
    if offset > i64::MAX as u64 {
        link.send_end();
        return Ok(Tlvs::new());
    }
    let mut at = offset;
    let mut buffer = vec![0u8; 32 * 1024];
    while left > 0 {
        link.check()?;
        let limit = (buffer.len() as u64).min(left) as usize;
        let count = if seekable {
            sys::pread(fd, &mut buffer[..limit], at)
        } else {
            sys::read(fd, &mut buffer[..limit])
        };
        let count = count.map_err(failed)?;
        if count == 0 {
            break;
        }
        at += count as u64;
        left -= count as u64;
        link.send(&buffer[..count])?;
    }
    link.send_end();
    Ok(Tlvs::new())
}
