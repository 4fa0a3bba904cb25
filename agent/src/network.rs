//! The guest's network: loopback, and `eth0` with what the host says. By ioctl, since no image need have `ip`.

use crate::failure::{Failure, EEXIST};
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
const IFF_UP: u16 = 1;
const RTF_UP: u16 = 1;
const RTF_GATEWAY: u16 = 2;

pub fn set_network(guest: &Guest, _: &Link, fields: &Fields) -> Result<Tlvs, Failure> {
    let network = Network::parse(fields)?.ok_or_else(|| Failure::invalid("ADDRESS is missing"))?;
    if guest.is_vm() {
        network.apply()?;
    }
    Ok(Tlvs::new())
}

#[derive(Debug, PartialEq, Eq)]
pub struct Network {
    address: Ipv4Addr,
    mask: Ipv4Addr,
    gateway: Ipv4Addr,
    dns: Vec<Ipv4Addr>,
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
        Ok(Some(Network { address, mask: mask.into(), gateway, dns: dns.collect::<Result<_, _>>()? }))
    }

    pub fn apply(&self) -> Result<(), Failure> {
        let failed = |error| Failure::system("Internal", "cannot set up eth0", &error);
        set_interface("eth0", self.address, self.mask).map_err(failed)?;
        set_default_route(self.gateway).map_err(failed)?;
        let lines: String = self.dns.iter().map(|server| format!("nameserver {server}\n")).collect();
        let failed = |error| Failure::system("Internal", "cannot write /etc/resolv.conf", &error);
        replace("/etc/resolv.conf", &lines).map_err(failed)
    }
}

pub fn bring_up_loopback() -> io::Result<()> {
    let socket = sys::socket(sys::AF_INET, sys::SOCK_DGRAM)?;
    bring_up(socket.as_raw_fd(), "lo")
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

fn bring_up(socket: i32, name: &str) -> io::Result<()> {
    let mut flags = request(name, &[]);
    sys::ioctl_bytes(socket, SIOCGIFFLAGS, &mut flags)?;
    let now = u16::from_ne_bytes([flags[16], flags[17]]) | IFF_UP;
    sys::ioctl_bytes(socket, SIOCSIFFLAGS, &mut request(name, &now.to_ne_bytes()))
}

fn set_interface(name: &str, address: Ipv4Addr, mask: Ipv4Addr) -> io::Result<()> {
    let socket = sys::socket(sys::AF_INET, sys::SOCK_DGRAM)?;
    let fd = socket.as_raw_fd();
    sys::ioctl_bytes(fd, SIOCSIFADDR, &mut request(name, &socket_address(address)))?;
    sys::ioctl_bytes(fd, SIOCSIFNETMASK, &mut request(name, &socket_address(mask)))?;
    bring_up(fd, name)
}

fn set_default_route(gateway: Ipv4Addr) -> io::Result<()> {
    let socket = sys::socket(sys::AF_INET, sys::SOCK_DGRAM)?;
    let any = socket_address(Ipv4Addr::UNSPECIFIED);
    // struct rtentry of 120 bytes: pad, destination at 8, gateway at 24, mask at 40, flags at 56.
    let mut route = [0u8; 120];
    route[8..24].copy_from_slice(&any);
    route[40..56].copy_from_slice(&any);
    route[56..58].copy_from_slice(&RTF_UP.to_ne_bytes());
    // A default route of before goes first; there may be none.
    let _ = sys::ioctl_bytes(socket.as_raw_fd(), SIOCDELRT, &mut route);
    route[24..40].copy_from_slice(&socket_address(gateway));
    route[56..58].copy_from_slice(&(RTF_UP | RTF_GATEWAY).to_ne_bytes());
    match sys::ioctl_bytes(socket.as_raw_fd(), SIOCADDRT, &mut route) {
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
}
