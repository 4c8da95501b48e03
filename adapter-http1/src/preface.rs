//! How HTTP/2 begins. RFC 9113 §3.4

/// The first octets of a client that knows that the server speaks HTTP/2.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Whether a client that has sent `octets` so far speaks HTTP/2; `None` as long as they do not tell.
pub fn is_http2(octets: &[u8]) -> Option<bool> {
    let alike = octets.iter().zip(PREFACE).all(|(a, b)| a == b);
    (!alike || octets.len() >= PREFACE.len()).then_some(alike)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_told_by_the_whole_and_by_the_first_octet_that_differs() {
        for cut in 0..PREFACE.len() {
            assert_eq!(is_http2(&PREFACE[..cut]), None);
            assert_eq!(is_http2(&[&PREFACE[..cut], b"x"].concat()), Some(false));
        }
        assert_eq!(is_http2(&[PREFACE, b"x"].concat()), Some(true));
    }
}
