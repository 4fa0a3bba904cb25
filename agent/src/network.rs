//! The guest's network: loopback, and `eth0` with what the host says. By ioctl, since no image need have `ip`.

use crate::failure::{Failure, EBUSY, EEXIST, ENODEV};
use crate::guest::Guest;
use crate::identity::replace;
use crate::link::Link;
use crate::protocol::*;
use crate::sys;
use crate::tlv::{Fields, Tlvs};
use std::io;
use std::net::Ipv4Addr;
use std::os::raw::c_ulong;
use std::os::unix::io::AsRawFd;

const SIOCADDRT: c_ulong = 0x890b;
const SIOCDELRT: c_ulong = 0x890c;
const SIOCGIFFLAGS: c_ulong = 0x8913;
const SIOCSIFFLAGS: c_ulong = 0x8914;
const SIOCSIFADDR: c_ulong = 0x8916;
const SIOCSIFNETMASK: c_ulong = 0x891c;
const SIOCSIFHWADDR: c_ulong = 0x8924;
const SIOCGIFHWADDR: c_ulong = 0x8927;
/// The one network interface that a guest has.
const INTERFACE: &str = "eth0";
const IFF_UP: u16 = 1;
const RTF_UP: u16 = 1;
const RTF_GATEWAY: u16 = 2;

pub fn set_network(guest: &Guest, _: &Link, fields: &Fields) -> Result<Tlvs, Failure> {
    let network = Network::parse(fields)?.ok_or_else(|| Failure::invalid("ADDRESS is missing"))?;
    if guest.is_vm() {
        guest.network.set(network, Network::apply)?;
    }
    Ok(Tlvs::new())
}

#[derive(Debug, PartialEq, Eq)]
pub struct Network {
    address: Ipv4Addr,
    mask: Ipv4Addr,
    gateway: Ipv4Addr,
    dns: Vec<Ipv4Addr>,
    /// `None` leaves it as it is.
    mac: Option<[u8; 6]>,
}

impl Network {
    /// `None` when the request has no network.
    pub fn parse(fields: &Fields) -> Result<Option<Network>, Failure> {
        let cidr = match fields.text(TAG_ADDRESS)? {
            Some(cidr) => cidr,
            None => return Ok(None),
        };
        let wrong = || Failure::invalid("ADDRESS must be an IPv4 address with a prefix, as 10.0.2.15/24");
        let (address, prefix) = cidr.split_once('/').ok_or_else(wrong)?;
        let address: Ipv4Addr = address.parse().map_err(|_| wrong())?;
        let prefix: u32 = prefix.parse().map_err(|_| wrong())?;
        if prefix > 32 {
            return Err(wrong());
        }
        let mask = u32::MAX.checked_shl(32 - prefix).unwrap_or(0);
        let gateway = fields.require_text(TAG_GATEWAY)?;
        let gateway = gateway.parse().map_err(|_| Failure::invalid("GATEWAY must be an IPv4 address"))?;
        let no_dns = || Failure::invalid("DNS must be an IPv4 address");
        let parse_dns = |value| std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
        let dns = fields.all(TAG_DNS).map(|value| parse_dns(value).ok_or_else(no_dns));
        let dns = dns.collect::<Result<_, _>>()?;
        let mac = fields.text(TAG_MAC)?.map(parse_mac).transpose()?;
        Ok(Some(Network { address, mask: mask.into(), gateway, dns, mac }))
    }

    /// Changes what differs from what was applied before, when that is known.
    pub fn apply(&self, before: Option<&Network>) -> Result<(), Failure> {
        self.apply_to_interface(before).map_err(failed)?;
        if before.map_or(false, |before| self.dns == before.dns) {
            return Ok(());
        }
        let lines: String = self.dns.iter().map(|server| format!("nameserver {server}\n")).collect();
        let failed = |error| Failure::system("GuestFile", "cannot write /etc/resolv.conf", &error);
        replace("/etc/resolv.conf", &lines).map_err(failed)
    }

    fn apply_to_interface(&self, before: Option<&Network>) -> io::Result<()> {
        let place = |network: &Network| (network.address, network.mask, network.gateway);
        let mut routed = before.map_or(false, |before| place(self) == place(before));
        let socket = sys::socket(sys::AF_INET, sys::SOCK_DGRAM)?;
        if let Some(mac) = self.mac {
            routed &= set_mac(socket.as_raw_fd(), mac)? == Routes::Kept;
        }
        if !routed {
            set_address(socket.as_raw_fd(), self.address, self.mask)?;
            set_default_route(socket.as_raw_fd(), self.gateway)?;
        }
        Ok(())
    }

    /// Sets the interface up, if there is one, and takes all of it back.
    pub fn rehearse(&self) -> Result<(), Failure> {
        let socket = sys::socket(sys::AF_INET, sys::SOCK_DGRAM).map_err(failed)?;
        let socket = socket.as_raw_fd();
        let mut mac = request(INTERFACE, &[]);
        match sys::ioctl_bytes(socket, SIOCGIFHWADDR, &mut mac) {
            Err(error) if sys::errno_of(&error) == ENODEV => return Ok(()),
            outcome => outcome.map_err(failed)?,
        }
        let applied = self.apply_to_interface(None);
        let no_address = socket_address(Ipv4Addr::UNSPECIFIED);
        sys::ioctl_bytes(socket, SIOCSIFADDR, &mut request(INTERFACE, &no_address))
            .and_then(|()| change_flags(socket, INTERFACE, |flags| flags & !IFF_UP))
            .and_then(|()| sys::ioctl_bytes(socket, SIOCSIFHWADDR, &mut mac))
            .and(applied)
            .map_err(failed)
    }
}

fn failed(error: io::Error) -> Failure {
    Failure::system("GuestFile", "cannot set up eth0", &error)
}

fn parse_mac(text: &str) -> Result<[u8; 6], Failure> {
    let wrong = || Failure::invalid("MAC must be the address of one interface, as 52:54:00:12:34:56");
    let mut mac = [0u8; 6];
    let mut parts = text.split(':');
    for byte in &mut mac {
        let part = parts.next().filter(|part| part.len() == 2).ok_or_else(wrong)?;
        *byte = u8::from_str_radix(part, 16).map_err(|_| wrong())?;
    }
    let is_group = mac[0] & 1 == 1;
    if parts.next().is_some() || is_group || mac == [0; 6] {
        return Err(wrong());
    }
    Ok(mac)
}

pub fn bring_up_loopback() -> io::Result<()> {
    let socket = sys::socket(sys::AF_INET, sys::SOCK_DGRAM)?;
    change_flags(socket.as_raw_fd(), "lo", |flags| flags | IFF_UP)
}

/// `struct ifreq`: a name of 16 bytes, then a union of 24.
fn request(name: &str, value: &[u8]) -> [u8; 40] {
    let mut out = [0u8; 40];
    out[..name.len()].copy_from_slice(name.as_bytes());
    out[16..16 + value.len()].copy_from_slice(value);
    out
}

/// `struct sockaddr_in`
fn socket_address(address: Ipv4Addr) -> [u8; 16] {
    let mut out = [0u8; 16];
    out[..2].copy_from_slice(&(sys::AF_INET as u16).to_ne_bytes());
    out[4..8].copy_from_slice(&address.octets());
    out
}

fn change_flags(socket: i32, name: &str, change: fn(u16) -> u16) -> io::Result<()> {
    let mut flags = request(name, &[]);
    sys::ioctl_bytes(socket, SIOCGIFFLAGS, &mut flags)?;
    let next = change(u16::from_ne_bytes([flags[16], flags[17]]));
    sys::ioctl_bytes(socket, SIOCSIFFLAGS, &mut request(name, &next.to_ne_bytes()))
}

/// What became of the routes when an interface was given another address.
#[derive(PartialEq, Eq)]
enum Routes {
    Kept,
    Lost,
}

fn set_mac(socket: i32, mac: [u8; 6]) -> io::Result<Routes> {
    let mut now = request(INTERFACE, &[]);
    sys::ioctl_bytes(socket, SIOCGIFHWADDR, &mut now)?;
    // struct sockaddr: the family, which stays, then the address.
    if now[18..24] == mac {
        return Ok(Routes::Kept);
    }
    let mut next = now;
    next[18..24].copy_from_slice(&mac);
    match sys::ioctl_bytes(socket, SIOCSIFHWADDR, &mut next) {
        // A driver that wants it down for that; with it the routes go. virtio-net does not.
        Err(error) if sys::errno_of(&error) == EBUSY => {
            change_flags(socket, INTERFACE, |flags| flags & !IFF_UP)?;
            let outcome = sys::ioctl_bytes(socket, SIOCSIFHWADDR, &mut next);
            change_flags(socket, INTERFACE, |flags| flags | IFF_UP)?;
            outcome.map(|()| Routes::Lost)
        }
        outcome => outcome.map(|()| Routes::Kept),
    }
}

fn set_address(socket: i32, address: Ipv4Addr, mask: Ipv4Addr) -> io::Result<()> {
    sys::ioctl_bytes(socket, SIOCSIFADDR, &mut request(INTERFACE, &socket_address(address)))?;
    sys::ioctl_bytes(socket, SIOCSIFNETMASK, &mut request(INTERFACE, &socket_address(mask)))?;
    change_flags(socket, INTERFACE, |flags| flags | IFF_UP)
}

fn set_default_route(socket: i32, gateway: Ipv4Addr) -> io::Result<()> {
    let any = socket_address(Ipv4Addr::UNSPECIFIED);
    // struct rtentry of 120 bytes: pad, destination at 8, gateway at 24, mask at 40, flags at 56.
    let mut route = [0u8; 120];
    route[8..24].copy_from_slice(&any);
    route[40..56].copy_from_slice(&any);
    route[56..58].copy_from_slice(&RTF_UP.to_ne_bytes());
    // A default route of before goes first; there may be none.
    let _ = sys::ioctl_bytes(socket, SIOCDELRT, &mut route);
    route[24..40].copy_from_slice(&socket_address(gateway));
    route[56..58].copy_from_slice(&(RTF_UP | RTF_GATEWAY).to_ne_bytes());
    match sys::ioctl_bytes(socket, SIOCADDRT, &mut route) {
        Err(error) if sys::errno_of(&error) == EEXIST => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(address: &str, gateway: &str, dns: &[&str]) -> Result<Option<Network>, Failure> {
        let mut tlvs =
            Tlvs::new().bytes(TAG_ADDRESS, address.as_bytes()).bytes(TAG_GATEWAY, gateway.as_bytes());
        for server in dns {
            tlvs = tlvs.bytes(TAG_DNS, server.as_bytes());
        }
        Network::parse(&Fields::parse(tlvs.as_slice())?)
    }

    #[test]
    fn networks_are_parsed() {
        let network = parse("10.0.2.15/24", "10.0.2.2", &["10.0.2.3"]).unwrap().unwrap();
        assert_eq!(network.mask, Ipv4Addr::new(255, 255, 255, 0));
        assert_eq!(parse("1.2.3.4/0", "1.1.1.1", &[]).unwrap().unwrap().mask, Ipv4Addr::UNSPECIFIED);
        for (address, gateway) in
            [("10.0.2.15", "1.1.1.1"), ("10.0.2.15/33", "1.1.1.1"), ("10.0.2.15/24", "x")]
        {
            assert!(parse(address, gateway, &[]).is_err());
        }
        assert!(parse("10.0.2.15/24", "1.1.1.1", &["::1"]).is_err());
    }

    #[test]
    fn hardware_addresses_are_checked() {
        assert_eq!(parse_mac("52:54:00:12:34:aB").unwrap(), [0x52, 0x54, 0, 0x12, 0x34, 0xab]);
        for wrong in [
            "",
            "52:54:00:12:34",
            "52:54:00:12:34:56:78",
            "52:54:0:12:34:56",
            "53:54:00:12:34:56",
            "00:00:00:00:00:00",
            "+1:54:00:12:34:56",
        ] {
            assert!(parse_mac(wrong).is_err(), "{wrong}");
        }
    }
}
