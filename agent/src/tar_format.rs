//! The bytes of a tar: ustar headers with pax records (written and read) and GNU's long names (read).

use crate::sys::TimeSpec;
use crate::tar_sparse::{SparseMap, SparseRecords};

pub const BLOCK: usize = 512;

pub const TYPE_FILE: u8 = b'0';
pub const TYPE_HARD_LINK: u8 = b'1';
pub const TYPE_SYMLINK: u8 = b'2';
pub const TYPE_CHAR: u8 = b'3';
pub const TYPE_BLOCK: u8 = b'4';
pub const TYPE_DIRECTORY: u8 = b'5';
pub const TYPE_FIFO: u8 = b'6';
pub const TYPE_PAX: u8 = b'x';
pub const TYPE_PAX_GLOBAL: u8 = b'g';
pub const TYPE_GNU_LONG_NAME: u8 = b'L';
pub const TYPE_GNU_LONG_LINK: u8 = b'K';
pub const TYPE_GNU_SPARSE: u8 = b'S';
/// `tar --label`.
pub const TYPE_GNU_LABEL: u8 = b'V';

const XATTR: &[u8] = b"SCHILY.xattr.";
const SPARSE: &[u8] = b"GNU.sparse.";

/// One entry, whichever dialect it came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub kind: u8,
    pub name: Vec<u8>,
    /// Target of a symlink, or the name that a hard link is to.
    pub link: Vec<u8>,
    pub mode: u32,
    pub uid: u64,
    pub gid: u64,
    /// Of the body: for a sparse file, of its data.
    pub size: u64,
    pub mtime: TimeSpec,
    pub major: u32,
    pub minor: u32,
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Where the body goes; `None`: it is the whole file.
    pub sparse: Option<SparseMap>,
}

impl Entry {
    pub fn has_data(&self) -> bool {
        !matches!(
            self.kind,
            TYPE_HARD_LINK | TYPE_SYMLINK | TYPE_CHAR | TYPE_BLOCK | TYPE_DIRECTORY | TYPE_FIFO
        )
    }
}

/// Bytes that fill the last block of a body.
pub fn padding(size: u64) -> usize {
    ((BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64) as usize
}

fn text(field: &[u8]) -> Vec<u8> {
    field.split(|&byte| byte == 0).next().unwrap_or(&[]).to_vec()
}

/// Octal in ASCII, or (GNU) big-endian binary with the highest bit set.
pub fn number(field: &[u8]) -> Option<u64> {
    if field.first().map_or(false, |byte| byte & 0x80 != 0) {
        let negative = field[0] & 0x40 != 0;
        let mut bytes = field.iter().enumerate().map(|(at, &byte)| if at == 0 { byte & 0x7f } else { byte });
        let sum = bytes.try_fold(0u64, |sum, byte| Some(sum.checked_mul(256)? | u64::from(byte)));
        return sum.filter(|_| !negative);
    }
    let trimmed: Vec<u8> = field.iter().copied().skip_while(|&byte| byte == b' ').collect();
    let digits: Vec<u8> = trimmed.into_iter().take_while(|byte| !matches!(byte, 0 | b' ')).collect();
    digits.iter().try_fold(0u64, |sum, &digit| match digit {
        b'0'..=b'7' => sum.checked_mul(8)?.checked_add(u64::from(digit - b'0')),
        _ => None,
    })
}

/// As [`number`], and negative where binary says so.
fn time(field: &[u8]) -> Option<i64> {
    if field.first() != Some(&0xff) {
        return i64::try_from(number(field)?).ok();
    }
    let (high, low) = field.split_at(field.len().saturating_sub(8));
    let low: [u8; 8] = low.try_into().ok()?;
    let value = i64::from_be_bytes(low);
    (value < 0 && high.iter().all(|&byte| byte == 0xff)).then_some(value)
}

/// Reads a header block. `Ok(None)` for a block of zeros.
pub fn parse_header(block: &[u8; BLOCK]) -> Result<Option<Entry>, &'static str> {
    if block.iter().all(|&byte| byte == 0) {
        return Ok(None);
    }
    let counts = |at: usize| !(148..156).contains(&at);
    let sum = |value: fn(u8) -> i64| -> i64 {
        block.iter().enumerate().map(|(at, &byte)| value(if counts(at) { byte } else { b' ' })).sum()
    };
    let wanted = number(&block[148..156]).ok_or("a header's checksum is no number")? as i64;
    // Some old tars summed signed bytes.
    if wanted != sum(i64::from) && wanted != sum(|byte| i64::from(byte as i8)) {
        return Err("a header's checksum is wrong");
    }
    let field = |from: usize, to: usize| number(&block[from..to]);
    let ustar = &block[257..262] == b"ustar";
    let posix = ustar && block[262] == 0;
    let mut name = text(&block[..100]);
    if posix {
        let prefix = text(&block[345..500]);
        if !prefix.is_empty() {
            name = [&prefix[..], b"/", &name].concat();
        }
    }
    let mut kind = block[156];
    if kind == 0 || kind == b'7' {
        kind = TYPE_FILE;
    }
    let device = |from, to| if ustar { field(from, to).unwrap_or(0) as u32 } else { 0 };
    Ok(Some(Entry {
        kind,
        name,
        link: text(&block[157..257]),
        mode: field(100, 108).ok_or("a header's mode is no number")? as u32 & 0o7777,
        uid: field(108, 116).ok_or("a header's owner is no number")?,
        gid: field(116, 124).ok_or("a header's group is no number")?,
        size: field(124, 136).ok_or("a header's size is no number")?,
        mtime: TimeSpec { seconds: time(&block[136..148]).unwrap_or(0), nanoseconds: 0 },
        major: device(329, 337),
        minor: device(337, 345),
        xattrs: Vec::new(),
        sparse: None,
    }))
}

/// What pax records say of the entries that follow.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Pax {
    pub path: Option<Vec<u8>>,
    pub linkpath: Option<Vec<u8>>,
    pub size: Option<u64>,
    pub uid: Option<u64>,
    pub gid: Option<u64>,
    pub mtime: Option<TimeSpec>,
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub sparse: Option<SparseRecords>,
}

impl Pax {
    /// Adds the records of a pax header's body.
    pub fn add(&mut self, mut body: &[u8]) -> Result<(), &'static str> {
        let malformed = "a pax record is malformed";
        while !body.is_empty() {
            // Some writers fill the body up with zeros.
            if body[0] == 0 {
                return Ok(());
            }
            let space = body.iter().take(20).position(|&byte| byte == b' ').ok_or(malformed)?;
            let length: usize = ascii(&body[..space]).ok_or(malformed)?;
            if length <= space + 1 || length > body.len() || body[length - 1] != b'\n' {
                return Err(malformed);
            }
            let record = &body[space + 1..length - 1];
            let equals = record.iter().position(|&byte| byte == b'=').ok_or(malformed)?;
            self.set(&record[..equals], &record[equals + 1..])?;
            body = &body[length..];
        }
        Ok(())
    }

    fn set(&mut self, key: &[u8], value: &[u8]) -> Result<(), &'static str> {
        if let Some(key) = key.strip_prefix(SPARSE) {
            return self.sparse.get_or_insert_with(SparseRecords::default).set(key, value);
        }
        if let Some(name) = key.strip_prefix(XATTR) {
            self.xattrs.push((decoded(name), value.to_vec()));
            return Ok(());
        }
        if value.is_empty() {
            // Takes back what an earlier header said.
            match key {
                b"path" => self.path = None,
                b"linkpath" => self.linkpath = None,
                b"size" => self.size = None,
                b"uid" => self.uid = None,
                b"gid" => self.gid = None,
                b"mtime" => self.mtime = None,
                _ => {}
            }
            return Ok(());
        }
        let number = || ascii(value).ok_or("a pax record is no number");
        match key {
            b"path" => self.path = Some(value.to_vec()),
            b"linkpath" => self.linkpath = Some(value.to_vec()),
            b"size" => self.size = Some(number()?),
            b"uid" => self.uid = Some(number()?),
            b"gid" => self.gid = Some(number()?),
            b"mtime" => self.mtime = Some(parse_time(value).ok_or("a pax time is no number")?),
            _ => {}
        }
        Ok(())
    }

    /// Bytes of memory that it keeps, about.
    pub fn weight(&self) -> usize {
        let paths = [&self.path, &self.linkpath].into_iter().flatten().map(Vec::len).sum::<usize>();
        let sparse = self.sparse.as_ref().map_or(0, SparseRecords::weight);
        paths + sparse + self.xattrs.iter().map(|(name, value)| name.len() + value.len() + 64).sum::<usize>()
    }

    /// All but what it says of a sparse file's map.
    pub fn apply(self, entry: &mut Entry) {
        if let Some(path) = self.path {
            entry.name = path;
        }
        if let Some(link) = self.linkpath {
            entry.link = link;
        }
        entry.size = self.size.unwrap_or(entry.size);
        entry.uid = self.uid.unwrap_or(entry.uid);
        entry.gid = self.gid.unwrap_or(entry.gid);
        entry.mtime = self.mtime.unwrap_or(entry.mtime);
        entry.xattrs.extend(self.xattrs);
    }
}

/// The name of an attribute as GNU tar has it in a record's key, where `=` would end the key.
fn encoded(name: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len());
    for &byte in name {
        match byte {
            b'=' => out.extend_from_slice(b"%3D"),
            b'%' => out.extend_from_slice(b"%25"),
            _ => out.push(byte),
        }
    }
    out
}

fn decoded(mut key: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(key.len());
    while let Some((&byte, rest)) = key.split_first() {
        let (byte, length) = match key.get(..3) {
            Some(b"%3D") => (b'=', 3),
            Some(b"%25") => (b'%', 3),
            _ => (byte, key.len() - rest.len()),
        };
        out.push(byte);
        key = &key[length..];
    }
    out
}

fn ascii<T: std::str::FromStr>(bytes: &[u8]) -> Option<T> {
    std::str::from_utf8(bytes).ok()?.parse().ok()
}

/// `1234.5678`, perhaps negative.
fn parse_time(value: &[u8]) -> Option<TimeSpec> {
    let value = std::str::from_utf8(value).ok()?;
    let (negative, value) = match value.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, value),
    };
    let (whole, fraction) = value.split_once('.').unwrap_or((value, ""));
    let seconds: i64 = whole.parse().ok().filter(|seconds| *seconds >= 0)?;
    let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    let nanoseconds: i64 = digits.parse().ok().filter(|nanoseconds| *nanoseconds >= 0)?;
    Some(match (negative, nanoseconds) {
        (false, _) => TimeSpec { seconds, nanoseconds },
        (true, 0) => TimeSpec { seconds: -seconds, nanoseconds },
        (true, _) => TimeSpec { seconds: -seconds - 1, nanoseconds: 1_000_000_000 - nanoseconds },
    })
}

fn format_time(time: TimeSpec) -> String {
    match (time.seconds, time.nanoseconds) {
        (seconds, 0) => format!("{seconds}"),
        (seconds, nanoseconds) if seconds >= 0 => format!("{seconds}.{nanoseconds:09}"),
        (seconds, nanoseconds) => format!("-{}.{:09}", -(seconds + 1), 1_000_000_000 - nanoseconds),
    }
}

/// `LENGTH KEY=VALUE\n`, where the length counts itself.
fn record(out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    out.extend(length.to_string().bytes());
    out.push(b' ');
    out.extend_from_slice(key);
    out.push(b'=');
    out.extend_from_slice(value);
    out.push(b'\n');
}

const MAX_OCTAL_ID: u64 = 0o7_777_777;
const MAX_OCTAL_SIZE: u64 = 0o77_777_777_777;

/// The header of an entry, with a pax header before it where ustar cannot say it.
pub fn write_header(out: &mut Vec<u8>, entry: &Entry) {
    let mut pax = Vec::new();
    let strings = [(&b"path"[..], &entry.name), (b"linkpath", &entry.link)];
    let odd = |value: &[u8]| std::str::from_utf8(value).is_err();
    if strings.iter().any(|(_, value)| value.len() > 100 && odd(value)) {
        record(&mut pax, b"hdrcharset", b"BINARY");
    }
    for (key, value) in strings {
        if value.len() > 100 {
            record(&mut pax, key, value);
        }
    }
    let numbers = [
        (&b"size"[..], entry.size, MAX_OCTAL_SIZE),
        (b"uid", entry.uid, MAX_OCTAL_ID),
        (b"gid", entry.gid, MAX_OCTAL_ID),
    ];
    for (key, value, max) in numbers {
        if value > max {
            record(&mut pax, key, value.to_string().as_bytes());
        }
    }
    let plain_time =
        entry.mtime.nanoseconds == 0 && (0..=MAX_OCTAL_SIZE as i64).contains(&entry.mtime.seconds);
    if !plain_time {
        record(&mut pax, b"mtime", format_time(entry.mtime).as_bytes());
    }
    for (name, value) in &entry.xattrs {
        record(&mut pax, &[XATTR, &encoded(name)].concat(), value);
    }
    if let Some(map) = &entry.sparse {
        record(&mut pax, b"GNU.sparse.major", b"1");
        record(&mut pax, b"GNU.sparse.minor", b"0");
        record(&mut pax, b"GNU.sparse.name", &entry.name);
        record(&mut pax, b"GNU.sparse.realsize", map.size.to_string().as_bytes());
    }
    if !pax.is_empty() {
        let header = Entry {
            kind: TYPE_PAX,
            name: b"././@PaxHeader".to_vec(),
            link: Vec::new(),
            mode: 0o644,
            uid: 0,
            gid: 0,
            size: pax.len() as u64,
            mtime: TimeSpec { seconds: 0, nanoseconds: 0 },
            major: 0,
            minor: 0,
            xattrs: Vec::new(),
            sparse: None,
        };
        block(out, &header.name, &header);
        out.extend_from_slice(&pax);
        out.resize(out.len() + padding(pax.len() as u64), 0);
    }
    match &entry.sparse {
        // What knows nothing of sparse files unpacks map and data under a name that is nobody's.
        Some(_) => block(out, &aside(&entry.name), entry),
        None => block(out, &entry.name, entry),
    }
}

/// The name of a sparse file's body, as GNU tar forms it.
fn aside(name: &[u8]) -> Vec<u8> {
    let at = name.iter().rposition(|&byte| byte == b'/').map_or(0, |at| at + 1);
    [&name[..at], b"GNUSparseFile.0/", &name[at..]].concat()
}

fn block(out: &mut Vec<u8>, name: &[u8], entry: &Entry) {
    let mut block = [0u8; BLOCK];
    let mut put = |at: usize, value: &[u8], room: usize| {
        let length = value.len().min(room);
        block[at..at + length].copy_from_slice(&value[..length]);
    };
    let within = |value: u64, max: u64| if value > max { 0 } else { value };
    put(0, name, 100);
    put(100, format!("{:07o}", entry.mode & 0o7777).as_bytes(), 8);
    put(108, format!("{:07o}", within(entry.uid, MAX_OCTAL_ID)).as_bytes(), 8);
    put(116, format!("{:07o}", within(entry.gid, MAX_OCTAL_ID)).as_bytes(), 8);
    put(124, format!("{:011o}", within(entry.size, MAX_OCTAL_SIZE)).as_bytes(), 12);
    let mtime = within(u64::try_from(entry.mtime.seconds).unwrap_or(0), MAX_OCTAL_SIZE);
    put(136, format!("{mtime:011o}").as_bytes(), 12);
    put(148, b"        ", 8);
    put(156, &[entry.kind], 1);
    put(157, &entry.link, 100);
    put(257, b"ustar\x0000", 8);
    if matches!(entry.kind, TYPE_CHAR | TYPE_BLOCK) {
        put(329, format!("{:07o}", within(u64::from(entry.major), MAX_OCTAL_ID)).as_bytes(), 8);
        put(337, format!("{:07o}", within(u64::from(entry.minor), MAX_OCTAL_ID)).as_bytes(), 8);
    }
    let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    out.extend_from_slice(&block);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> Entry {
        Entry {
            kind: TYPE_FILE,
            name: b"a/b".to_vec(),
            link: Vec::new(),
            mode: 0o4755,
            uid: 1000,
            gid: 5,
            size: 77,
            mtime: TimeSpec { seconds: 1_700_000_000, nanoseconds: 0 },
            major: 0,
            minor: 0,
            xattrs: Vec::new(),
            sparse: None,
        }
    }

    fn read_back(bytes: &[u8]) -> Entry {
        let header = |at: usize| {
            let block: &[u8; BLOCK] = bytes[at..at + BLOCK].try_into().unwrap();
            parse_header(block).unwrap().unwrap()
        };
        let mut first = header(0);
        if first.kind == TYPE_PAX {
            let mut pax = Pax::default();
            let size = first.size as usize;
            pax.add(&bytes[BLOCK..BLOCK + size]).unwrap();
            first = header(BLOCK + size + padding(size as u64));
            pax.apply(&mut first);
        }
        first
    }

    #[test]
    fn what_is_written_is_read_back() {
        let cases = [
            entry(),
            Entry { name: vec![b'n'; 300], link: vec![b'l'; 101], kind: TYPE_SYMLINK, ..entry() },
            Entry { uid: 1 << 31, gid: 1 << 30, size: 9 << 33, ..entry() },
            Entry { mtime: TimeSpec { seconds: -2, nanoseconds: 500_000_000 }, ..entry() },
            Entry { mtime: TimeSpec { seconds: 5, nanoseconds: 1 }, ..entry() },
            Entry { xattrs: vec![(b"user.x".to_vec(), b"\0=\n\xff".to_vec())], ..entry() },
            Entry { xattrs: vec![(b"user.=%3D%".to_vec(), b"".to_vec())], ..entry() },
            Entry { kind: TYPE_CHAR, major: 5, minor: 1, ..entry() },
            Entry { name: [vec![0xff; 120], b"/x".to_vec()].concat(), ..entry() },
        ];
        for case in cases {
            let mut out = Vec::new();
            write_header(&mut out, &case);
            assert_eq!(out.len() % BLOCK, 0);
            assert_eq!(read_back(&out), case);
        }
    }

    #[test]
    fn numbers_come_in_octal_and_in_binary() {
        assert_eq!(number(b"0000644\0"), Some(0o644));
        assert_eq!(number(b"  644 \0\0"), Some(0o644));
        assert_eq!(number(b"\x80\0\0\0\0\0\0\0\0\0\x01\x02"), Some(258));
        assert_eq!(number(b"\x80\0\0\0\xb2\xd0\x5e\0"), Some(3_000_000_000));
        assert_eq!(number(b"\x80\0\0\x01\0\0\0\0\0\0\0\0"), None);
        assert_eq!(number(b"\xff\xff\xff\xff\xff\xff\xff\xff"), None);
        assert_eq!(number(b"9"), None);
        assert_eq!(number(b"7777777777777777777777777"), None);
    }

    #[test]
    fn times_before_the_epoch_come_in_binary() {
        assert_eq!(time(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe"), Some(-2));
        assert_eq!(time(b"\xff\xff\xff\xff\x7f\xff\xff\xff\xff\xff\xff\xfe"), None);
        assert_eq!(time(b"00000000010\0"), Some(8));
    }

    #[test]
    fn an_empty_pax_record_takes_an_earlier_one_back() {
        let mut pax = Pax::default();
        pax.add(b"12 path=abc\n8 uid=7\n").unwrap();
        pax.add(b"8 path=\n7 uid=\n").unwrap();
        assert_eq!(pax, Pax::default());
    }

    #[test]
    fn malformed_pax_records_are_refused() {
        for body in [&b"5 a=b\n"[..], b"999 a=b\n", b"x a=b\n", b"6 abc\n", b"3 \n", b"12 size=abc\n"] {
            assert!(Pax::default().add(body).is_err(), "{body:?}");
        }
        assert!(Pax::default().add(b"6 a=b\n\0\0\0").is_ok());
    }

    #[test]
    fn a_damaged_header_is_refused() {
        let mut out = Vec::new();
        write_header(&mut out, &entry());
        out[3] ^= 1;
        let block: &[u8; BLOCK] = out[..BLOCK].try_into().unwrap();
        assert!(parse_header(block).is_err());
    }
}
