//! Who and when the guest is: host name, machine id, clock, randomness.

use crate::failure::{Failure, ENOENT};
use crate::guest::Guest;
use crate::link::Link;
use crate::protocol::*;
use crate::sys;
use crate::tlv::{Fields, Tlvs};
use std::io;
use std::os::unix::io::AsRawFd;

/// Read from the machine's own source of randomness; see `Entropy::of_this_machine`.
const DEVICE_BYTES: usize = 512;
/// Marks a hosts file as ours, to be rewritten when the name changes; any other is left alone.
const HOSTS_MARK: &str = "# Written by the Alcove guest agent.\n";

pub fn set_clock(guest: &Guest, _: &Link, fields: &Fields) -> Result<Tlvs, Failure> {
    let clock = Clock::parse(fields)?;
    if guest.is_vm() {
        clock.apply()?;
    }
    Ok(Tlvs::new())
}

pub fn add_entropy(guest: &Guest, _: &Link, fields: &Fields) -> Result<Tlvs, Failure> {
    let entropy = Entropy::parse(fields)?;
    if guest.is_vm() {
        entropy.apply()?;
    }
    Ok(Tlvs::new())
}

pub fn set_identity(guest: &Guest, _: &Link, fields: &Fields) -> Result<Tlvs, Failure> {
    let identity = Identity::parse(fields)?;
    if guest.is_vm() {
        guest.identity.set(identity, |identity, _| identity.apply())?;
    }
    Ok(Tlvs::new())
}

pub struct Clock(u64);

impl Clock {
    pub fn parse(fields: &Fields) -> Result<Clock, Failure> {
        match fields.u64(TAG_UNIX_NS)? {
            Some(unix_ns) => Ok(Clock(unix_ns)),
            None => Err(Failure::invalid("UNIX_NS is missing")),
        }
    }
    pub fn apply(&self) -> Result<(), Failure> {
        sys::set_clock(self.0).map_err(|error| Failure::system("GuestFile", "cannot set the clock", &error))
    }
}

/// Does what giving a guest its randomness and its time does, and gives it neither.
pub fn rehearse() -> Result<(), Failure> {
    Entropy(vec![0; 64]).mix_in(0)?;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Clock(now.as_nanos() as u64).apply()
}

pub struct Entropy(Vec<u8>);

impl Entropy {
    pub fn parse(fields: &Fields) -> Result<Entropy, Failure> {
        let seed = fields.require(TAG_ENTROPY)?;
        if !(32..=512).contains(&seed.len()) {
            return Err(Failure::invalid("ENTROPY must have 32 to 512 bytes"));
        }
        Ok(Entropy(seed.to_vec()))
    }

    /// From a device of the machine the guest runs on. Drivers have read ahead, up to 64 bytes each in two places of a
    /// Linux of now, and a copy of the guest's memory has those bytes too; so more is read, and the rest is nobody else's.
    pub fn of_this_machine() -> Result<Entropy, Failure> {
        let failed = |error| Failure::system("GuestFile", "cannot read /dev/hwrng", &error);
        let device = sys::open(b"/dev/hwrng", sys::O_RDONLY, 0).map_err(failed)?;
        let mut seed = vec![0u8; DEVICE_BYTES];
        let mut done = 0;
        while done < seed.len() {
            match sys::read(device.as_raw_fd(), &mut seed[done..]).map_err(failed)? {
                0 => {
                    return Err(Failure::with_errno(
                        "GuestFile",
                        "/dev/hwrng has no more",
                        crate::failure::EIO,
                    ))
                }
                count => done += count,
            }
        }
        Ok(Entropy(seed))
    }

    /// Mixes it in, credits it, and makes the generator use it at once: two clones of one snapshot part here.
    pub fn apply(&self) -> Result<(), Failure> {
        self.mix_in(self.0.len() & !3)
    }

    /// Counts as so many random bytes.
    fn mix_in(&self, credit: usize) -> Result<(), Failure> {
        let failed = |error| Failure::system("GuestFile", "cannot add entropy", &error);
        let random = sys::open(b"/dev/random", sys::O_RDWR, 0).map_err(failed)?;
        // struct rand_pool_info: bits, bytes, then the seed, in whole words.
        let length = self.0.len() & !3;
        let mut info = Vec::with_capacity(8 + length);
        info.extend_from_slice(&(credit as i32 * 8).to_ne_bytes());
        info.extend_from_slice(&(length as i32).to_ne_bytes());
        info.extend_from_slice(&self.0[..length]);
        sys::ioctl_bytes(random.as_raw_fd(), sys::RNDADDENTROPY, &mut info).map_err(failed)?;
        sys::ioctl_value(random.as_raw_fd(), sys::RNDRESEEDCRNG, 0).map_err(failed)?;
        Ok(())
    }
}

#[derive(Debug, PartialEq, Eq)]
pub struct Identity {
    hostname: String,
    machine_id: String,
}

impl Identity {
    pub fn parse(fields: &Fields) -> Result<Identity, Failure> {
        let hostname = fields.require_text(TAG_HOSTNAME)?;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.' || byte == b'_';
        if hostname.is_empty() || hostname.len() > 64 || !hostname.bytes().all(plain) {
            return Err(Failure::invalid("HOSTNAME must be 1 to 64 letters, digits, '-', '.' or '_'"));
        }
        let machine_id = fields.require_text(TAG_MACHINE_ID)?;
        let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if machine_id.len() != 32 || !machine_id.bytes().all(hex) {
            return Err(Failure::invalid("MACHINE_ID must be 32 lower-case hex digits"));
        }
        Ok(Identity { hostname: hostname.to_string(), machine_id: machine_id.to_string() })
    }

    /// In the root that is in place now.
    pub fn apply(&self) -> Result<(), Failure> {
        let failed = |what: &'static str| move |error| Failure::system("GuestFile", what, &error);
        sys::set_hostname(&self.hostname).map_err(failed("cannot set the host name"))?;
        let _ = std::fs::create_dir("/etc");
        replace("/etc/hostname", &format!("{}\n", self.hostname)).map_err(failed("/etc/hostname"))?;
        replace("/etc/machine-id", &format!("{}\n", self.machine_id)).map_err(failed("/etc/machine-id"))?;
        let hosts = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
        if hosts.trim().is_empty() || hosts.starts_with(HOSTS_MARK) {
            let text = format!(
                "{HOSTS_MARK}127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n127.0.1.1 {}\n",
                self.hostname
            );
            replace("/etc/hosts", &text).map_err(failed("/etc/hosts"))?;
        }
        Ok(())
    }
}

/// Makes a small file's content this one: a symlink there is replaced, not followed (a resolver's stub leads nowhere here).
/// What is right already is left alone, so that a restart dirties nothing. A plain file is written in place: replacing
/// it by another takes an ext4 below an overlay ten times as long, and after a crash it is written again anyway.
pub fn replace(path: &str, text: &str) -> io::Result<()> {
    match is_in_place(path, text) {
        Ok(true) => return Ok(()),
        Err(error) if sys::errno_of(&error) == ENOENT && create(path, text).is_ok() => return Ok(()),
        _ => {}
    }
    let temporary = format!("{path}.alcove");
    let _ = std::fs::remove_file(&temporary);
    std::fs::write(&temporary, text)?;
    let name = sys::c_path(temporary.as_bytes())?;
    sys::chmod_at(sys::AT_FDCWD, &name, 0o644)?;
    std::fs::rename(&temporary, path)
}

/// Where there is nothing yet; half of what takes an overlay longest.
fn create(path: &str, text: &str) -> io::Result<()> {
    let file = sys::open(path.as_bytes(), sys::O_WRONLY | sys::O_CREAT | sys::O_EXCL, 0o644)?;
    sys::write_all(file.as_raw_fd(), text.as_bytes())
}

/// Whether that is the content now. Not, when it is no plain file, or one that has other names.
fn is_in_place(path: &str, text: &str) -> io::Result<bool> {
    // Of a fifo, neither opening nor reading waits.
    let plain = sys::O_NOFOLLOW | sys::O_NONBLOCK;
    let mut old = [0u8; 1024];
    let file = sys::open(path.as_bytes(), sys::O_RDONLY | plain, 0)?;
    let count = sys::read(file.as_raw_fd(), &mut old)?;
    if &old[..count] == text.as_bytes() {
        return Ok(true);
    }
    let stat = sys::stat_fd(file.as_raw_fd())?;
    if stat.kind() != sys::S_IFREG || stat.nlink != 1 {
        return Ok(false);
    }
    let file = sys::open(path.as_bytes(), sys::O_WRONLY | plain, 0)?;
    sys::overwrite(file.as_raw_fd(), text.as_bytes(), stat.size).map(|()| true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_are_checked() {
        let parse = |hostname: &str, id: &str| {
            let tlvs =
                Tlvs::new().bytes(TAG_HOSTNAME, hostname.as_bytes()).bytes(TAG_MACHINE_ID, id.as_bytes());
            Fields::parse(tlvs.as_slice()).and_then(|fields| Identity::parse(&fields)).is_ok()
        };
        let id = "0123456789abcdef0123456789abcdef";
        assert!(parse("web-1", id));
        assert!(!parse("", id));
        assert!(!parse("a b", id));
        assert!(!parse("a\n", id));
        assert!(!parse(&"a".repeat(65), id));
        assert!(!parse("web-1", "0123"));
        assert!(!parse("web-1", &id.to_uppercase()));
    }

    #[test]
    fn small_files_are_written_in_place_where_they_are_plain() {
        let dir = std::env::temp_dir().join(format!("alcove-identity-{}", std::process::id()));
        std::fs::create_dir(&dir).unwrap();
        let path = |name: &str| dir.join(name).to_str().unwrap().to_string();
        let ino =
            |name: &str| std::os::unix::fs::MetadataExt::ino(&std::fs::symlink_metadata(path(name)).unwrap());
        let read = |name: &str| std::fs::read_to_string(path(name)).unwrap();
        let long = "a".repeat(3000);
        for text in ["first\n", "second one\n", "3\n", &long, "", "last"] {
            replace(&path("plain"), text).unwrap();
            assert_eq!(read("plain"), text);
        }
        let before = ino("plain");
        replace(&path("plain"), "again").unwrap();
        assert_eq!((ino("plain"), read("plain")), (before, "again".into()));

        std::fs::hard_link(path("plain"), path("other")).unwrap();
        std::os::unix::fs::symlink("other", path("link")).unwrap();
        for name in ["plain", "link"] {
            replace(&path(name), "new").unwrap();
            assert_eq!((read(name), read("other")), ("new".into(), "again".into()), "{name}");
            assert!(std::fs::symlink_metadata(path(name)).unwrap().is_file());
        }
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn too_little_entropy_is_refused() {
        for (length, fine) in [(31, false), (32, true), (512, true), (513, false)] {
            let tlvs = Tlvs::new().bytes(TAG_ENTROPY, &vec![1; length]);
            let fields = Fields::parse(tlvs.as_slice()).unwrap();
            assert_eq!(Entropy::parse(&fields).is_ok(), fine, "{length}");
        }
    }
}
