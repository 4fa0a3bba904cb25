//! How an operation fails: a code of the host's error table, a sentence, and the errno where there is one.

use crate::protocol::{TAG_CODE, TAG_ERRNO, TAG_MESSAGE};
use crate::tlv::Tlvs;
use std::fmt;
use std::io;

#[derive(Debug, Clone)]
pub struct Failure {
    pub code: &'static str,
    pub message: String,
    pub errno: Option<i32>,
    /// What the answer holds besides.
    pub more: Tlvs,
}

impl Failure {
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Failure { code, message: message.into(), errno: None, more: Tlvs::new() }
    }
    pub fn invalid(message: impl Into<String>) -> Self {
        Failure::new("InvalidInput", message)
    }
    pub fn cancelled() -> Self {
        Failure::new("Cancelled", "the host gave it up")
    }
    pub fn with_errno(code: &'static str, message: impl Into<String>, errno: i32) -> Self {
        Failure { errno: Some(errno), ..Failure::new(code, message) }
    }
    /// A system call that failed: `what` names it and its object.
    pub fn system(code: &'static str, what: impl fmt::Display, error: &io::Error) -> Self {
        let errno = error.raw_os_error();
        let reason = match errno {
            Some(number) => errno_name(number).to_string(),
            None => error.to_string(),
        };
        Failure { code, message: format!("{what}: {reason}"), errno, more: Tlvs::new() }
    }
    pub fn file(path: &[u8], error: &io::Error) -> Self {
        Failure::system("GuestFile", Path(path), error)
    }

    pub fn tlvs(&self) -> Tlvs {
        let tlvs = Tlvs::new()
            .bytes(TAG_CODE, self.code.as_bytes())
            .bytes(TAG_MESSAGE, clip(&self.message).as_bytes())
            .and(&self.more);
        match self.errno {
            Some(number) => tlvs.bytes(TAG_ERRNO, errno_name(number).as_bytes()),
            None => tlvs,
        }
    }
}

/// Paths may be as long as a request, and the answer that quotes one must still fit into a frame.
fn clip(message: &str) -> &str {
    let mut end = message.len().min(8192);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    &message[..end]
}

/// Shows a path in a message: bytes that are not UTF-8 are replaced.
pub struct Path<'a>(pub &'a [u8]);

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(self.0))
    }
}

macro_rules! errnos {
    ($($name:ident = $number:expr;)*) => {
        $(pub const $name: i32 = $number;)*
        /// `ENOENT` for 2 and so on; `E<number>` for one that has no name here.
        pub fn errno_name(number: i32) -> std::borrow::Cow<'static, str> {
            match number {
                $($number => stringify!($name).into(),)*
                other => format!("E{other}").into(),
            }
        }
    };
}

// Linux's numbers, the same on x86-64 and AArch64.
errnos! {
    EPERM = 1; ENOENT = 2; ESRCH = 3; EINTR = 4; EIO = 5; ENXIO = 6; E2BIG = 7; ENOEXEC = 8; EBADF = 9;
    ECHILD = 10; EAGAIN = 11; ENOMEM = 12; EACCES = 13; EFAULT = 14; ENOTBLK = 15; EBUSY = 16; EEXIST = 17;
    EXDEV = 18; ENODEV = 19; ENOTDIR = 20; EISDIR = 21; EINVAL = 22; ENFILE = 23; EMFILE = 24; ENOTTY = 25;
    ETXTBSY = 26; EFBIG = 27; ENOSPC = 28; ESPIPE = 29; EROFS = 30; EMLINK = 31; EPIPE = 32; EDOM = 33;
    ERANGE = 34; EDEADLK = 35; ENAMETOOLONG = 36; ENOLCK = 37; ENOSYS = 38; ENOTEMPTY = 39; ELOOP = 40;
    ENODATA = 61; ETIME = 62; EREMOTE = 66; EPROTO = 71; EBADMSG = 74; EOVERFLOW = 75; EILSEQ = 84; EUSERS = 87;
    ENOTSOCK = 88; EMSGSIZE = 90; EOPNOTSUPP = 95; EAFNOSUPPORT = 97; EADDRINUSE = 98; EADDRNOTAVAIL = 99;
    ENETDOWN = 100; ENETUNREACH = 101; ECONNABORTED = 103; ECONNRESET = 104; ENOBUFS = 105; EISCONN = 106;
    ENOTCONN = 107; ETIMEDOUT = 110; ECONNREFUSED = 111; EHOSTDOWN = 112; EHOSTUNREACH = 113; EALREADY = 114;
    EINPROGRESS = 115; ESTALE = 116; EUCLEAN = 117; EDQUOT = 122; ENOMEDIUM = 123; ECANCELED = 125;
    ENOKEY = 126; EKEYEXPIRED = 127; EKEYREJECTED = 129;
}
