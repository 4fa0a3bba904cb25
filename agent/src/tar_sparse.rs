//! Where a sparse file has data, and the ways in which tars say it: GNU's old header with its extension blocks, and the
//! pax forms 0.0, 0.1 and 1.0 (GNU tar's manual, "Storing sparse files"). Written is 1.0.

use crate::sys;
use crate::tar_format::{number, padding, BLOCK};
use std::io;
use std::os::unix::io::RawFd;

/// More extents than that are not read. At 4 KiB each they would be of 4 GiB, and they take 16 MiB of memory.
const MAX_EXTENTS: usize = 1 << 20;
/// So many are written of one file at most; beyond, holes are written as zeros, the smallest first. They take 1 MiB.
const MAX_WRITTEN: usize = 1 << 16;
/// Digits of a number of a map, and its line's end.
const MAX_LINE: usize = 21;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    pub offset: u64,
    pub length: u64,
}

/// A file of `size` bytes with data in some places, in order and apart from each other, and zeros between them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SparseMap {
    pub size: u64,
    pub extents: Vec<Extent>,
}

impl SparseMap {
    /// A map that came from outside: within the file, in order, and of as many bytes as the tar stores.
    pub fn checked(size: u64, extents: Vec<Extent>, stored: u64) -> Result<SparseMap, &'static str> {
        if i64::try_from(size).is_err() {
            return Err("a sparse file is larger than files can be");
        }
        let mut end = 0;
        let mut sum = 0u64;
        for extent in &extents {
            let past = extent.offset.checked_add(extent.length).filter(|&past| past <= size);
            match past {
                Some(past) if extent.offset >= end => end = past,
                Some(_) => return Err("a sparse file's extents overlap or are out of order"),
                None => return Err("a sparse file has an extent beyond its end"),
            }
            // Cannot overflow: the extents lie side by side below `size`.
            sum += extent.length;
        }
        if sum != stored {
            return Err("a sparse file's extents and its data have different lengths");
        }
        Ok(SparseMap { size, extents })
    }

    /// Bytes of data.
    pub fn stored(&self) -> u64 {
        self.extents.iter().map(|extent| extent.length).sum()
    }

    /// The map as 1.0 has it before the data: decimal numbers, a line each, filled up to whole blocks.
    pub fn lines(&self) -> Vec<u8> {
        let mut out = format!("{}\n", self.extents.len()).into_bytes();
        for extent in &self.extents {
            out.extend(format!("{}\n{}\n", extent.offset, extent.length).bytes());
        }
        out.resize(out.len() + padding(out.len() as u64), 0);
        out
    }
}

/// Where an open file of `size` bytes has data, as far as its file system tells; `None`: it has no hole.
pub fn scan(fd: RawFd, size: u64) -> io::Result<Option<SparseMap>> {
    scan_within(fd, size, MAX_WRITTEN)
}

fn scan_within(fd: RawFd, size: u64, max: usize) -> io::Result<Option<SparseMap>> {
    let mut extents: Vec<Extent> = Vec::new();
    let mut smallest_hole = 0;
    let mut at = 0;
    while at < size {
        let from = match sys::seek_data(fd, at)? {
            Some(from) if from < size => from,
            _ => break,
        };
        at = sys::seek_hole(fd, from)?;
        // Readers begin every extent on a block of the tar, so all but the last must be whole blocks.
        let from = from - from % BLOCK as u64;
        let to = at.checked_add(padding(at) as u64).map_or(size, |to| to.min(size));
        add(&mut extents, from, to, smallest_hole);
        if extents.len() >= max {
            smallest_hole = merge_nearest(&mut extents, smallest_hole, max / 2);
        }
    }
    if matches!(extents[..], [Extent { offset: 0, length }] if length == size) {
        return Ok(None);
    }
    if extents.last().map_or(0, |last| last.offset + last.length) < size {
        // GNU tar makes a file as long as its last extent leads, whatever size is told besides.
        extents.push(Extent { offset: size, length: 0 });
    }
    Ok(Some(SparseMap { size, extents }))
}

/// Adds an extent to those before it, or makes the last one longer when the hole between is too small to count.
fn add(extents: &mut Vec<Extent>, from: u64, to: u64, smallest_hole: u64) {
    match extents.last_mut() {
        Some(last) if from.saturating_sub(last.offset + last.length) <= smallest_hole => {
            last.length = to.max(last.offset + last.length) - last.offset;
        }
        _ => extents.push(Extent { offset: from, length: to - from }),
    }
}

/// Leaves out small holes until `wanted` extents are left. Answers which holes are too small from now on.
fn merge_nearest(extents: &mut Vec<Extent>, mut smallest_hole: u64, wanted: usize) -> u64 {
    smallest_hole = smallest_hole.max(BLOCK as u64);
    while extents.len() > wanted {
        smallest_hole = smallest_hole.saturating_mul(2);
        let before = std::mem::take(extents);
        for Extent { offset, length } in before {
            add(extents, offset, offset + length, smallest_hole);
        }
    }
    smallest_hole
}

fn put(extents: &mut Vec<Extent>, extent: Extent) -> Result<(), &'static str> {
    if extents.len() >= MAX_EXTENTS {
        return Err("a sparse file has more than a million extents");
    }
    extents.push(extent);
    Ok(())
}

/// A decimal number without anything else.
fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// What pax records say of a sparse file; the map of 1.0 is not among them.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct SparseRecords {
    pub major: Option<u64>,
    pub minor: Option<u64>,
    pub name: Option<Vec<u8>>,
    size: Option<u64>,
    extents: Option<Vec<Extent>>,
    /// The first half of a pair of 0.0.
    offset: Option<u64>,
}

impl SparseRecords {
    /// Takes a record `GNU.sparse.KEY`.
    pub fn set(&mut self, key: &[u8], value: &[u8]) -> Result<(), &'static str> {
        let number = || decimal(value).ok_or("a number of a sparse file is no number");
        match key {
            b"major" => self.major = Some(number()?),
            b"minor" => self.minor = Some(number()?),
            b"name" => self.name = Some(value.to_vec()),
            b"size" | b"realsize" => self.size = Some(number()?),
            b"offset" => {
                if self.offset.replace(number()?).is_some() {
                    return Err("an extent of a sparse file has no length");
                }
            }
            b"numbytes" => {
                let offset = self.offset.take().ok_or("an extent of a sparse file has no offset")?;
                put(self.extents.get_or_insert_with(Vec::new), Extent { offset, length: number()? })?;
            }
            b"map" => {
                let mut extents = Vec::new();
                let mut numbers = value.split(|&byte| byte == b',').filter(|_| !value.is_empty());
                while let Some(offset) = numbers.next() {
                    let malformed = "a sparse file's map is malformed";
                    let offset = decimal(offset).ok_or(malformed)?;
                    let length = numbers.next().and_then(decimal).ok_or(malformed)?;
                    put(&mut extents, Extent { offset, length })?;
                }
                self.extents = Some(extents);
            }
            // How many there are is seen by counting.
            b"numblocks" => {
                number()?;
                self.extents.get_or_insert_with(Vec::new);
            }
            _ => return Err("a sparse file is of a form that is not known"),
        }
        Ok(())
    }

    /// Bytes of memory that it keeps, about.
    pub fn weight(&self) -> usize {
        self.name.as_ref().map_or(0, Vec::len) + self.extents.as_ref().map_or(0, |extents| extents.len() * 16)
    }

    pub fn layout(self) -> Result<Layout, &'static str> {
        if self.offset.is_some() {
            return Err("an extent of a sparse file has no length");
        }
        let size = self.size.ok_or("a sparse file has no size");
        match (self.major, self.minor, self.extents) {
            (Some(1), Some(0), None) => Ok(Layout::MapBeforeData { size: size? }),
            (None | Some(0), None | Some(0 | 1), Some(extents)) => Ok(Layout::Known { size: size?, extents }),
            // `GNU.sparse.size` alone, as some writers leave it on files without holes.
            (None, None, None) => Ok(Layout::Plain),
            _ => Err("a sparse file is of a form that is not known"),
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
pub enum Layout {
    Plain,
    Known {
        size: u64,
        extents: Vec<Extent>,
    },
    /// The entry's body begins with the map.
    MapBeforeData {
        size: u64,
    },
}

/// Reads the lines of a map of 1.0, byte by byte.
#[derive(Default)]
pub struct MapReader {
    line: Vec<u8>,
    left: Option<u64>,
    offset: Option<u64>,
    extents: Vec<Extent>,
}

impl MapReader {
    /// Takes the next byte; the extents once they are all there.
    pub fn take(&mut self, byte: u8) -> Result<Option<Vec<Extent>>, &'static str> {
        if byte != b'\n' {
            self.line.push(byte);
            return if self.line.len() < MAX_LINE {
                Ok(None)
            } else {
                Err("a sparse file's map is malformed")
            };
        }
        let value = decimal(&self.line).ok_or("a sparse file's map is malformed")?;
        self.line.clear();
        match (self.left, self.offset.take()) {
            (None, _) => self.left = Some(value),
            (Some(_), None) => self.offset = Some(value),
            (Some(left), Some(offset)) => {
                put(&mut self.extents, Extent { offset, length: value })?;
                self.left = Some(left - 1);
            }
        }
        Ok(match self.left {
            Some(0) => Some(std::mem::take(&mut self.extents)),
            _ => None,
        })
    }
}

/// The map of an old GNU header (type `S`): four extents in the header, and blocks of 21 more after it.
#[derive(Default)]
pub struct OldMap {
    extents: Vec<Extent>,
}

impl OldMap {
    /// Takes the extents of the header. True when a block of more follows.
    pub fn header(&mut self, block: &[u8; BLOCK]) -> Result<bool, &'static str> {
        self.pairs(&block[386..482])?;
        Ok(block[482] != 0)
    }

    /// Takes a block of more. True when yet another one follows.
    pub fn more(&mut self, block: &[u8; BLOCK]) -> Result<bool, &'static str> {
        self.pairs(&block[..504])?;
        Ok(block[504] != 0)
    }

    fn pairs(&mut self, fields: &[u8]) -> Result<(), &'static str> {
        for pair in fields.chunks_exact(24) {
            // The unused ones at the end are empty.
            if pair[12] == 0 {
                return Ok(());
            }
            let read = |field| number(field).ok_or("an extent of a sparse file is no number");
            put(&mut self.extents, Extent { offset: read(&pair[..12])?, length: read(&pair[12..])? })?;
        }
        Ok(())
    }

    pub fn extents(self) -> Vec<Extent> {
        self.extents
    }
}

/// The file's whole size, in an old GNU header.
pub fn old_size(block: &[u8; BLOCK]) -> Result<u64, &'static str> {
    number(&block[483..495]).ok_or("a sparse file's size is no number")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extents(pairs: &[(u64, u64)]) -> Vec<Extent> {
        pairs.iter().map(|&(offset, length)| Extent { offset, length }).collect()
    }

    #[test]
    fn a_map_that_cannot_be_is_refused() {
        let cases: &[(u64, &[(u64, u64)], u64)] = &[
            (100, &[(0, 101)], 101),
            (100, &[(101, 0)], 0),
            (100, &[(u64::MAX, 2)], 2),
            (u64::MAX, &[(u64::MAX, 0)], 0),
            (100, &[(0, 10), (9, 10)], 20),
            (100, &[(50, 10), (0, 10)], 20),
            (100, &[(0, 10)], 9),
            (100, &[(0, 10)], 11),
            (100, &[], 1),
        ];
        for (size, pairs, stored) in cases {
            assert!(SparseMap::checked(*size, extents(pairs), *stored).is_err(), "{size} {pairs:?} {stored}");
        }
        assert!(SparseMap::checked(100, extents(&[(0, 10), (10, 0), (90, 10), (100, 0)]), 20).is_ok());
    }

    #[test]
    fn a_file_with_very_many_extents_gets_a_map_that_is_short_and_covers_them_all() {
        use std::os::unix::fs::FileExt;
        use std::os::unix::io::AsRawFd;
        let name: String = sys::random_name_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        let path = std::env::temp_dir().join(format!("alcove-agent-test-{name}"));
        let file = std::fs::File::create(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let places: Vec<u64> = (0..200).map(|at| at * 16384 + at / 50 * (1 << 20)).collect();
        for &place in &places {
            file.write_all_at(b"data", place).unwrap();
        }
        let size = 8 << 20;
        file.set_len(size).unwrap();
        let exact = scan_within(file.as_raw_fd(), size, 1000).unwrap().unwrap();
        assert_eq!(exact.extents.len(), 201);
        assert_eq!(exact.extents[200], Extent { offset: size, length: 0 });
        assert_eq!(exact.stored(), 200 * 4096);
        let short = scan_within(file.as_raw_fd(), size, 50).unwrap().unwrap();
        assert!(short.extents.len() < 50);
        let holds = |place: u64| {
            short
                .extents
                .iter()
                .any(|extent| extent.offset <= place && place + 4 <= extent.offset + extent.length)
        };
        assert!(places.iter().all(|&place| holds(place)));
        // The four wide holes are still there.
        assert!(short.stored() < 5 << 20);
        SparseMap::checked(size, short.extents.clone(), short.stored()).unwrap();
    }

    #[test]
    fn the_lines_of_a_map_are_read_back() {
        let map = SparseMap { size: 1 << 40, extents: extents(&[(0, 512), (1 << 30, 4096), (1 << 40, 0)]) };
        let lines = map.lines();
        assert_eq!(lines.len() % BLOCK, 0);
        let mut reader = MapReader::default();
        let read = lines.iter().find_map(|&byte| reader.take(byte).unwrap());
        assert_eq!(read, Some(map.extents));
    }

    #[test]
    fn a_map_of_other_than_numbers_is_refused() {
        for lines in
            ["x\n", "\n", "1\n-1\n", "1\n+1\n1\n", "99999999999999999999999", "1\n99999999999999999999\n"]
        {
            let mut reader = MapReader::default();
            assert!(lines.bytes().any(|byte| reader.take(byte).is_err()), "{lines}");
        }
    }

    #[test]
    fn records_that_do_not_go_together_are_refused() {
        let cases: &[&[(&str, &str)]] = &[
            &[("major", "2"), ("minor", "0"), ("realsize", "5")],
            &[("major", "1"), ("minor", "0")],
            &[("major", "1"), ("minor", "0"), ("realsize", "5"), ("map", "0,5")],
            &[("size", "5"), ("offset", "0")],
            &[("size", "5"), ("numbytes", "0")],
            &[("size", "5"), ("offset", "0"), ("offset", "0")],
            &[("size", "5"), ("map", "0")],
            &[("size", "5"), ("map", "0,")],
            &[("size", "5"), ("map", "0,1,,")],
            &[("map", "0,1")],
            &[("size", "-5")],
            &[("strange", "5")],
        ];
        for case in cases {
            let mut records = SparseRecords::default();
            let set = case.iter().try_for_each(|(key, value)| records.set(key.as_bytes(), value.as_bytes()));
            assert!(set.and_then(|()| records.layout()).is_err(), "{case:?}");
        }
    }
}
