//! Takes a tar stream apart into entries and their bytes, with bounded memory.

use crate::failure::Failure;
use crate::link::Link;
use crate::tar_format::*;
use crate::tar_sparse::{old_size, Extent, Layout, MapReader, OldMap, SparseMap, SparseRecords};

/// Pax headers and long names beyond this are refused.
/// A sparse map of the form 0.1 of 100,000 extents is within that.
const MAX_EXTENSION: u64 = 4 << 20;

/// Where a tar comes from, in pieces of any size.
pub trait Source {
    fn receive(&mut self) -> Result<Option<Vec<u8>>, Failure>;
}

impl Source for &Link {
    fn receive(&mut self) -> Result<Option<Vec<u8>>, Failure> {
        Link::receive(self)
    }
}

pub struct TarReader<S: Source> {
    source: S,
    piece: Vec<u8>,
    at: usize,
    /// Bytes of the current entry's body that were not read yet, and its padding.
    left: u64,
    padding: usize,
    global: Pax,
}

/// A sparse file's map as a tar says it.
struct Unchecked {
    size: u64,
    extents: Vec<Extent>,
}

impl Unchecked {
    fn checked(self, stored: u64) -> Result<SparseMap, Failure> {
        SparseMap::checked(self.size, self.extents, stored).map_err(malformed)
    }
}

fn malformed(why: &str) -> Failure {
    Failure::invalid(format!("the tar is malformed: {why}"))
}

impl<S: Source> TarReader<S> {
    pub fn new(source: S) -> Self {
        TarReader { source, piece: Vec::new(), at: 0, left: 0, padding: 0, global: Pax::default() }
    }

    /// What is there of the stream, at least one byte; empty at its end.
    fn available(&mut self) -> Result<&[u8], Failure> {
        while self.at == self.piece.len() {
            match self.source.receive()? {
                Some(piece) => {
                    self.piece = piece;
                    self.at = 0;
                }
                None => return Ok(&[]),
            }
        }
        Ok(&self.piece[self.at..])
    }

    /// Fills `out`. False when the stream ended before its first byte.
    fn fill(&mut self, out: &mut [u8]) -> Result<bool, Failure> {
        let mut done = 0;
        while done < out.len() {
            let available = self.available()?;
            if available.is_empty() {
                return if done == 0 { Ok(false) } else { Err(malformed("it ends within a header")) };
            }
            let count = available.len().min(out.len() - done);
            out[done..done + count].copy_from_slice(&available[..count]);
            self.at += count;
            done += count;
        }
        Ok(true)
    }

    /// The next piece of the current entry's body; `None` at its end.
    pub fn body(&mut self) -> Result<Option<&[u8]>, Failure> {
        if self.left == 0 {
            return Ok(None);
        }
        let left = self.left;
        let count = (self.available()?.len() as u64).min(left) as usize;
        if count == 0 {
            return Err(malformed("it ends within a file"));
        }
        self.left -= count as u64;
        let from = self.at;
        self.at += count;
        Ok(Some(&self.piece[from..from + count]))
    }

    fn skip_body(&mut self) -> Result<(), Failure> {
        while self.body()?.is_some() {}
        let mut rest = [0u8; BLOCK];
        let padding = std::mem::take(&mut self.padding);
        // The very last padding may be missing.
        self.fill(&mut rest[..padding])?;
        Ok(())
    }

    fn extension(&mut self, entry: &Entry) -> Result<Vec<u8>, Failure> {
        if entry.size > MAX_EXTENSION {
            return Err(malformed("an extended header is longer than 4 MiB"));
        }
        let mut body = Vec::with_capacity(entry.size as usize);
        while let Some(piece) = self.body()? {
            body.extend_from_slice(piece);
        }
        Ok(body)
    }

    /// The next entry; `None` at the end of the tar. What was not read of the body before is passed over.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, Failure> {
        let mut pax = self.global.clone();
        let mut long_name = None;
        let mut long_link = None;
        loop {
            self.skip_body()?;
            let mut block = [0u8; BLOCK];
            if !self.fill(&mut block)? {
                return Ok(None);
            }
            let mut entry = match parse_header(&block).map_err(malformed)? {
                Some(entry) => entry,
                None => {
                    // The end; what follows is fill.
                    while !self.available()?.is_empty() {
                        self.at = self.piece.len();
                    }
                    return Ok(None);
                }
            };
            let is_extension = matches!(
                entry.kind,
                TYPE_PAX | TYPE_PAX_GLOBAL | TYPE_GNU_LONG_NAME | TYPE_GNU_LONG_LINK | TYPE_GNU_LABEL
            );
            if is_extension {
                self.left = entry.size;
                self.padding = padding(entry.size);
                let body = self.extension(&entry)?;
                let name = || body.split(|&byte| byte == 0).next().unwrap_or(&[]).to_vec();
                match entry.kind {
                    TYPE_PAX => pax.add(&body).map_err(malformed)?,
                    TYPE_PAX_GLOBAL => {
                        self.global.add(&body).map_err(malformed)?;
                        pax.add(&body).map_err(malformed)?;
                    }
                    TYPE_GNU_LONG_NAME => long_name = Some(name()),
                    TYPE_GNU_LABEL => {}
                    _ => long_link = Some(name()),
                }
                // Each alone is short enough; there may be any number of them.
                if self.global.weight().max(pax.weight()) > MAX_EXTENSION as usize {
                    return Err(malformed("its extended headers are longer than 4 MiB"));
                }
                continue;
            }
            if let Some(name) = long_name.take() {
                entry.name = name;
            }
            if let Some(link) = long_link.take() {
                entry.link = link;
            }
            let sparse = pax.sparse.take();
            if let Some(name) = sparse.as_ref().and_then(|sparse| sparse.name.clone()) {
                pax.path = Some(name);
            }
            pax.apply(&mut entry);
            if !entry.has_data() {
                entry.size = 0;
            }
            // As the oldest tars say it. Only now: a header's own name may be the cut beginning of a long one.
            if entry.kind == TYPE_FILE && entry.name.last() == Some(&b'/') {
                entry.kind = TYPE_DIRECTORY;
            }
            let old = match entry.kind {
                TYPE_GNU_SPARSE => Some(self.old_map(&block)?),
                _ => None,
            };
            self.left = entry.size;
            self.padding = padding(entry.size);
            entry.sparse = match (old, sparse) {
                (Some(map), _) => Some(map.checked(entry.size)?),
                (None, Some(records)) if entry.kind == TYPE_FILE => self.pax_map(records)?,
                _ => None,
            };
            if entry.sparse.is_some() {
                entry.kind = TYPE_FILE;
            }
            entry.size = self.left;
            return Ok(Some(entry));
        }
    }

    /// The map that begins in an old GNU header and goes on in blocks after it.
    fn old_map(&mut self, header: &[u8; BLOCK]) -> Result<Unchecked, Failure> {
        let mut map = OldMap::default();
        let mut goes_on = map.header(header).map_err(malformed)?;
        while goes_on {
            let mut block = [0u8; BLOCK];
            if !self.fill(&mut block)? {
                return Err(malformed("it ends within a header"));
            }
            goes_on = map.more(&block).map_err(malformed)?;
        }
        Ok(Unchecked { size: old_size(header).map_err(malformed)?, extents: map.extents() })
    }

    fn pax_map(&mut self, records: SparseRecords) -> Result<Option<SparseMap>, Failure> {
        let map = match records.layout().map_err(malformed)? {
            Layout::Plain => return Ok(None),
            Layout::Known { size, extents } => Unchecked { size, extents },
            Layout::MapBeforeData { size } => Unchecked { size, extents: self.map_before_data()? },
        };
        map.checked(self.left).map(Some)
    }

    /// Takes the map, in whole blocks, off the beginning of the body.
    fn map_before_data(&mut self) -> Result<Vec<Extent>, Failure> {
        let mut reader = MapReader::default();
        loop {
            let mut block = [0u8; BLOCK];
            if self.left < BLOCK as u64 {
                return Err(malformed("a sparse file ends within its map"));
            }
            if !self.fill(&mut block)? {
                return Err(malformed("it ends within a file"));
            }
            self.left -= BLOCK as u64;
            for &byte in &block {
                if let Some(extents) = reader.take(byte).map_err(malformed)? {
                    return Ok(extents);
                }
            }
        }
    }
}
