//! What a detached terminal showed lately: its last 64 KiB, kept also when they were sent, so that a client that attaches finds the
//! screen as it was left.

use crate::retained::TAIL;
use std::collections::VecDeque;

const ENQ: u8 = 0x05;
const BEL: u8 = 0x07;
const ESC: u8 = 0x1b;

#[derive(Default)]
pub struct Recent {
    bytes: VecDeque<u8>,
    /// There was more before.
    cut: bool,
}

impl Recent {
    pub fn push(&mut self, bytes: &[u8]) {
        let keep = &bytes[bytes.len().saturating_sub(TAIL)..];
        let over = (self.bytes.len() + keep.len()).saturating_sub(TAIL);
        self.cut |= over > 0 || keep.len() < bytes.len();
        self.bytes.drain(..over);
        self.bytes.extend(keep);
    }

    /// What to show again: from the beginning of a line on, and without what asks the terminal for an answer, which the program would
    /// take for keys.
    pub fn replay(&self) -> Vec<u8> {
        let all: Vec<u8> = self.bytes.iter().copied().collect();
        let begin = match (self.cut, all.iter().position(|&byte| byte == b'\n')) {
            (true, Some(end_of_line)) => end_of_line + 1,
            _ => 0,
        };
        without_questions(&all[begin..])
    }
}

/// Leaves out the sequences that terminals answer (ECMA-48; "XTerm Control Sequences").
fn without_questions(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let length = sequence_length(&bytes[at..]);
        let sequence = &bytes[at..at + length];
        if !is_question(sequence) {
            out.extend_from_slice(sequence);
        }
        at += length;
    }
    out
}

/// Length of the control sequence or string at the beginning, or 1. One that has not ended yet goes to the end.
fn sequence_length(bytes: &[u8]) -> usize {
    match bytes {
        [ESC, b'[', rest @ ..] => {
            let end = rest.iter().position(|byte| !(0x20..=0x3f).contains(byte));
            let last = |end: usize| usize::from((0x40..=0x7e).contains(&rest[end]));
            end.map_or(bytes.len(), |end| 2 + end + last(end))
        }
        [ESC, b']' | b'P' | b'_' | b'^' | b'X', ..] => string_length(bytes),
        [ESC, _, ..] => 2,
        _ => 1,
    }
}

/// An OSC and its like end with BEL or ESC \; anything else that begins with ESC ends them, too.
fn string_length(bytes: &[u8]) -> usize {
    let end = bytes.iter().skip(2).position(|&byte| byte == BEL || byte == ESC);
    match end.map(|end| end + 2) {
        Some(end) if bytes[end] == BEL => end + 1,
        Some(end) if bytes.get(end + 1) == Some(&b'\\') => end + 2,
        Some(end) => end,
        None => bytes.len(),
    }
}

fn is_question(sequence: &[u8]) -> bool {
    match sequence {
        [ENQ] | [ESC, b'Z'] | [ESC, b'P', ..] => true,
        [ESC, b']', text @ ..] => text.windows(2).any(|pair| pair == b";?"),
        [ESC, b'[', parameters @ .., last] => match last {
            b'n' | b'c' | b't' | b'x' => true, // status, attributes, window, parameters
            b'p' => parameters.ends_with(b"$"), // modes
            b'q' => parameters.starts_with(b">"), // version
            b'u' => parameters.starts_with(b"?"), // keyboard
            _ => false,
        },
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replay(pieces: &[&[u8]]) -> Vec<u8> {
        let mut recent = Recent::default();
        for piece in pieces {
            recent.push(piece);
        }
        recent.replay()
    }

    #[test]
    fn little_is_shown_again_whole_and_as_often_as_asked() {
        let mut recent = Recent::default();
        recent.push(b"$ a");
        recent.push(b"\r\n$ ");
        assert_eq!(recent.replay(), b"$ a\r\n$ ");
        assert_eq!(recent.replay(), b"$ a\r\n$ ");
    }

    #[test]
    fn of_much_the_end_is_shown_from_the_beginning_of_a_line() {
        let all: Vec<u8> = (0..20_000).flat_map(|n| format!("line {}\r\n", n).into_bytes()).collect();
        for size in [1, 1000, 300_000] {
            let shown = replay(&all.chunks(size).collect::<Vec<_>>());
            assert!(shown.len() > TAIL - 20 && shown.len() <= TAIL);
            assert!(shown.starts_with(b"line "));
            assert!(all.ends_with(&shown));
        }
        let one_line = vec![b'x'; TAIL + 5];
        assert_eq!(replay(&[&one_line]).len(), TAIL);
    }

    #[test]
    fn what_a_terminal_would_answer_is_left_out() {
        let questions: &[&[u8]] = &[
            b"\x1b[6n",
            b"\x1b[?6n",
            b"\x1b[c",
            b"\x1b[>0c",
            b"\x1b[18t",
            b"\x1b[?2026$p",
            b"\x1b[>q",
            b"\x1b[?u",
            b"\x1b]11;?\x07",
            b"\x1b]10;?\x1b\\",
            b"\x1bP+q544e\x1b\\",
            b"\x1bZ",
            b"\x05",
        ];
        for question in questions {
            let shown = replay(&[b"a", question, b"b"]);
            assert_eq!(shown, b"ab", "{:?}", String::from_utf8_lossy(question));
        }
    }

    #[test]
    fn colours_modes_titles_and_other_text_stay() {
        let shown: &[&[u8]] = &[
            b"\x1b[1;32mgreen\x1b[0m",
            b"\x1b[?1049h\x1b[2J\x1b[3;4H",
            b"\x1b]0;what?\x07",
            b"\x1b]8;;http://a/?b\x1b\\link",
            b"\x1b[4 q\x1b[!p",
            b"\x1b7\x1b8\x1b(B",
            "gr\u{fc}n".as_bytes(),
            b"\x1b[31",
            b"\x1b",
            b"\x1b]0;open",
        ];
        for text in shown {
            assert_eq!(replay(&[text]), *text, "{:?}", String::from_utf8_lossy(text));
        }
    }
}
