//! CRC32C (Castagnoli), RFC 3720 appendix B.4: with a table small enough to be made at compile time.

/// The polynomial, reflected.
const POLYNOMIAL: u32 = 0x82f6_3b78;
/// What four bits do.
const TABLE: [u32; 16] = {
    let mut table = [0; 16];
    let mut n = 0;
    while n < 16 {
        let (mut value, mut bit) = (n as u32, 0);
        while bit < 4 {
            value = if value & 1 == 1 { (value >> 1) ^ POLYNOMIAL } else { value >> 1 };
            bit += 1;
        }
        table[n] = value;
        n += 1;
    }
    table
};

/// The checksum of all `parts`, one behind the other.
pub(super) fn crc32c(parts: &[&[u8]]) -> u32 {
    let step = |state: u32| (state >> 4) ^ TABLE[(state & 0xf) as usize];
    let octets = parts.iter().copied().flatten();
    !octets.fold(u32::MAX, |state, octet| step(step(state ^ u32::from(*octet))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_rfc_3720() {
        assert_eq!(crc32c(&[b"123456789"]), 0xe306_9283);
        assert_eq!(crc32c(&[b"1234", b"", b"56789"]), 0xe306_9283);
        assert_eq!(crc32c(&[&[0; 32]]), 0x8a91_36aa);
        assert_eq!(crc32c(&[&[0xff; 32]]), 0x62a8_ab43);
        assert_eq!(crc32c(&[]), 0);
    }
}
