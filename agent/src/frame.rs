//! Frames: writing them, and finding them again in a stream that may have been cut anywhere.

use crate::protocol::*;

pub const HEADER: usize = 16;
pub const TRAILER: usize = 4;
pub const MAX_FRAME: usize = HEADER + MAX_PAYLOAD + TRAILER;
pub const SYNC_PAYLOAD: usize = 20;

/// Room for one whole frame and what came with it; fixed, so that no input makes the decoder grow.
const BUFFER: usize = 2 * MAX_FRAME;

/// FNV-1a of the header's first twelve bytes. Never 0, since zeros are what a cut stream is filled up with.
fn check_of(header: &[u8]) -> u32 {
    let mut hash: u32 = 0x811c_9dc5;
    for &byte in header {
        hash = (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    }
    if hash == 0 {
        1
    } else {
        hash
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// Appends a frame to `out`. `payload` must fit into one frame.
pub fn encode(out: &mut Vec<u8>, kind: u8, flag: u8, stream: u32, payload: &[u8]) {
    debug_assert!(payload.len() <= MAX_PAYLOAD);
    let mut header = [0u8; HEADER];
    header[0] = kind;
    header[1] = flag;
    header[4..8].copy_from_slice(&stream.to_le_bytes());
    header[8..12].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    let check = check_of(&header[..12]).to_le_bytes();
    header[12..16].copy_from_slice(&check);
    out.reserve(HEADER + payload.len() + TRAILER);
    out.extend_from_slice(&header);
    out.extend_from_slice(payload);
    out.extend_from_slice(&check);
}

/// Makes a frame of a payload where it lies: of what is before and after it, the header and the trailer take the place.
pub fn wrap(frame: &mut [u8], kind: u8, flag: u8, stream: u32) {
    let length = frame.len() - HEADER - TRAILER;
    debug_assert!(length <= MAX_PAYLOAD);
    let (header, rest) = frame.split_at_mut(HEADER);
    header[..4].copy_from_slice(&[kind, flag, 0, 0]);
    header[4..8].copy_from_slice(&stream.to_le_bytes());
    header[8..12].copy_from_slice(&(length as u32).to_le_bytes());
    let check = check_of(&header[..12]).to_le_bytes();
    header[12..].copy_from_slice(&check);
    rest[length..].copy_from_slice(&check);
}

#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub struct Frame<'a> {
    pub kind: u8,
    pub flag: u8,
    pub stream: u32,
    pub payload: &'a [u8],
}

#[derive(Debug, PartialEq, Eq)]
pub enum Decoded<'a> {
    Frame(Frame<'a>),
    /// What arrived is no frame; the decoder hunts for SYNC from here on.
    Bad(&'static str),
    /// All complete frames have been handed out.
    More,
}

enum Look {
    Whole(usize),
    Partial,
    Wrong(&'static str),
}

pub struct Decoder {
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    hunting: bool,
}

impl Default for Decoder {
    fn default() -> Self {
        Decoder::new()
    }
}

impl Decoder {
    /// A decoder that hunts: nothing counts before the first SYNC.
    pub fn new() -> Self {
        Decoder { buffer: vec![0; BUFFER].into_boxed_slice(), start: 0, end: 0, hunting: true }
    }

    pub fn is_hunting(&self) -> bool {
        self.hunting
    }

    /// Forgets everything and hunts: the stream before and the stream after have nothing to do with each other.
    pub fn reset(&mut self) {
        self.start = 0;
        self.end = 0;
        self.hunting = true;
    }

    /// Drops what is buffered and hunts, because a frame was wrong in a way only its receiver can see.
    pub fn hunt(&mut self) {
        self.hunting = true;
    }

    /// Where to read the next bytes into; never empty once `next_frame` has answered `More`.
    pub fn space(&mut self) -> &mut [u8] {
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
        } else if self.start > 0 && BUFFER - self.end < MAX_FRAME {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        &mut self.buffer[self.end..]
    }

    /// Says how many bytes were read into `space`.
    pub fn filled(&mut self, count: usize) {
        self.end = (self.end + count).min(BUFFER);
    }

    /// The next frame, if one is complete.
    pub fn next_frame(&mut self) -> Decoded<'_> {
        if self.hunting {
            return self.next_sync();
        }
        let at = self.start;
        match look(&self.buffer[at..self.end], false) {
            Look::Partial => Decoded::More,
            Look::Wrong(why) => {
                self.hunting = true;
                self.start += 1;
                Decoded::Bad(why)
            }
            Look::Whole(length) => {
                self.start += length;
                Decoded::Frame(frame_at(&self.buffer[at..at + length]))
            }
        }
    }

    fn next_sync(&mut self) -> Decoded<'_> {
        while self.start < self.end {
            // Skips to the next byte that could begin a SYNC; a fill of zeros costs one pass.
            let rest = &self.buffer[self.start..self.end];
            match rest.iter().position(|&byte| byte == FRAME_SYNC) {
                None => self.start = self.end,
                Some(offset) => {
                    self.start += offset;
                    let at = self.start;
                    match look(&self.buffer[at..self.end], true) {
                        Look::Partial => return Decoded::More,
                        Look::Wrong(_) => self.start += 1,
                        Look::Whole(length) => {
                            self.start += length;
                            self.hunting = false;
                            return Decoded::Frame(frame_at(&self.buffer[at..at + length]));
                        }
                    }
                }
            }
        }
        Decoded::More
    }
}

fn frame_at(bytes: &[u8]) -> Frame<'_> {
    Frame {
        kind: bytes[0],
        flag: bytes[1],
        stream: u32_at(bytes, 4),
        payload: &bytes[HEADER..bytes.len() - TRAILER],
    }
}

fn from_host(kind: u8) -> bool {
    matches!(
        kind,
        FRAME_SYNC | FRAME_OPEN | FRAME_DATA | FRAME_EOF | FRAME_WINDOW | FRAME_CONTROL | FRAME_RESET
    )
}

fn look(bytes: &[u8], only_sync: bool) -> Look {
    if bytes.is_empty() {
        return Look::Partial;
    }
    if !from_host(bytes[0]) || (only_sync && bytes[0] != FRAME_SYNC) {
        return Look::Wrong("unknown frame type");
    }
    if bytes.len() < HEADER {
        return Look::Partial;
    }
    if bytes[2] != 0 || bytes[3] != 0 {
        return Look::Wrong("reserved bytes of a frame are not zero");
    }
    let length = u32_at(bytes, 8) as usize;
    if length > MAX_PAYLOAD {
        return Look::Wrong("frame too long");
    }
    let check = u32_at(bytes, 12);
    if check != check_of(&bytes[..12]) {
        return Look::Wrong("wrong check of a frame");
    }
    // A SYNC of another length would make the hunt wait for bytes that never come.
    if bytes[0] == FRAME_SYNC && (length != SYNC_PAYLOAD || u32_at(bytes, 4) != 0) {
        return Look::Wrong("malformed SYNC");
    }
    let whole = HEADER + length + TRAILER;
    if bytes.len() < whole {
        return Look::Partial;
    }
    if u32_at(bytes, HEADER + length) != check {
        return Look::Wrong("wrong trailer of a frame");
    }
    Look::Whole(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed(decoder: &mut Decoder, bytes: &[u8]) -> usize {
        let space = decoder.space();
        let count = space.len().min(bytes.len());
        space[..count].copy_from_slice(&bytes[..count]);
        decoder.filled(count);
        count
    }

    fn sync(nonce: u8) -> Vec<u8> {
        let mut payload = [nonce; SYNC_PAYLOAD];
        payload[16..].copy_from_slice(&PROTOCOL_VERSION.to_le_bytes());
        let mut out = Vec::new();
        encode(&mut out, FRAME_SYNC, 0, 0, &payload);
        out
    }

    /// Every frame and bad spot of a stream, fed in pieces.
    fn decode_all(
        decoder: &mut Decoder,
        mut bytes: &[u8],
        mut piece: impl FnMut() -> usize,
    ) -> (Vec<(u8, u32, Vec<u8>)>, usize) {
        let mut frames = Vec::new();
        let mut bad = 0;
        while !bytes.is_empty() {
            let count = piece().clamp(1, bytes.len());
            let fed = feed(decoder, &bytes[..count]);
            assert!(fed > 0, "a decoder that has said More has room");
            bytes = &bytes[fed..];
            loop {
                match decoder.next_frame() {
                    Decoded::Frame(f) => frames.push((f.kind, f.stream, f.payload.to_vec())),
                    Decoded::Bad(_) => bad += 1,
                    Decoded::More => break,
                }
            }
            assert_eq!(decoder.buffer.len(), BUFFER);
        }
        (frames, bad)
    }

    struct Random(u64);
    impl Random {
        fn next(&mut self) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
        }
        fn below(&mut self, n: usize) -> usize {
            (self.next() >> 16) as usize % n
        }
    }

    #[test]
    fn a_frame_made_in_place_is_the_same() {
        for payload in [&b""[..], b"x", &[7; 1000]] {
            let mut encoded = Vec::new();
            encode(&mut encoded, FRAME_DATA, CHANNEL_MAIN, 77, payload);
            let mut wrapped = [&[9; HEADER][..], payload, &[9; TRAILER]].concat();
            wrap(&mut wrapped, FRAME_DATA, CHANNEL_MAIN, 77);
            assert_eq!(wrapped, encoded);
        }
    }

    #[test]
    fn frames_survive_any_cutting_into_pieces() {
        let mut stream = sync(1);
        encode(&mut stream, FRAME_OPEN, OP_PING, 1, b"");
        encode(&mut stream, FRAME_DATA, 0, 1, &vec![9; MAX_PAYLOAD]);
        encode(&mut stream, FRAME_RESET, 0, 1, b"");
        for piece in [1, 3, 16, 4096, 1 << 20] {
            let (frames, bad) = decode_all(&mut Decoder::new(), &stream, || piece);
            assert_eq!(bad, 0);
            assert_eq!(
                frames.iter().map(|f| f.0).collect::<Vec<_>>(),
                [FRAME_SYNC, FRAME_OPEN, FRAME_DATA, FRAME_RESET]
            );
            assert_eq!(frames[2].2.len(), MAX_PAYLOAD);
        }
    }

    #[test]
    fn nothing_counts_before_the_first_sync() {
        let mut stream = Vec::new();
        encode(&mut stream, FRAME_OPEN, OP_PING, 1, b"");
        stream.extend(sync(7));
        let (frames, bad) = decode_all(&mut Decoder::new(), &stream, || 5);
        assert_eq!((frames.len(), bad), (1, 0));
        assert_eq!(frames[0].0, FRAME_SYNC);
    }

    #[test]
    fn a_cut_frame_filled_up_with_zeros_is_never_delivered() {
        for cut in 1..40 {
            let mut decoder = Decoder::new();
            decode_all(&mut decoder, &sync(1), || 64);
            let mut frame = Vec::new();
            encode(&mut frame, FRAME_DATA, 0, 1, &[0; 30]);
            let mut stream = frame[..cut.min(frame.len() - 1)].to_vec();
            stream.extend(vec![0; MAX_FRAME]);
            stream.extend(sync(2));
            let (frames, bad) = decode_all(&mut decoder, &stream, || 1000);
            assert!(bad >= 1);
            assert_eq!(frames.len(), 1);
            assert_eq!(frames[0].2[0], 2);
        }
    }

    #[test]
    fn each_wrong_field_is_a_bad_frame() {
        let good = {
            let mut out = Vec::new();
            encode(&mut out, FRAME_OPEN, OP_PING, 1, b"abc");
            out
        };
        for (at, value) in
            [(0, 99u8), (0, FRAME_RESULT), (1, 77), (2, 1), (3, 1), (8, 200), (11, 1), (12, 0), (19, 1)]
        {
            let mut decoder = Decoder::new();
            decode_all(&mut decoder, &sync(1), || 64);
            let mut bytes = good.clone();
            bytes[at] = value.wrapping_add(u8::from(bytes[at] == value));
            bytes.extend(vec![0; 300]);
            let (frames, bad) = decode_all(&mut decoder, &bytes, || 64);
            assert_eq!((frames.len(), bad), (0, 1), "byte {at}");
        }
    }

    /// Deterministic fuzzing: mutated streams and noise. It must not panic, must not grow, and must find the next SYNC.
    #[test]
    fn any_bytes_are_survived_and_the_next_sync_is_found() {
        let mut random = Random(0x1234_5678_9abc_def1);
        for case in 0..40_000u32 {
            let mut decoder = Decoder::new();
            let mut stream = Vec::new();
            if random.below(4) == 0 {
                for _ in 0..random.below(200) {
                    stream.push((random.next() >> 32) as u8 & if random.below(2) == 0 { 0xff } else { 3 });
                }
            } else {
                stream.extend(sync(1));
                for id in 0..random.below(6) as u32 {
                    let kinds = [FRAME_OPEN, FRAME_DATA, FRAME_EOF, FRAME_WINDOW, FRAME_RESET];
                    let payload = vec![(random.next() >> 32) as u8; random.below(120)];
                    let kind = kinds[random.below(kinds.len())];
                    encode(&mut stream, kind, random.below(3) as u8, id + 1, &payload);
                }
                for _ in 0..random.below(4) {
                    let at = random.below(stream.len());
                    match random.below(4) {
                        0 => stream[at] = (random.next() >> 32) as u8,
                        1 => stream.truncate(at.max(1)),
                        2 => stream.insert(at, (random.next() >> 32) as u8),
                        _ => {
                            stream.remove(at);
                        }
                    }
                    if stream.is_empty() {
                        stream.push(1);
                    }
                }
            }
            // What a host does on connecting: zeros enough to complete whatever was cut, then SYNC.
            let zeros = if case % 64 == 0 { MAX_FRAME } else { 400 };
            // A small fill is only fair when no cut frame claims more than that.
            let claims_more = zeros < MAX_FRAME;
            stream.extend(vec![0; zeros]);
            let nonce = 0xa5;
            stream.extend(sync(nonce));
            let mut piece_random = Random(u64::from(case) | 1);
            let (frames, _) = decode_all(&mut decoder, &stream, || 1 + piece_random.below(300));
            let found = frames.iter().any(|f| f.0 == FRAME_SYNC && f.2[0] == nonce);
            assert!(found || (claims_more && !decoder.is_hunting()), "case {case}");
            if found {
                encode_and_expect(&mut decoder);
            }
        }
    }

    fn encode_and_expect(decoder: &mut Decoder) {
        let mut next = Vec::new();
        encode(&mut next, FRAME_OPEN, OP_PING, 77, b"x");
        let (frames, bad) = decode_all(decoder, &next, || 7);
        assert_eq!((frames.len(), bad), (1, 0));
        assert_eq!(frames[0].1, 77);
    }
}
