//! SETUP: the root file system is put together and taken as the root, and the guest becomes somebody.
//!
//! The writable disk is an ext4; over a read-only squashfs it holds an overlay's `upper` and `work` directories,
//! made here when it is new. Without a squashfs it is the root itself.

use crate::failure::{Failure, EEXIST, ENOENT};
use crate::guest::Guest;
use crate::identity::{Clock, Entropy, Identity};
use crate::link::Link;
use crate::network::Network;
use crate::protocol::*;
use crate::sys;
use crate::tlv::{Fields, Tlvs};
use std::io;
use std::os::unix::io::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

const LOWER: &str = "/alcove/lower";
const UPPER: &str = "/alcove/upper";
const ROOT: &str = "/alcove/root";
/// A disk plugged in shortly before may still be on its way.
const DISK_PATIENCE: Duration = Duration::from_secs(5);

struct Request {
    lower: Option<String>,
    upper: String,
    identity: Identity,
    clock: Clock,
    entropy: Entropy,
    network: Option<Network>,
}

impl Request {
    fn parse(fields: &Fields) -> Result<Request, Failure> {
        Ok(Request {
            lower: fields.text(TAG_LOWER_SERIAL)?.map(str::to_string),
            upper: fields.require_text(TAG_UPPER_SERIAL)?.to_string(),
            identity: Identity::parse(fields)?,
            clock: Clock::parse(fields)?,
            entropy: Entropy::parse(fields)?,
            network: Network::parse(fields)?,
        })
    }
}

pub fn set_up(guest: &Guest, _: &Link, fields: &Fields) -> Result<Tlvs, Failure> {
    let _one_at_a_time = guest.begin_setup();
    if guest.is_ready() {
        return Err(Failure::invalid("SETUP was done already"));
    }
    let request = Request::parse(fields)?;
    if guest.is_vm() {
        // First what nothing after it should go without: names and temporary files are made from random numbers.
        request.entropy.apply()?;
        request.clock.apply()?;
        let clock = Instant::now();
        let disks = Disks::find(request.lower.as_deref(), &request.upper)?;
        guest.set_writable_root(take_root(&disks)?);
        guest.log(&format!("root mounted in {} ms", clock.elapsed().as_millis()));
        guest.identity.set(request.identity, |identity, _| identity.apply())?;
        if let Some(network) = request.network {
            guest.network.set(network, Network::apply)?;
        }
        guest.log(&format!("set up in {} ms", clock.elapsed().as_millis()));
    }
    guest.set_ready();
    Ok(Tlvs::new())
}

fn failed(what: impl std::fmt::Display) -> impl FnOnce(io::Error) -> Failure {
    let what = what.to_string();
    move |error| Failure::system("GuestFile", what, &error)
}

/// Where roots are put together. Made at boot, in the initramfs.
pub fn make_mount_points() {
    for target in ["/alcove", LOWER, UPPER, ROOT] {
        // The mount says so when one is missing.
        let _ = std::fs::create_dir(target);
    }
}

/// Mounts the root and enters it. Answers the root of the writable file system. When it fails, nothing stays mounted.
pub fn take_root(disks: &Disks) -> Result<OwnedFd, Failure> {
    let taken = mount_root(disks).and_then(|writable| enter_root().map(|()| writable));
    if taken.is_err() {
        for target in [ROOT, UPPER, LOWER] {
            let _ = sys::unmount(target, sys::MNT_DETACH);
        }
    }
    taken
}

fn mount_root(disks: &Disks) -> Result<OwnedFd, Failure> {
    let mount_disk = |target: &str| {
        // Without access times and without the background zeroing of inode tables nothing is written unasked, and
        // the disk's snapshots stay small.
        let disk = &disks.upper;
        sys::mount(disk, target, "ext4", sys::MS_NOATIME, "noinit_itable")
            .map_err(failed(format!("cannot mount {disk} as ext4")))
    };
    let writable = match &disks.lower {
        None => {
            mount_disk(ROOT)?;
            ROOT
        }
        Some(image) => {
            sys::mount(image, LOWER, "squashfs", sys::MS_RDONLY, "")
                .map_err(failed(format!("cannot mount {image} as squashfs")))?;
            mount_disk(UPPER)?;
            make_dir(&format!("{UPPER}/upper"))?;
            make_dir(&format!("{UPPER}/work"))?;
            // redirect_dir: without it, renaming a directory of the image fails with EXDEV, which few programs expect.
            let options =
                format!("lowerdir={LOWER},upperdir={UPPER}/upper,workdir={UPPER}/work,redirect_dir=on");
            sys::mount("overlay", ROOT, "overlay", 0, &options)
                .map_err(failed("cannot mount the overlay"))?;
            UPPER
        }
    };
    sys::open(writable.as_bytes(), sys::O_RDONLY | sys::O_DIRECTORY, 0).map_err(failed(writable))
}

/// Takes the kernel's file systems along and makes `ROOT` the root of everybody; the initramfs lies hidden below.
fn enter_root() -> Result<(), Failure> {
    for target in ["/proc", "/sys", "/dev", "/run"] {
        let inside = format!("{ROOT}{target}");
        let moved = match sys::mount(target, &inside, "", sys::MS_MOVE, "") {
            Err(error) if sys::errno_of(&error) == ENOENT => {
                make_dir(&inside)?;
                sys::mount(target, &inside, "", sys::MS_MOVE, "")
            }
            moved => moved,
        };
        moved.map_err(failed(format!("cannot move {target}")))?;
    }
    sys::chdir(ROOT).map_err(failed("cannot enter the root"))?;
    sys::mount(".", "/", "", sys::MS_MOVE, "").map_err(failed("cannot move the root"))?;
    sys::chroot(".").map_err(failed("cannot change the root"))?;
    sys::chdir("/").map_err(failed("cannot enter the root"))
}

fn make_dir(path: &str) -> Result<(), Failure> {
    let name = crate::files::c_path(path.as_bytes())?;
    match sys::mkdir_at(sys::AT_FDCWD, &name, 0o755) {
        Err(error) if sys::errno_of(&error) != EEXIST => Err(failed(path)(error)),
        _ => Ok(()),
    }
}

/// The devices that a root is put together from.
pub struct Disks {
    pub lower: Option<String>,
    pub upper: String,
}

impl Disks {
    /// Those of the virtio-blk disks with these serials.
    pub fn find(lower: Option<&str>, upper: &str) -> Result<Disks, Failure> {
        let until = Instant::now() + DISK_PATIENCE;
        loop {
            let (mut image, mut disk) = (None, None);
            for (device, serial) in virtio_disks().map_err(failed("/sys/block"))? {
                if Some(serial.as_str()) == lower {
                    image = Some(device);
                } else if serial == upper {
                    disk = Some(device);
                }
            }
            let missing = match (disk, lower, image) {
                (Some(upper), None, lower) | (Some(upper), Some(_), lower @ Some(_)) => {
                    return Ok(Disks { lower, upper });
                }
                (Some(_), Some(lower), None) => lower,
                (None, _, _) => upper,
            };
            if Instant::now() > until {
                let message = format!("no disk with serial {missing:?}");
                return Err(Failure::with_errno("GuestFile", message, crate::failure::ENODEV));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Device and serial of each. The driver asks the device for it: other disks are not asked.
fn virtio_disks() -> io::Result<Vec<(String, String)>> {
    let all = sys::open(b"/sys/block", sys::O_RDONLY | sys::O_DIRECTORY, 0)?;
    let mut found = Vec::new();
    for name in sys::names_in(all.as_raw_fd())? {
        let name = name.to_string_lossy();
        if !name.starts_with("vd") {
            continue;
        }
        let mut serial = [0u8; 64];
        let read = sys::c_path(format!("{name}/serial").as_bytes())
            .and_then(|path| sys::open_at(all.as_raw_fd(), &path, sys::O_RDONLY, 0))
            .and_then(|file| sys::read(file.as_raw_fd(), &mut serial));
        let text = String::from_utf8_lossy(&serial[..read.unwrap_or(0)]).trim().to_string();
        found.push((format!("/dev/{name}"), text));
    }
    Ok(found)
}
