//! WRITE_FILE: the file is replaced whole, so that nobody ever sees half of it; or, on request, added to.

use crate::failure::{Failure, EEXIST, EISDIR, ELOOP};
use crate::files::c_path;
use crate::guest::Guest;
use crate::link::Link;
use crate::protocol::*;
use crate::sys;
use crate::tlv::{Fields, Tlvs};
use std::ffi::CString;
use std::io;
use std::os::unix::io::{AsRawFd, OwnedFd};

pub fn write_file(_: &Guest, link: &Link, fields: &Fields) -> Result<Tlvs, Failure> {
    let path = fields.path(TAG_PATH)?;
    let failed = |error| Failure::file(path, &error);
    let mode = fields.u32(TAG_MODE)?.map(|mode| mode & 0o7777);
    let owner = (fields.u32(TAG_UID)?, fields.u32(TAG_GID)?);
    let append = fields.flag(TAG_APPEND)?;
    let path_now = follow(path)?;
    let target = c_path(&path_now)?;
    let old = match sys::stat_at(sys::AT_FDCWD, &target) {
        Ok(stat) if stat.is_dir() => return Err(failed(io::Error::from_raw_os_error(EISDIR))),
        Ok(stat) => Some(stat),
        Err(error) if sys::errno_of(&error) == crate::failure::ENOENT => None,
        Err(error) => return Err(failed(error)),
    };
    let special = old.map_or(false, |stat| stat.kind() != sys::S_IFREG);
    if append || special {
        // Devices and fifos take bytes, but cannot be replaced by a file.
        let flags = sys::O_WRONLY | sys::O_NOCTTY | sys::O_NONBLOCK;
        let flags = if special { flags } else { flags | sys::O_APPEND | sys::O_CREAT };
        let file = sys::open_at(sys::AT_FDCWD, &target, flags, mode.unwrap_or(0o644)).map_err(failed)?;
        link.opened(&Tlvs::new());
        receive_into(link, &file, path)?;
        if !special {
            set_owner_and_mode(&file, owner, mode).map_err(failed)?;
            sys::fsync(file.as_raw_fd()).map_err(failed)?;
        }
        return Ok(Tlvs::new());
    }

    let (file, temporary) = create_beside(&path_now).map_err(failed)?;
    let mut temporary = Temporary { name: Some(temporary) };
    link.opened(&Tlvs::new());
    receive_into(link, &file, path)?;
    // What is replaced hands on its owner and mode, unless others are asked for.
    let owner = (owner.0.or_else(|| old.map(|stat| stat.uid)), owner.1.or_else(|| old.map(|stat| stat.gid)));
    let mode = mode.or_else(|| old.map(|stat| stat.mode() & 0o7777)).unwrap_or(0o644);
    set_owner_and_mode(&file, owner, Some(mode)).map_err(failed)?;
    sys::fsync(file.as_raw_fd()).map_err(failed)?;
    link.check()?;
    if let Some(name) = &temporary.name {
        sys::rename_at(sys::AT_FDCWD, name, sys::AT_FDCWD, &target).map_err(failed)?;
    }
    temporary.name = None;
    Ok(Tlvs::new())
}

/// Removed unless it was renamed to its place.
struct Temporary {
    name: Option<CString>,
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Some(name) = &self.name {
            let _ = sys::unlink_at(sys::AT_FDCWD, name, 0);
        }
    }
}

/// Where a path leads when its last part is a symlink: that is the file to replace, and the link stays.
fn follow(path: &[u8]) -> Result<Vec<u8>, Failure> {
    let mut path = path.to_vec();
    for _ in 0..40 {
        let target = match sys::read_link_at(sys::AT_FDCWD, &c_path(&path)?) {
            Ok(target) => target,
            Err(_) => return Ok(path),
        };
        if target.first() == Some(&b'/') {
            path = target;
        } else {
            let parent = path.iter().rposition(|&byte| byte == b'/').map_or(0, |at| at + 1);
            path.truncate(parent);
            path.extend(target);
        }
    }
    Err(Failure::file(&path, &io::Error::from_raw_os_error(ELOOP)))
}

fn create_beside(path: &[u8]) -> io::Result<(OwnedFd, CString)> {
    let parent = path.iter().rposition(|&byte| byte == b'/').map_or(0, |at| at + 1);
    loop {
        let mut name = path[..parent].to_vec();
        name.extend_from_slice(b".alcove-");
        for byte in &sys::random_name_bytes()[..8] {
            name.extend(format!("{byte:02x}").bytes());
        }
        let name = sys::c_path(&name)?;
        let flags = sys::O_WRONLY | sys::O_CREAT | sys::O_EXCL | sys::O_NOFOLLOW;
        match sys::open_at(sys::AT_FDCWD, &name, flags, 0o600) {
            Err(error) if sys::errno_of(&error) == EEXIST => continue,
            other => return other.map(|file| (file, name)),
        }
    }
}

fn set_owner_and_mode(
    file: &OwnedFd,
    owner: (Option<u32>, Option<u32>),
    mode: Option<u32>,
) -> io::Result<()> {
    let fd = file.as_raw_fd();
    let stat = sys::stat_fd(fd)?;
    let differs =
        owner.0.map_or(false, |uid| uid != stat.uid) || owner.1.map_or(false, |gid| gid != stat.gid);
    if differs {
        sys::chown(fd, owner.0, owner.1)?;
    }
    // After the owner, whose change clears setuid and setgid.
    match mode {
        Some(mode) => sys::chmod(fd, mode),
        None => Ok(()),
    }
}

fn receive_into(link: &Link, file: &OwnedFd, path: &[u8]) -> Result<(), Failure> {
    while let Some(bytes) = link.receive()? {
        sys::write_all(file.as_raw_fd(), &bytes).map_err(|error| Failure::file(path, &error))?;
    }
    Ok(())
}
