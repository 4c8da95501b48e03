//! Field blocks of HTTP/2 (RFC 7541): written as literals without indexing; read without a dynamic table, which the
//! client forbids with SETTINGS_HEADER_TABLE_SIZE 0.

use crate::case::Failure;

/// A block of these fields.
pub(super) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    fields.iter().for_each(|(name, value)| write(&mut block, name, value.as_bytes()));
    block
}

/// Adds a field to a block.
fn write(block: &mut Vec<u8>, name: &str, value: &[u8]) {
    block.push(0);
    for text in [name.as_bytes(), value] {
        integer(block, text.len());
        block.extend_from_slice(text);
    }
}

/// A length of a string that is not coded, with its prefix of seven bits. RFC 7541 §5.1
fn integer(block: &mut Vec<u8>, value: usize) {
    let Some(mut rest) = value.checked_sub(127) else { return block.push(value as u8) };
    block.push(127);
    while rest >= 128 {
        block.push((rest % 128) as u8 | 128);
        rest /= 128;
    }
    block.push(rest as u8);
}

/// The fields of a block, in order.
///
/// # Errors
/// It is malformed, or uses a dynamic table.
pub(super) fn read(mut block: &[u8]) -> Result<Vec<(String, Vec<u8>)>, Failure> {
    let mut fields = Vec::new();
    while let Some(first) = block.first().copied() {
        // RFC 7541 §6
        let (bits, has_value) = match first {
            0x80.. => (7, false),
            0x40.. => (6, true),
            0x20.. => {
                if number(&mut block, 5)? != 0 {
                    return Err("a dynamic table where none is allowed".into());
                }
                continue;
            }
            _ => (4, true),
        };
        let index = number(&mut block, bits)?;
        let (name, value) = match index {
            0 if has_value => (string(&mut block)?, ""),
            _ => {
                let known = index.checked_sub(1).and_then(|index| STATIC.get(index));
                known.map(|(name, value)| (name.as_bytes().to_vec(), *value)).ok_or("an index of no field")?
            }
        };
        let value = if has_value { string(&mut block)? } else { value.as_bytes().to_vec() };
        let name = String::from_utf8(name).map_err(|_| "a field name that is not ASCII")?;
        fields.push((name, value));
    }
    Ok(fields)
}

fn octet(block: &mut &[u8]) -> Result<u8, Failure> {
    let (first, rest) = block.split_first().ok_or("a field block that ends too early")?;
    *block = rest;
    Ok(*first)
}

fn number(block: &mut &[u8], bits: u32) -> Result<usize, Failure> {
    let most = (1_usize << bits) - 1;
    let mut value = usize::from(octet(block)?) & most;
    let mut shift = 0;
    while value >= most {
        let next = octet(block)?;
        if shift > 28 {
            return Err("a number in a field block that is too large".into());
        }
        value += usize::from(next & 127) << shift;
        shift += 7;
        if next < 128 {
            break;
        }
    }
    Ok(value)
}

fn string(block: &mut &[u8]) -> Result<Vec<u8>, Failure> {
    let coded = block.first().is_some_and(|first| *first >= 0x80);
    let length = number(block, 7)?;
    let (text, rest) = block.split_at_checked(length).ok_or("a string that ends too early")?;
    *block = rest;
    if coded { huffman(text) } else { Ok(text.to_vec()) }
}

/// Decodes a string. The code is canonical: codes of one length are consecutive, in the order of their octets.
/// RFC 7541 §5.2, Appendix B
fn huffman(coded: &[u8]) -> Result<Vec<u8>, Failure> {
    let mut text = Vec::new();
    // The first code of the present length, and the code so far.
    let (mut first, mut code, mut length) = (0_u32, 0_u32, 0_u8);
    for bit in coded.iter().flat_map(|octet| (0..8).rev().map(move |shift| octet >> shift & 1)) {
        let shorter = LENGTHS.iter().filter(|found| **found == length && length > 0).count() as u32;
        first = (first + shorter) << 1;
        code = code << 1 | u32::from(bit);
        length += 1;
        let mut same = (0..=255_u8).filter(|octet| LENGTHS[usize::from(*octet)] == length);
        if let Some(found) = code.checked_sub(first).and_then(|index| same.nth(index as usize)) {
            text.push(found);
            (first, code, length) = (0, 0, 0);
        } else if length >= 30 {
            return Err("a string with a code of nothing".into());
        }
    }
    // Padding: up to seven bits of ones.
    if length > 7 || code != (1 << length) - 1 {
        return Err("a string with bad padding".into());
    }
    Ok(text)
}

/// Bits of the code of each octet. RFC 7541, Appendix B
const LENGTHS: [u8; 256] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28,
    28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12,
    10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6,
    5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22,
    22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20,
    22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28,
    27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28,
    27, 27, 27, 27, 27, 26,
];

/// RFC 7541, Appendix A
const STATIC: [(&str, &str); 61] = [
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_of_the_rfc_is_read() {
        // RFC 7541 §C.6.1, without its dynamic table
        let block = [
            0x48, 0x82, 0x64, 0x02, 0x58, 0x85, 0xae, 0xc3, 0x77, 0x1a, 0x4b, 0x61, 0x96, 0xd0, 0x7a, 0xbe, 0x94, 0x10,
            0x54, 0xd4, 0x44, 0xa8, 0x20, 0x05, 0x95, 0x04, 0x0b, 0x81, 0x66, 0xe0, 0x82, 0xa6, 0x2d, 0x1b, 0xff, 0x6e,
            0x91, 0x9d, 0x29, 0xad, 0x17, 0x18, 0x63, 0xc7, 0x8f, 0x0b, 0x97, 0xc8, 0xe9, 0xae, 0x82, 0xae, 0x43, 0xd3,
        ];
        let fields: Vec<(String, String)> = read(&block)
            .expect("a block")
            .into_iter()
            .map(|(name, value)| (name, String::from_utf8(value).expect("text")))
            .collect();
        let expected = [
            (":status", "302"),
            ("cache-control", "private"),
            ("date", "Mon, 21 Oct 2013 20:13:21 GMT"),
            ("location", "https://www.example.com"),
        ];
        assert_eq!(fields, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }

    #[test]
    fn what_is_written_is_read() {
        let mut block = Vec::new();
        let long = "x".repeat(1000);
        write(&mut block, "a", b"1");
        write(&mut block, "long", long.as_bytes());
        assert_eq!(
            read(&block).expect("a block"),
            [("a".to_owned(), b"1".to_vec()), ("long".to_owned(), long.into_bytes())]
        );
    }
}
