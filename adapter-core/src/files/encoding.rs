//! Which content coding a client would rather have. RFC 9110 §12.5.3. No I/O.

use http::{HeaderMap, header};

/// A content coding in which a file may lie beside itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Coding {
    /// In the fields.
    pub(super) name: &'static str,
    /// Of the file.
    pub(super) extension: &'static str,
}

/// Those that are looked for, the one that is mostly the smallest first. RFC 7932, RFC 8878, RFC 9110 §8.4.1.3
pub(super) const CODINGS: [Coding; 3] = [
    Coding { name: "br", extension: "br" },
    Coding { name: "zstd", extension: "zst" },
    Coding { name: "gzip", extension: "gz" },
];

/// Those that `headers` accept, best first; none where there is no such field, as many a client without one can't undo any. What the
/// client likes as much as the file itself is better than that.
pub(super) fn accepted(headers: &HeaderMap) -> Vec<Coding> {
    let weights = Weights::of(headers);
    let mut accepted: Vec<_> = CODINGS
        .iter()
        .filter_map(|coding| {
            let weight = weights.named(coding.name)?;
            (weight > 0 && weight >= weights.identity()).then_some((weight, *coding))
        })
        .collect();
    // Stable: among equals ours counts.
    accepted.sort_by_key(|(weight, _)| std::cmp::Reverse(*weight));
    accepted.into_iter().map(|(_, coding)| coding).collect()
}

/// Names with their weights, in thousandths.
struct Weights<'a>(Vec<(&'a str, u16)>);

impl<'a> Weights<'a> {
    fn of(headers: &'a HeaderMap) -> Self {
        let values = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
        Weights(values.flat_map(|value| value.split(',')).filter_map(weighted).collect())
    }

    fn exactly(&self, name: &str) -> Option<u16> {
        let is =
            |known: &str| known.eq_ignore_ascii_case(name) || (name == "gzip" && known.eq_ignore_ascii_case("x-gzip"));
        self.0.iter().find(|(known, _)| is(known)).map(|(_, weight)| *weight)
    }

    fn named(&self, name: &str) -> Option<u16> {
        self.exactly(name).or_else(|| self.exactly("*"))
    }

    /// Of the file as it is: acceptable unless it is said not to be, and liked no better than what is named.
    fn identity(&self) -> u16 {
        self.exactly("identity").unwrap_or(0)
    }
}

/// `name;q=0.5`. §12.4.2: a weight that is malformed is none.
fn weighted(element: &str) -> Option<(&str, u16)> {
    let mut parts = element.split(';').map(str::trim);
    let name = parts.next().filter(|name| !name.is_empty())?;
    let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
    Some((name, weight.map_or(1000, thousandths)))
}

fn thousandths(weight: &str) -> u16 {
    let (whole, fraction) = weight.split_once('.').unwrap_or((weight, ""));
    let is_valid =
        matches!(whole, "0" | "1") && fraction.len() <= 3 && fraction.bytes().all(|digit| digit.is_ascii_digit());
    let thousandths = || format!("{whole}{fraction:0<3}").parse::<u16>().ok().filter(|weight| *weight <= 1000);
    is_valid.then(thousandths).flatten().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_say_what_they_like() {
        for (field, expected) in [
            ("gzip, deflate, br, zstd", "br zstd gzip"),
            ("gzip", "gzip"),
            ("GZIP", "gzip"),
            ("x-gzip", "gzip"),
            ("gzip;q=1.0, br;q=0.5", "gzip br"),
            ("br;q=0.001", "br"),
            ("br;q=0", ""),
            ("br;q=0, *", "zstd gzip"),
            ("*;q=0", ""),
            ("*;q=0.5, gzip;q=0.8", "gzip br zstd"),
            ("identity, br;q=0.5", ""),
            ("identity;q=0.2, br;q=0.5", "br"),
            ("identity", ""),
            ("br;q=2", ""),
            ("br;q=x", ""),
            ("br;q=0.1234", ""),
            ("br ; q=1", "br"),
            ("deflate", ""),
            (",,", ""),
            ("", ""),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_ENCODING, field.parse().unwrap());
            let names: Vec<_> = accepted(&headers).iter().map(|coding| coding.name).collect();
            assert_eq!(names.join(" "), expected, "{field}");
        }
        assert!(accepted(&HeaderMap::new()).is_empty());
        let mut twice = HeaderMap::new();
        twice.append(header::ACCEPT_ENCODING, "gzip".parse().unwrap());
        twice.append(header::ACCEPT_ENCODING, "br".parse().unwrap());
        assert_eq!(accepted(&twice).len(), 2);
    }
}
