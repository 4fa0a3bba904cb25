//! Terminals.

use super::{ioctl_bytes, ioctl_value, open, owned, O_CLOEXEC, O_NOCTTY, O_NONBLOCK, O_RDWR};
use std::io;
use std::os::raw::c_ulong;
use std::os::unix::io::{AsRawFd, OwnedFd};

pub const TIOCSCTTY: c_ulong = 0x540e;
const TIOCSWINSZ: c_ulong = 0x5414;
const TIOCSPTLCK: c_ulong = 0x4004_5431;
const TIOCGPTPEER: c_ulong = 0x5441;
const TCGETS: c_ulong = 0x5401;

/// A new terminal: the agent's side (non-blocking), and the command's.
pub fn open_terminal() -> io::Result<(OwnedFd, OwnedFd)> {
    let master = open(b"/dev/ptmx", O_RDWR | O_NOCTTY | O_NONBLOCK, 0)?;
    ioctl_bytes(master.as_raw_fd(), TIOCSPTLCK, &mut [0; 4])?;
    let flags = (O_RDWR | O_NOCTTY | O_CLOEXEC) as c_ulong;
    let slave = owned(ioctl_value(master.as_raw_fd(), TIOCGPTPEER, flags)?)?;
    Ok((master, slave))
}

pub fn set_window(terminal: &OwnedFd, rows: u16, columns: u16) -> io::Result<()> {
    let mut size = [0u8; 8];
    size[..2].copy_from_slice(&rows.to_ne_bytes());
    size[2..4].copy_from_slice(&columns.to_ne_bytes());
    ioctl_bytes(terminal.as_raw_fd(), TIOCSWINSZ, &mut size)
}

/// The character that ends input on this terminal; usually Ctrl-D.
pub fn end_of_file_character(terminal: &OwnedFd) -> u8 {
    // struct termios as the kernel has it: four u32, c_line, then c_cc with VEOF at 4.
    let mut termios = [0u8; 64];
    match ioctl_bytes(terminal.as_raw_fd(), TCGETS, &mut termios) {
        Ok(()) => termios[17 + 4],
        Err(_) => 4,
    }
}
