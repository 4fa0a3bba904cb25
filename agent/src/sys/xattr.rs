//! Extended attributes.

use super::{c_path, check, check_size, errno_of};
use std::ffi::{CStr, CString};
use std::io;
use std::os::raw::{c_char, c_int, c_void};

mod foreign {
    use super::*;
    extern "C" {
        pub fn llistxattr(path: *const c_char, list: *mut c_char, size: usize) -> isize;
        pub fn lgetxattr(path: *const c_char, name: *const c_char, value: *mut c_void, size: usize) -> isize;
        pub fn lsetxattr(
            path: *const c_char,
            name: *const c_char,
            value: *const c_void,
            size: usize,
            flags: c_int,
        ) -> c_int;
    }
}

/// Names of extended attributes, of the thing itself when it is a symlink.
pub fn list_xattrs(path: &CStr) -> io::Result<Vec<CString>> {
    let mut buffer = vec![0u8; 1024];
    loop {
        let result = unsafe { foreign::llistxattr(path.as_ptr(), buffer.as_mut_ptr().cast(), buffer.len()) };
        match check_size(result) {
            Err(error) if errno_of(&error) == crate::failure::ERANGE && buffer.len() < 65536 => {
                buffer = vec![0; 65536];
            }
            Err(error) => return Err(error),
            Ok(count) => {
                let names = buffer[..count].split(|&byte| byte == 0).filter(|name| !name.is_empty());
                return names.map(c_path).collect();
            }
        }
    }
}

pub fn xattr(path: &CStr, name: &CStr) -> io::Result<Vec<u8>> {
    let mut buffer = vec![0u8; 65536];
    let result =
        unsafe { foreign::lgetxattr(path.as_ptr(), name.as_ptr(), buffer.as_mut_ptr().cast(), buffer.len()) };
    buffer.truncate(check_size(result)?);
    Ok(buffer)
}

pub fn set_xattr(path: &CStr, name: &CStr, value: &[u8]) -> io::Result<()> {
    check(unsafe { foreign::lsetxattr(path.as_ptr(), name.as_ptr(), value.as_ptr().cast(), value.len(), 0) })
        .map(|_| ())
}
