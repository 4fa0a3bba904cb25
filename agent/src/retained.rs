//! Output of a detached command while nobody is attached: its first and its last 64 KiB.

use std::collections::VecDeque;

pub const HEAD: usize = 64 * 1024;
pub const TAIL: usize = 64 * 1024;

#[derive(Default)]
pub struct Retained {
    head: Vec<u8>,
    tail: VecDeque<u8>,
    dropped: u64,
}

impl Retained {
    pub fn push(&mut self, bytes: &[u8]) {
        let to_head = bytes.len().min(HEAD - self.head.len());
        self.head.extend_from_slice(&bytes[..to_head]);
        let rest = &bytes[to_head..];
        let keep = &rest[rest.len().saturating_sub(TAIL)..];
        let over = (self.tail.len() + keep.len()).saturating_sub(TAIL);
        self.tail.drain(..over);
        self.tail.extend(keep);
        self.dropped += (over + rest.len() - keep.len()) as u64;
    }

    /// Hands out what is kept, and begins anew.
    pub fn take(&mut self) -> Vec<u8> {
        let mut out = std::mem::take(&mut self.head);
        let tail = std::mem::take(&mut self.tail);
        out.extend(tail);
        out
    }

    /// Bytes that were in neither, over the whole life.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_beginning_and_the_end() {
        let all: Vec<u8> = (0..400_000u32).map(|n| (n % 251) as u8).collect();
        for piece in [1, 1000, 70_000, 400_000] {
            let mut retained = Retained::default();
            for part in all.chunks(piece) {
                retained.push(part);
            }
            assert_eq!(retained.dropped(), (400_000 - HEAD - TAIL) as u64);
            let kept = retained.take();
            assert_eq!(&kept[..HEAD], &all[..HEAD]);
            assert_eq!(&kept[HEAD..], &all[400_000 - TAIL..]);
        }
    }

    #[test]
    fn little_output_is_kept_whole() {
        let mut retained = Retained::default();
        retained.push(b"ab");
        retained.push(b"c");
        assert_eq!(retained.take(), b"abc");
        assert_eq!(retained.dropped(), 0);
    }
}
