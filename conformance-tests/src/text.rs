//! Octets as text and back: percent-encoding, for scripts and reports that travel in field values and lines.

/// Percent-encodes everything but visible ASCII without `%` and `;`.
pub fn encode(bytes: impl AsRef<[u8]>) -> String {
    let mut text = String::new();
    for byte in bytes.as_ref() {
        match byte {
            b'%' | b';' | 0..=0x20 | 0x7f.. => text.push_str(&format!("%{byte:02X}")),
            visible => text.push(char::from(*visible)),
        }
    }
    text
}

/// The octets of a percent-encoded text; a `%` that begins no triplet is itself.
pub fn decode(text: &str) -> Vec<u8> {
    let mut rest = text.as_bytes();
    let mut bytes = Vec::with_capacity(rest.len());
    loop {
        rest = match rest {
            [] => return bytes,
            [b'%', high, low, rest @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                let digit = |byte: &u8| char::from(*byte).to_digit(16).unwrap_or(0) as u8;
                bytes.push(digit(high) * 16 + digit(low));
                rest
            }
            [byte, rest @ ..] => {
                bytes.push(*byte);
                rest
            }
        };
    }
}

/// [`decode`] as text, with what is not UTF-8 replaced.
pub fn decode_text(text: &str) -> String {
    String::from_utf8_lossy(&decode(text)).into_owned()
}

/// A checksum of a body, so that large ones need not travel back (FNV-1a, 64 bits).
pub fn checksum(start: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(start, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

/// Where a checksum starts.
pub const CHECKSUM_START: u64 = 0xcbf2_9ce4_8422_2325;

/// `length` octets of a fixed pattern in which no period is short, so that a shifted or repeated piece shows.
pub fn pattern(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_u32;
    let next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (state >> 24) as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

/// Octets for a human: escaped, and cut in the middle where there are more than `limit`.
pub fn show(bytes: &[u8], limit: usize) -> String {
    let escape = |bytes: &[u8]| bytes.escape_ascii().to_string().replace("\\r\\n", "\\r\\n\n");
    if bytes.len() <= limit {
        return escape(bytes);
    }
    let (head, tail) = (&bytes[..limit * 3 / 4], &bytes[bytes.len() - limit / 4..]);
    format!("{}\n… {} octets …\n{}", escape(head), bytes.len() - head.len() - tail.len(), escape(tail))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_octets_survive() {
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(decode(&encode(&all)), all);
        assert_eq!(encode("a b;%"), "a%20b%3B%25");
        assert_eq!(decode("%zz%4"), b"%zz%4");
    }
}
