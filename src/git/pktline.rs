//! pkt-lines: how git frames what it says, to hooks and over a wire.

use std::io::{self, Read};

/// The longest pkt-line, its length included.
pub(super) const PACKET_MAX: usize = 65520;

/// One pkt-line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Packet {
    /// Bytes; a line of text ends with a line feed, which may be missing.
    Line(Vec<u8>),
    /// A message ends.
    Flush,
    /// A part of a message ends.
    Delimiter,
    /// An answer ends, where each stands alone.
    End,
}

/// Reads one.
///
/// # Errors
/// `InvalidData` where it is none, and those of the reader: `UnexpectedEof` where it ends.
pub(super) fn read(input: &mut impl Read) -> io::Result<Packet> {
    let mut head = [0; 4];
    input.read_exact(&mut head)?;
    let digits = std::str::from_utf8(&head).ok().filter(|head| head.bytes().all(|b| b.is_ascii_hexdigit()));
    match digits.and_then(|hex| usize::from_str_radix(hex, 16).ok()) {
        Some(0) => Ok(Packet::Flush),
        Some(1) => Ok(Packet::Delimiter),
        Some(2) => Ok(Packet::End),
        Some(length @ 4..=PACKET_MAX) => {
            let mut line = vec![0; length - 4];
            input.read_exact(&mut line)?;
            Ok(Packet::Line(line))
        }
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "it is no pkt-line")),
    }
}

/// Appends a line of text, which is shorter than the longest pkt-line.
pub(super) fn write(out: &mut Vec<u8>, line: &str) {
    out.extend_from_slice(format!("{:04x}{line}", line.len() + 4).as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_they_were_written() {
        let mut bytes = Vec::new();
        write(&mut bytes, "command=ls-refs\n");
        bytes.extend_from_slice(b"0001");
        write(&mut bytes, "");
        bytes.extend_from_slice(b"00000002");
        let mut input = bytes.as_slice();
        let mut next = || read(&mut input);
        assert_eq!(next().unwrap(), Packet::Line(b"command=ls-refs\n".to_vec()));
        assert_eq!(next().unwrap(), Packet::Delimiter);
        assert_eq!(next().unwrap(), Packet::Line(Vec::new()));
        assert_eq!(next().unwrap(), Packet::Flush);
        assert_eq!(next().unwrap(), Packet::End);
        assert_eq!(next().unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn what_is_no_pkt_line_is_refused() {
        for bad in ["0003", "zzzz", "+001", "fff1", "ffff", "\u{e4}00"] {
            assert_eq!(read(&mut bad.as_bytes()).unwrap_err().kind(), io::ErrorKind::InvalidData, "{bad}");
        }
        for cut in ["", "00", "0005", "0009abc"] {
            assert_eq!(read(&mut cut.as_bytes()).unwrap_err().kind(), io::ErrorKind::UnexpectedEof, "{cut}");
        }
    }
}
