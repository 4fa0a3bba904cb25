//! Users and groups, by parsing `/etc/passwd` and `/etc/group` (the agent is static and has no NSS).

use crate::failure::{Failure, ENOENT};
use crate::sys;
use std::ffi::CStr;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    pub name: String,
    pub uid: u32,
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    pub home: String,
}

/// Finds accounts; keeps the last answer while neither file has changed, since most commands run as the same user.
#[derive(Default)]
pub struct Accounts {
    last: Option<(String, [Stamp; 2], Account)>,
}

type Stamp = Option<(u64, u64, i64)>;

impl Accounts {
    pub fn find(&mut self, spec: &str) -> Result<Account, Failure> {
        let stamps = [stamp(b"/etc/passwd\0"), stamp(b"/etc/group\0")];
        if let Some((known, at, account)) = &self.last {
            if known == spec && *at == stamps {
                return Ok(account.clone());
            }
        }
        let read = |path| std::fs::read(path).unwrap_or_default();
        let account = resolve(spec, &read("/etc/passwd"), &read("/etc/group"))?;
        self.last = Some((spec.to_string(), stamps, account.clone()));
        Ok(account)
    }
}

fn stamp(path: &'static [u8]) -> Stamp {
    let path = CStr::from_bytes_with_nul(path).ok()?;
    let stat = sys::stat(path).ok()?;
    Some((stat.ino, stat.size, stat.mtime_ns()))
}

/// `name`, `uid`, `name:group` or `uid:gid`. A name goes before a number; a number needs no entry.
pub fn resolve(spec: &str, passwd: &[u8], group: &[u8]) -> Result<Account, Failure> {
    let (user, wanted_group) = match spec.find(':') {
        Some(at) => (&spec[..at], Some(&spec[at + 1..])),
        None => (spec, None),
    };
    if user.is_empty() || wanted_group == Some("") {
        return Err(Failure::invalid("USER is neither a name, a number nor a pair of them"));
    }
    let number = user.parse::<u32>().ok();
    let entry = find_user(passwd, |name, _| name == user)
        .or_else(|| number.and_then(|number| find_user(passwd, |_, uid| uid == number)));
    let mut account = match (entry, number) {
        (Some(account), _) => account,
        (None, Some(uid)) => {
            Account { name: user.to_string(), uid, gid: 0, groups: Vec::new(), home: "/".into() }
        }
        // Every image has a root, whatever its files say.
        (None, None) if user == "root" => {
            Account { name: "root".into(), uid: 0, gid: 0, groups: Vec::new(), home: "/".into() }
        }
        (None, None) => return Err(unknown("user", user)),
    };
    match wanted_group {
        Some(wanted) => {
            let by_name = groups(group).find(|(name, _, _)| *name == wanted).map(|(_, gid, _)| gid);
            account.gid = by_name.or_else(|| wanted.parse().ok()).ok_or_else(|| unknown("group", wanted))?;
        }
        None => {
            let is_member = |members: &str| members.split(',').any(|member| member == account.name);
            let found = groups(group).filter(|(_, _, members)| is_member(members)).map(|(_, gid, _)| gid);
            account.groups = found.collect();
            if !account.groups.is_empty() && !account.groups.contains(&account.gid) {
                account.groups.insert(0, account.gid);
            }
        }
    }
    Ok(account)
}

fn unknown(what: &str, name: &str) -> Failure {
    let message = format!("no {what} {name:?} in the guest");
    Failure::with_errno("CommandNotStarted", message, ENOENT)
}

fn lines(bytes: &[u8]) -> impl Iterator<Item = &str> {
    bytes.split(|&byte| byte == b'\n').filter_map(|line| std::str::from_utf8(line).ok())
}

fn find_user(passwd: &[u8], fits: impl Fn(&str, u32) -> bool) -> Option<Account> {
    lines(passwd).find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let (uid, gid) = (fields.get(2)?.parse().ok()?, fields.get(3)?.parse().ok()?);
        if !fits(fields[0], uid) {
            return None;
        }
        let home = fields.get(5).filter(|home| home.starts_with('/')).unwrap_or(&"/").to_string();
        Some(Account { name: fields[0].to_string(), uid, gid, groups: Vec::new(), home })
    })
}

fn groups(group: &[u8]) -> impl Iterator<Item = (&str, u32, &str)> {
    lines(group).filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let gid = fields.nth(1)?.parse().ok()?;
        Some((name, gid, fields.next().unwrap_or("")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &[u8] =
        b"root:x:0:0:root:/root:/bin/sh\nbroken\nada:x:1000:1000::/home/ada:/bin/sh\n12:x:77:77::/x:\n";
    const GROUP: &[u8] = b"root:x:0:\nada:x:1000:\nwheel:x:10:root,ada\ndocker:x:998:bob,ada\n";

    fn ids(spec: &str) -> (u32, u32, Vec<u32>) {
        let account = resolve(spec, PASSWD, GROUP).unwrap();
        (account.uid, account.gid, account.groups)
    }

    #[test]
    fn users_are_found_by_name_number_and_pair() {
        assert_eq!(ids("ada"), (1000, 1000, vec![1000, 10, 998]));
        assert_eq!(ids("1000"), (1000, 1000, vec![1000, 10, 998]));
        assert_eq!(ids("ada:wheel"), (1000, 10, vec![]));
        assert_eq!(ids("4242:43"), (4242, 43, vec![]));
        assert_eq!(ids("4242"), (4242, 0, vec![]));
        assert_eq!(ids("12").0, 77);
        assert_eq!(resolve("root", b"", b"").unwrap().home, "/");
        assert_eq!(resolve("ada", PASSWD, GROUP).unwrap().home, "/home/ada");
    }

    #[test]
    fn unknown_names_are_errors() {
        for spec in ["bob", "ada:nogroup", "nobody:0"] {
            assert_eq!(resolve(spec, PASSWD, GROUP).unwrap_err().code, "CommandNotStarted");
        }
        for spec in ["", ":", "ada:", ":10"] {
            assert_eq!(resolve(spec, PASSWD, GROUP).unwrap_err().code, "InvalidInput");
        }
    }
}
