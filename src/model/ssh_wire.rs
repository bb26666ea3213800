//! The wire form of SSH, as far as keys and signatures need it: numbers of four bytes, fields with their length before
//! them, and base64 in lines of 70 columns.

use base64ct::{Base64, Encoding as _};
use zeroize::Zeroizing;

/// The columns of a line of base64 between `-----BEGIN …-----` and `-----END …-----`.
pub(super) const COLUMNS: usize = 70;

/// Reads fields one after the other. What is not there in full is `None`, and then nothing was taken.
pub(super) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    /// Starts at the first of these bytes.
    pub(super) fn of(bytes: &'a [u8]) -> Self {
        Fields(bytes)
    }

    /// Takes as many bytes.
    pub(super) fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    /// Takes a number, most significant byte first.
    pub(super) fn number(&mut self) -> Option<u32> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u32::from_be_bytes(*taken))
    }

    /// Takes a field: its length, then as many bytes.
    pub(super) fn field(&mut self) -> Option<&'a [u8]> {
        let (len, rest) = self.0.split_first_chunk()?;
        let len = usize::try_from(u32::from_be_bytes(*len)).ok()?;
        let (field, rest) = rest.split_at_checked(len)?;
        self.0 = rest;
        Some(field)
    }

    /// Returns what has not been taken yet.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.0
    }
}

/// Appends a field.
pub(super) fn put_field(out: &mut Vec<u8>, field: &[u8]) {
    // A field of 4 GiB does not exist: keys, signatures and comments are read from files of at most 1 MiB.
    out.extend_from_slice(&(field.len() as u32).to_be_bytes());
    out.extend_from_slice(field);
}

/// Reads base64 that may be broken into lines anywhere, with a line break of one or two bytes. `None` where it has another
/// character, bits or padding than the one encoding of its bytes. No copy of the bytes is left behind in memory.
pub(super) fn from_lines(text: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let mut base64 = Zeroizing::new(Vec::with_capacity(text.len()));
    for line in text.split(|byte| *byte == b'\n') {
        base64.extend_from_slice(line.strip_suffix(b"\r").unwrap_or(line));
    }
    let mut bytes = Zeroizing::new(vec![0; base64.len() / 4 * 3]);
    let len = Base64::decode(base64.as_slice(), bytes.as_mut_slice()).ok()?.len();
    bytes.truncate(len);
    Some(bytes)
}

/// Returns what was found, in quotes and at most 64 bytes of it, for a message.
pub(super) fn quoted(found: &[u8]) -> String {
    match found.get(..64) {
        Some(start) if found.len() > 64 => format!("{:?}…", String::from_utf8_lossy(start)),
        _ => format!("{:?}", String::from_utf8_lossy(found)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_that_is_cut_short_is_not_read() {
        let mut bytes = Vec::new();
        put_field(&mut bytes, b"git");
        put_field(&mut bytes, b"");
        let mut fields = Fields::of(&bytes);
        assert_eq!(fields.field(), Some(&b"git"[..]));
        assert_eq!(fields.field(), Some(&b""[..]));
        assert_eq!((fields.field(), fields.number(), fields.rest()), (None, None, &b""[..]));
        for len in 0..7 {
            assert_eq!(Fields::of(&bytes[..len]).field(), None);
        }
    }

    #[test]
    fn base64_may_be_wrapped_but_has_one_spelling() {
        let read = |text: &str| from_lines(text.as_bytes()).map(|bytes| bytes.to_vec());
        for good in ["Z2l0IQ==", "Z2l0\nIQ==\n", "Z2\r\nl0IQ==", "\nZ2l0I\nQ=="] {
            assert_eq!(read(good).as_deref(), Some(&b"git!"[..]), "{good:?}");
        }
        for bad in ["Z2l0IR==", "Z2l0IQ", "Z2l0IQ=", "Z2l0 IQ==", "Z2l0\rIQ==", "Z2l0IQ==Z2l0", "Z2l0-Q=="] {
            assert_eq!(read(bad), None, "{bad:?}");
        }
        assert_eq!(read("").as_deref(), Some(&b""[..]));
    }
}
