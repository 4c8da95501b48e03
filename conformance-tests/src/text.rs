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

/// A checksum of a body, so that large ones need not travel back; of the next piece with that of what came before, 0 at
/// first. The CRC-32 of RFC 1952 §8, which every language has at hand.
pub fn checksum(before: u32, bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!before, |sum, byte| (sum >> 8) ^ CRC[usize::from(sum as u8 ^ *byte)])
}

const CRC: [u32; 256] = {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let (mut sum, mut bit) = (index as u32, 0);
        while bit < 8 {
            sum = if sum & 1 == 1 { (sum >> 1) ^ 0xedb8_8320 } else { sum >> 1 };
            bit += 1;
        }
        table[index] = sum;
        index += 1;
    }
    table
};

/// `length` octets of a fixed pattern in which no period is short, so that a shifted or repeated piece shows: words of four
/// octets, the little end first, the next one 0x9e3779b1 more than the last.
pub fn pattern(length: usize) -> Vec<u8> {
    let words = (0_u32..).flat_map(|index| index.wrapping_mul(0x9e37_79b1).to_le_bytes());
    words.take(length).collect()
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

    #[test]
    fn others_count_the_same() {
        assert_eq!(checksum(checksum(0, b"1234"), b"56789"), 0xcbf4_3926);
        assert_eq!(pattern(7), [0, 0, 0, 0, 0xb1, 0x79, 0x37]);
    }
}
