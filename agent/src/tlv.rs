//! TLVs: `tag u16, length u32, bytes`, and the typed view of a request that ops read their fields from.

use crate::failure::Failure;
use crate::protocol::{tag_name, MAX_PAYLOAD};

/// Builds a TLV sequence.
#[derive(Debug, Default, Clone)]
pub struct Tlvs(Vec<u8>);

impl Tlvs {
    pub fn new() -> Self {
        Tlvs(Vec::new())
    }
    pub fn bytes(mut self, tag: u16, value: &[u8]) -> Self {
        self.0.extend_from_slice(&tag.to_le_bytes());
        self.0.extend_from_slice(&(value.len() as u32).to_le_bytes());
        self.0.extend_from_slice(value);
        self
    }
    pub fn u8(self, tag: u16, value: u8) -> Self {
        self.bytes(tag, &[value])
    }
    pub fn u32(self, tag: u16, value: u32) -> Self {
        self.bytes(tag, &value.to_le_bytes())
    }
    pub fn u64(self, tag: u16, value: u64) -> Self {
        self.bytes(tag, &value.to_le_bytes())
    }
    pub fn i64(self, tag: u16, value: i64) -> Self {
        self.bytes(tag, &value.to_le_bytes())
    }
    pub fn and(mut self, more: &Tlvs) -> Self {
        self.0.extend_from_slice(&more.0);
        self
    }
    pub fn as_slice(&self) -> &[u8] {
        &self.0
    }
    /// As a record of a record stream: with its length before it.
    pub fn record(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.0.len() + 4);
        out.extend_from_slice(&(self.0.len() as u32).to_le_bytes());
        out.extend_from_slice(&self.0);
        out
    }
}

/// The TLVs of a request. Owns its bytes, so that an operation may take it to another thread.
pub struct Fields {
    bytes: Vec<u8>,
    /// Tag and where its value stands.
    index: Vec<(u16, std::ops::Range<usize>)>,
}

impl Fields {
    pub fn parse(payload: &[u8]) -> Result<Fields, Failure> {
        debug_assert!(payload.len() <= MAX_PAYLOAD);
        let mut index = Vec::new();
        let mut at = 0;
        while at < payload.len() {
            let rest = &payload[at..];
            if rest.len() < 6 {
                return Err(Failure::invalid("the request's fields are cut short"));
            }
            let tag = u16::from_le_bytes([rest[0], rest[1]]);
            let length = u32::from_le_bytes([rest[2], rest[3], rest[4], rest[5]]) as usize;
            if length > rest.len() - 6 {
                return Err(Failure::invalid(format!("{} is longer than the request", tag_name(tag))));
            }
            index.push((tag, at + 6..at + 6 + length));
            at += 6 + length;
        }
        Ok(Fields { bytes: payload.to_vec(), index })
    }

    pub fn all(&self, tag: u16) -> impl Iterator<Item = &[u8]> + '_ {
        self.index.iter().filter(move |(t, _)| *t == tag).map(move |(_, range)| &self.bytes[range.clone()])
    }
    pub fn bytes(&self, tag: u16) -> Option<&[u8]> {
        self.all(tag).next()
    }
    pub fn require(&self, tag: u16) -> Result<&[u8], Failure> {
        self.bytes(tag).ok_or_else(|| Failure::invalid(format!("{} is missing", tag_name(tag))))
    }

    fn fixed<const N: usize>(&self, tag: u16) -> Result<Option<[u8; N]>, Failure> {
        match self.bytes(tag) {
            None => Ok(None),
            Some(value) => match <[u8; N]>::try_from(value) {
                Ok(value) => Ok(Some(value)),
                Err(_) => Err(Failure::invalid(format!("{} must have {} bytes", tag_name(tag), N))),
            },
        }
    }
    pub fn u16(&self, tag: u16) -> Result<Option<u16>, Failure> {
        Ok(self.fixed(tag)?.map(u16::from_le_bytes))
    }
    pub fn u32(&self, tag: u16) -> Result<Option<u32>, Failure> {
        Ok(self.fixed(tag)?.map(u32::from_le_bytes))
    }
    pub fn u64(&self, tag: u16) -> Result<Option<u64>, Failure> {
        Ok(self.fixed(tag)?.map(u64::from_le_bytes))
    }
    /// A `u8` that is 0 or 1; absent is false.
    pub fn flag(&self, tag: u16) -> Result<bool, Failure> {
        match self.fixed::<1>(tag)? {
            None | Some([0]) => Ok(false),
            Some([1]) => Ok(true),
            Some(_) => Err(Failure::invalid(format!("{} must be 0 or 1", tag_name(tag)))),
        }
    }
    pub fn pty(&self, tag: u16) -> Result<Option<(u16, u16)>, Failure> {
        Ok(self
            .fixed::<4>(tag)?
            .map(|b| (u16::from_le_bytes([b[0], b[1]]), u16::from_le_bytes([b[2], b[3]]))))
    }
    pub fn text(&self, tag: u16) -> Result<Option<&str>, Failure> {
        match self.bytes(tag) {
            None => Ok(None),
            Some(value) => match std::str::from_utf8(value) {
                Ok(text) => Ok(Some(text)),
                Err(_) => Err(Failure::invalid(format!("{} is not UTF-8", tag_name(tag)))),
            },
        }
    }
    pub fn require_text(&self, tag: u16) -> Result<&str, Failure> {
        self.require(tag)?;
        self.text(tag).map(Option::unwrap_or_default)
    }
    /// An absolute path without a NUL.
    pub fn path(&self, tag: u16) -> Result<&[u8], Failure> {
        let path = self.require(tag)?;
        if path.first() != Some(&b'/') {
            return Err(Failure::invalid(format!("{} must be absolute", tag_name(tag))));
        }
        if path.contains(&0) {
            return Err(Failure::invalid(format!("{} contains a NUL byte", tag_name(tag))));
        }
        Ok(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::*;

    #[test]
    fn fields_are_read_back_and_unknown_tags_skipped() {
        let tlvs = Tlvs::new()
            .bytes(TAG_ARGV, b"a")
            .u32(9999, 1)
            .bytes(TAG_ARGV, b"b")
            .u64(TAG_TIMEOUT_MS, 5)
            .bytes(TAG_PATH, b"/x");
        let fields = Fields::parse(tlvs.as_slice()).unwrap();
        assert_eq!(fields.all(TAG_ARGV).collect::<Vec<_>>(), [b"a", b"b"]);
        assert_eq!(fields.u64(TAG_TIMEOUT_MS).unwrap(), Some(5));
        assert_eq!(fields.path(TAG_PATH).unwrap(), b"/x");
        assert_eq!(fields.u64(TAG_GRACE_MS).unwrap(), None);
    }

    #[test]
    fn malformed_fields_are_named() {
        let wrong = |tlvs: Tlvs, read: fn(&Fields) -> Result<(), Failure>| {
            read(&Fields::parse(tlvs.as_slice()).unwrap()).unwrap_err().message
        };
        assert!(wrong(Tlvs::new(), |f| f.path(TAG_PATH).map(|_| ())).contains("PATH is missing"));
        assert!(
            wrong(Tlvs::new().bytes(TAG_PATH, b"x"), |f| f.path(TAG_PATH).map(|_| ())).contains("absolute")
        );
        assert!(wrong(Tlvs::new().u8(TAG_MODE, 1), |f| f.u32(TAG_MODE).map(|_| ())).contains("MODE"));
        assert!(wrong(Tlvs::new().u8(TAG_STDIN, 2), |f| f.flag(TAG_STDIN).map(|_| ())).contains("STDIN"));
        assert!(Fields::parse(&[1, 0, 255, 0, 0, 0]).is_err());
        assert!(Fields::parse(&[1, 0, 0]).is_err());
    }
}
