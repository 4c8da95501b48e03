//! Which field blocks of HTTP/2 have a pseudo-header field, and a fragment in `:path`, read without decoding them. RFC 7541
//!
//! h2 leaves such fields out of trailers, where they make a request malformed (RFC 9113 §8.3), and the fragment out of a path, and tells
//! nobody. Most of them show by their first octet; those that stand in the dynamic table do not, so that it has to be followed through
//! every block: of its entries the lengths, and whether they are such fields. \[MUX-15\], \[TGT-17b\]
//!
//! No I/O, no panics: a block that can't be read is an error, and the connection ends by h2's verdict.

use std::collections::VecDeque;

/// Octets of a dynamic table, by the setting that h2 leaves at its default. RFC 9113 §6.5.2
const MOST: usize = 4096;
/// What an entry counts beside its text. RFC 7541 §4.1
const OVERHEAD: usize = 32;
/// The pseudo-header fields of the static table come first. RFC 7541, Appendix A
const PSEUDO: usize = 14;
/// Lengths of the names of the static table.
const NAMES: [u8; 61] = [
    10, 7, 7, 5, 5, 7, 7, 7, 7, 7, 7, 7, 7, 7, 14, 15, 15, 13, 6, 27, 3, 5, 13, 13, 19, 16, 16, 14, 16, 13, 12, 6, 4,
    4, 6, 7, 4, 4, 8, 17, 13, 8, 19, 13, 4, 8, 12, 18, 19, 5, 7, 7, 11, 6, 10, 25, 17, 10, 4, 3, 16,
];

/// Lengths of the values of its first part; the others have none.
const VALUES: [u8; 16] = [0, 3, 4, 1, 11, 4, 5, 3, 3, 3, 3, 3, 3, 3, 0, 13];

/// The block can't be read, or the client has broken the rules of its table.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unreadable;

/// The dynamic table of the client.
#[derive(Debug)]
pub(super) struct Table {
    entries: VecDeque<Entry>,
    /// Octets of all of them.
    size: usize,
    /// How many there may be.
    most: usize,
    /// What the last block counts, decoded. RFC 9113 §6.5.2
    listed: usize,
    /// Its `:path` has a `#`.
    has_fragment: bool,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    name: Name,
    value: usize,
    has_fragment: bool,
}

#[derive(Clone, Copy, Debug)]
struct Name {
    length: usize,
    is_pseudo: bool,
}

impl Default for Table {
    fn default() -> Self {
        Table { entries: VecDeque::new(), size: 0, most: MOST, listed: 0, has_fragment: false }
    }
}

impl Table {
    /// Follows a whole block; whether it has a pseudo-header field.
    ///
    /// # Errors
    /// It can't be read, and no later one can.
    pub(super) fn read(&mut self, mut block: &[u8]) -> Result<bool, Unreadable> {
        let mut is_pseudo = false;
        (self.listed, self.has_fragment) = (0, false);
        while let Some(first) = block.first().copied() {
            // RFC 7541 §6
            let entry = match first {
                0x80.. => self.entry(number(&mut block, 7)?)?,
                0x40.. => {
                    let name = self.named(&mut block, 6)?;
                    let entry = Entry::of(name, &text(&mut block)?);
                    self.insert(entry);
                    entry
                }
                0x20.. => {
                    self.resize(number(&mut block, 5)?)?;
                    continue;
                }
                _ => {
                    let name = self.named(&mut block, 4)?;
                    Entry::of(name, &text(&mut block)?)
                }
            };
            is_pseudo |= entry.name.is_pseudo;
            self.has_fragment |= entry.has_fragment;
            self.listed = self.listed.saturating_add(entry.size());
        }
        Ok(is_pseudo)
    }

    /// The name of a literal, by its index or as a text.
    fn named(&self, block: &mut &[u8], bits: u32) -> Result<Name, Unreadable> {
        match number(block, bits)? {
            0 => {
                let text = text(block)?;
                Ok(Name { length: text.length(), is_pseudo: text.begins_with_colon() })
            }
            index => Ok(self.entry(index)?.name),
        }
    }

    /// What the last block that was read counts, decoded: the size of a field list of RFC 9113 §6.5.2.
    pub(super) fn listed(&self) -> usize {
        self.listed
    }

    /// Whether the `:path` of the last block has a fragment.
    pub(super) fn has_fragment(&self) -> bool {
        self.has_fragment
    }

    /// The entry of that number, in both tables. RFC 7541 §2.3.3
    fn entry(&self, index: usize) -> Result<Entry, Unreadable> {
        let place = index.checked_sub(1).ok_or(Unreadable)?;
        match NAMES.get(place) {
            Some(length) => {
                let name = Name { length: usize::from(*length), is_pseudo: place < PSEUDO };
                let value = VALUES.get(place).copied().map_or(0, usize::from);
                Ok(Entry { name, value, has_fragment: false })
            }
            None => self.entries.get(place - NAMES.len()).copied().ok_or(Unreadable),
        }
    }

    /// RFC 7541 §4.4
    fn insert(&mut self, entry: Entry) {
        let size = entry.size();
        self.evict(self.most.saturating_sub(size));
        if size <= self.most {
            self.size += size;
            self.entries.push_front(entry);
        }
    }

    /// RFC 7541 §6.3
    fn resize(&mut self, most: usize) -> Result<(), Unreadable> {
        if most > MOST {
            return Err(Unreadable);
        }
        self.most = most;
        self.evict(most);
        Ok(())
    }

    /// Drops the oldest entries until the others have `room` octets at most.
    fn evict(&mut self, room: usize) {
        while self.size > room
            && let Some(entry) = self.entries.pop_back()
        {
            self.size -= entry.size();
        }
    }
}

impl Entry {
    fn of(name: Name, value: &Text<'_>) -> Self {
        // No other pseudo-header field of requests has a name as long.
        let is_path = name.is_pseudo && name.length == ":path".len();
        Entry { name, value: value.length(), has_fragment: is_path && value.has_number_sign() }
    }

    fn size(self) -> usize {
        self.name.length + self.value + OVERHEAD
    }
}

/// A string of a block. RFC 7541 §5.2
struct Text<'a> {
    octets: &'a [u8],
    is_coded: bool,
}

impl Text<'_> {
    /// How long it is, decoded.
    fn length(&self) -> usize {
        if self.is_coded { decoded(self.octets) } else { self.octets.len() }
    }

    fn has_number_sign(&self) -> bool {
        let mut found = false;
        match self.is_coded {
            true => codes(self.octets, |code| found |= code == NUMBER_SIGN),
            false => found = self.octets.contains(&b'#'),
        }
        found
    }

    fn begins_with_colon(&self) -> bool {
        // The code of a colon is 1011100.
        let colon = |first: u8| if self.is_coded { first >> 1 == 0b101_1100 } else { first == b':' };
        self.octets.first().is_some_and(|first| colon(*first))
    }
}

fn text<'a>(block: &mut &'a [u8]) -> Result<Text<'a>, Unreadable> {
    let is_coded = block.first().is_some_and(|first| *first >= 0x80);
    let length = number(block, 7)?;
    let (octets, rest) = block.split_at_checked(length).ok_or(Unreadable)?;
    *block = rest;
    Ok(Text { octets, is_coded })
}

/// RFC 7541 §5.1
fn number(block: &mut &[u8], bits: u32) -> Result<usize, Unreadable> {
    let mut octet = || {
        let (first, rest) = block.split_first().ok_or(Unreadable)?;
        *block = rest;
        Ok(usize::from(*first))
    };
    let most = (1_usize << bits) - 1;
    let mut value = octet()? & most;
    if value < most {
        return Ok(value);
    }
    // Up to 28 bits: no block is as long.
    for shift in [0, 7, 14, 21] {
        let next = octet()?;
        value += (next & 127) << shift;
        if next < 128 {
            return Ok(value);
        }
    }
    Err(Unreadable)
}

/// How many codes of Huffman's have each length, from 5 bits on. RFC 7541, Appendix B
const CODES: [(u32, u32); 21] = [
    (5, 10),
    (6, 26),
    (7, 32),
    (8, 6),
    (10, 5),
    (11, 3),
    (12, 2),
    (13, 6),
    (14, 2),
    (15, 3),
    (19, 3),
    (20, 8),
    (21, 13),
    (22, 26),
    (23, 29),
    (24, 12),
    (25, 4),
    (26, 15),
    (27, 19),
    (28, 29),
    (30, 4),
];

/// For each length of codes, what 32 bits that begin with one are below. The code is canonical: longer ones are greater.
const LIMITS: [(u32, u64); CODES.len()] = {
    let mut limits = [(0, 0); CODES.len()];
    let (mut at, mut limit) = (0, 0_u64);
    while at < CODES.len() {
        let (bits, count) = CODES[at];
        limit += (count as u64) << (32 - bits);
        limits[at] = (bits, limit);
        at += 1;
    }
    limits
};

/// How many bits a code has, and which.
type Code = (u32, u64);

/// RFC 7541, Appendix B
const NUMBER_SIGN: Code = (12, 0xffa);

/// The length of a text in Huffman's code. Where it is malformed, whatever number: h2 refuses it.
fn decoded(octets: &[u8]) -> usize {
    let mut length = 0;
    codes(octets, |_| length += 1);
    length
}

/// Each code of a text, up to where it is malformed.
#[inline]
fn codes(octets: &[u8], mut each: impl FnMut(Code)) {
    let (mut window, mut bits) = (0_u64, 0_u32);
    let mut rest = octets.iter();
    loop {
        while bits <= 32
            && let Some(octet) = rest.next()
        {
            window |= u64::from(*octet) << (56 - bits);
            bits += 8;
        }
        // Behind the last octet come ones: padding is the beginning of the longest code.
        let ones = u64::MAX.checked_shr(bits).unwrap_or_default();
        let begin = (window | ones) >> 32;
        let Some((used, _)) = LIMITS.iter().find(|(_, limit)| begin < *limit).filter(|(used, _)| *used <= bits) else {
            return;
        };
        each((*used, begin >> (32 - used)));
        window <<= used;
        bits -= used;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_coded_texts_are_known() {
        // RFC 7541 §C.4, §C.6
        let texts: [(&[u8], &str); 6] = [
            (b"\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff", "www.example.com"),
            (b"\xa8\xeb\x10\x64\x9c\xbf", "no-cache"),
            (b"\x64\x02", "302"),
            (b"\xae\xc3\x77\x1a\x4b", "private"),
            (b"\xd0\x7a\xbe\x94\x10\x54\xd4\x44\xa8\x20\x05\x95\x04\x0b\x81\x66\xe0\x82\xa6\x2d\x1b\xff", "Mon, 21 Oct 2013 20:13:21 GMT"),
            (b"\x94\xe7\x82\x1d\xd7\xf2\xe6\xc7\xb3\x35\xdf\xdf\xcd\x5b\x39\x60\xd5\xaf\x27\x08\x7f\x36\x72\xc1\xab\x27\x0f\xb5\x29\x1f\x95\x87\x31\x60\x65\xc0\x03\xed\x4e\xe5\xb1\x06\x3d\x50\x07", "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1"),
        ];
        for (coded, text) in texts {
            assert_eq!(decoded(coded), text.len(), "{text}");
        }
        assert_eq!(decoded(b""), 0);
        assert_eq!(LIMITS.last(), Some(&(30, 1 << 32)), "the code is whole");
        // An octet of 28 bits, whole and cut off.
        assert_eq!(decoded(b"\xff\xff\xfe\x2f"), 1);
        assert_eq!(decoded(b"\xff\xff"), 0);
    }

    #[test]
    fn the_table_is_followed() {
        // RFC 7541 §C.5: a table of 256 octets that evicts
        let mut table = Table { most: 256, ..Table::default() };
        let first = b"\x48\x03302\x58\x07private\x61\x1dMon, 21 Oct 2013 20:13:21 GMT\x6e\x17https://www.example.com";
        assert_eq!(table.read(first), Ok(true));
        assert_eq!((table.entries.len(), table.size), (4, 222));
        assert_eq!(table.read(b"\x48\x03307\xc1\xc0\xbf"), Ok(true));
        assert_eq!((table.entries.len(), table.size), (4, 222));
        assert!(table.entries.iter().map(|entry| entry.name.is_pseudo).eq([true, false, false, false]));
        let third = b"\x88\xc1\x61\x1dMon, 21 Oct 2013 20:13:22 GMT\xc0\x5a\x04gzip\x77\x38foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1";
        assert_eq!(table.read(third), Ok(true));
        assert_eq!((table.entries.len(), table.size), (3, 215));
        assert_eq!(table.read(b"\xbe\xbf\xc0"), Ok(false), "none of the three is such a field");
        assert_eq!(table.read(b"\xc1"), Err(Unreadable), "there is no fourth");
    }

    #[test]
    fn lists_are_counted_as_they_are_decoded() {
        let mut table = Table::default();
        // :method: GET, :scheme: http, and two times x: abc, once into the table and once out of it
        assert_eq!(table.read(b"\x82\x86\x40\x01x\x03abc\xbe"), Ok(true));
        assert_eq!(table.listed(), (7 + 3 + 32) + (7 + 4 + 32) + 2 * (1 + 3 + 32));
        // accept-encoding: gzip, deflate; and an empty authority
        assert_eq!(table.read(b"\x90\x01\0"), Ok(true));
        assert_eq!(table.listed(), (15 + 13 + 32) + (10 + 32));
    }

    #[test]
    fn fragments_of_paths_are_seen_however_they_are_written() {
        let mut table = Table::default();
        let mut has = |block: &[u8]| {
            table.read(block).unwrap();
            table.has_fragment()
        };
        assert!(has(b"\x04\x04/a#b"));
        // "/#" in Huffman's code: 011000 111111111010, and padding
        assert!(has(b"\x82\x44\x83\x63\xfe\xbf\x86") && has(b"\xbe"), "and out of the table");
        assert!(has(b"\x7e\x02/#") && has(b"\xbe") && has(b"\xbf"), "by the table's name");
        assert!(has(b"\0\x05:path\x01#"));
        assert!(!has(b"\x82\x84\x86"));
        // "/>" in Huffman's code, and others' number signs
        assert!(!has(b"\x04\x83\x63\xfe\xff") && !has(b"\x01\x01#") && !has(b"\0\x01a\x01#"));
    }

    #[test]
    fn what_is_larger_than_the_table_empties_it() {
        // A value of 127 octets and more: 7f, and the rest in groups of seven bits.
        let literal = |value: usize| {
            let rest = value - 127;
            let number = [(rest % 128) as u8 | 128, (rest / 128) as u8];
            [b"\x40\x01a\x7f".as_slice(), &number, &vec![b'v'; value]].concat()
        };
        let mut table = Table::default();
        assert_eq!(table.read(b"\x44\x02/a"), Ok(true));
        assert_eq!(table.read(&literal(MOST - OVERHEAD - 1)), Ok(false));
        assert_eq!((table.entries.len(), table.size), (1, MOST));
        assert_eq!(table.read(&literal(MOST - OVERHEAD)), Ok(false));
        assert_eq!((table.entries.len(), table.size), (0, 0));
        assert_eq!(table.read(b"\x44\x02/a\x20\x3f\xe1\x1f"), Ok(true));
        assert_eq!(table.entries.len(), 0, "a size of 0 in between");
    }

    #[test]
    fn pseudo_fields_show_however_they_are_written() {
        for block in [
            &b"\x82"[..],
            b"\x8e",
            b"\0\x05:path\x01/",
            b"\x10\x02:x\0",
            b"\x04\x01/",
            b"\0\x82\xb8\xff\x011",
            b"\x40\x01:\0",
        ] {
            assert_eq!(Table::default().read(block), Ok(true), "{}", block.escape_ascii());
        }
        for block in [&b""[..], b"\x8f", b"\0\x01x\x01:", b"\0\0\0", b"\x0f\0\x01a", b"\0\x01x\x82\xb8\xff"] {
            assert_eq!(Table::default().read(block), Ok(false), "{}", block.escape_ascii());
        }
        for block in [&b"\x80"[..], b"\xbe", b"\xff", b"\0\x05a", b"\xff\xff\xff\xff\xff\xff\x01", b"\x3f\xe2\x1f"] {
            assert_eq!(Table::default().read(block), Err(Unreadable), "{}", block.escape_ascii());
        }
    }
}
