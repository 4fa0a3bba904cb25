//! Where a tar is put together before it is sent: one buffer that files are read into, and that frames are made of in place.

use crate::failure::Failure;
use crate::frame::{HEADER, TRAILER};
use crate::sys;
use crate::tar_format::BLOCK;
use std::io;
use std::os::unix::io::RawFd;

/// Sent at once, and read at once of large files.
pub const ROOM: usize = 512 * 1024;
/// A page: reads that bypass the page cache want at least 512.
const ALIGNMENT: usize = 4096;

pub struct Stage<F: FnMut(&mut [u8]) -> Result<(), Failure>> {
    memory: Vec<u8>,
    start: usize,
    used: usize,
    send: F,
}

impl<F: FnMut(&mut [u8]) -> Result<(), Failure>> Stage<F> {
    /// `send` is given the bytes between [`HEADER`] and [`TRAILER`] bytes of no value, and may overwrite all of them.
    pub fn new(send: F) -> Self {
        let memory = vec![0; HEADER + ALIGNMENT + ROOM + TRAILER];
        let start = HEADER + (memory.as_ptr() as usize + HEADER).wrapping_neg() % ALIGNMENT;
        Stage { memory, start, used: 0, send }
    }

    pub fn flush(&mut self) -> Result<(), Failure> {
        let end = self.start + self.used;
        self.used = 0;
        (self.send)(&mut self.memory[self.start - HEADER..end + TRAILER])
    }

    fn free(&self) -> usize {
        ROOM - self.used
    }

    pub fn put(&mut self, mut bytes: &[u8]) -> Result<(), Failure> {
        while !bytes.is_empty() {
            let (now, rest) = bytes.split_at(bytes.len().min(self.free()));
            self.space(now.len()).copy_from_slice(now);
            self.took(now.len())?;
            bytes = rest;
        }
        Ok(())
    }

    pub fn put_zeros(&mut self, mut count: u64) -> Result<(), Failure> {
        while count > 0 {
            let now = (self.free() as u64).min(count) as usize;
            self.space(now).fill(0);
            self.took(now)?;
            count -= now as u64;
        }
        Ok(())
    }

    /// Reads from a file at least one byte and at most `limit`. Answers how many; 0 at its end. With `direct`, the buffer's end must
    /// be on a block, and so must be the offset.
    pub fn read(&mut self, file: RawFd, offset: u64, limit: u64, direct: bool) -> io::Result<usize> {
        let room = self.free();
        let limit = limit.min(room as u64) as usize;
        // Whole blocks, also at the file's end. There is room: what is used is whole blocks, too.
        let asked = if direct { (limit + BLOCK - 1) / BLOCK * BLOCK } else { limit };
        let count = sys::pread(file, self.space(asked), offset)?;
        Ok(count.min(limit))
    }

    /// Says that so much of what was read counts.
    pub fn took(&mut self, count: usize) -> Result<(), Failure> {
        self.used += count;
        if self.used == ROOM {
            self.flush()?;
        }
        Ok(())
    }

    fn space(&mut self, count: usize) -> &mut [u8] {
        let from = self.start + self.used;
        &mut self.memory[from..from + count]
    }
}
