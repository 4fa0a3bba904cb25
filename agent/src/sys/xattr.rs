//! Extended attributes.

use super::{c_path, check, check_size, errno_of};
use std::ffi::{CStr, CString};
use std::io;
use std::os::raw::{c_char, c_int, c_void};
use std::os::unix::io::RawFd;

mod foreign {
    use super::*;
    extern "C" {
        pub fn llistxattr(path: *const c_char, list: *mut c_char, size: usize) -> isize;
        pub fn lgetxattr(path: *const c_char, name: *const c_char, value: *mut c_void, size: usize) -> isize;
        pub fn flistxattr(fd: c_int, list: *mut c_char, size: usize) -> isize;
        pub fn fgetxattr(fd: c_int, name: *const c_char, value: *mut c_void, size: usize) -> isize;
        pub fn lsetxattr(
            path: *const c_char,
            name: *const c_char,
            value: *const c_void,
            size: usize,
            flags: c_int,
        ) -> c_int;
    }
}

/// What has attributes.
#[derive(Clone, Copy)]
pub enum Bearer<'a> {
    /// Not one that was opened with O_PATH.
    Open(RawFd),
    /// The thing itself when it is a symlink.
    Path(&'a CStr),
}

/// Names of extended attributes.
pub fn list_xattrs(of: Bearer) -> io::Result<Vec<CString>> {
    let list = |buffer: &mut [u8]| {
        let (start, length) = (buffer.as_mut_ptr().cast(), buffer.len());
        check_size(match of {
            Bearer::Open(fd) => unsafe { foreign::flistxattr(fd, start, length) },
            Bearer::Path(path) => unsafe { foreign::llistxattr(path.as_ptr(), start, length) },
        })
    };
    let names =
        |list: &[u8]| list.split(|&byte| byte == 0).filter(|name| !name.is_empty()).map(c_path).collect();
    let mut few = [0u8; 512];
    match list(&mut few) {
        Err(error) if errno_of(&error) == crate::failure::ERANGE => {
            let mut many = vec![0; 65536];
            let count = list(&mut many)?;
            names(&many[..count])
        }
        Err(error) => Err(error),
        Ok(count) => names(&few[..count]),
    }
}

pub fn xattr(of: Bearer, name: &CStr) -> io::Result<Vec<u8>> {
    let mut buffer = vec![0u8; 65536];
    let (start, length) = (buffer.as_mut_ptr().cast(), buffer.len());
    let result = match of {
        Bearer::Open(fd) => unsafe { foreign::fgetxattr(fd, name.as_ptr(), start, length) },
        Bearer::Path(path) => unsafe { foreign::lgetxattr(path.as_ptr(), name.as_ptr(), start, length) },
    };
    buffer.truncate(check_size(result)?);
    Ok(buffer)
}

pub fn set_xattr(path: &CStr, name: &CStr, value: &[u8]) -> io::Result<()> {
    check(unsafe { foreign::lsetxattr(path.as_ptr(), name.as_ptr(), value.as_ptr().cast(), value.len(), 0) })
        .map(|_| ())
}
