//! From the path of a request to one below the root. No I/O.

use std::path::{Component, Path, PathBuf};

use percent_encoding::percent_decode_str;

/// A path below the root, without `..`, and whether it is to be a folder's.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) path: PathBuf,
    /// It ends in a slash.
    pub(super) folder: bool,
}

/// What `path`, as it stands in a request, names; `None` where it can't name anything that is served: it has `.` or `..`, an empty
/// segment, a NUL, a separator that was encoded, or, where those are not `shown`, a name with a dot in front.
///
/// One file has one path: what a file system would take for the same (`//`, `/./`) is not found.
pub(super) fn wanted(path: &str, shown: bool) -> Option<Wanted> {
    if path.is_empty() || path == "/" {
        // Without a slash: an application that is mounted at `/x`, and asked for just that.
        return Some(Wanted { path: PathBuf::new(), folder: !path.is_empty() });
    }
    let path = path.strip_prefix('/')?;
    let (path, folder) = match path.strip_suffix('/') {
        Some(path) => (path, true),
        None => (path, false),
    };
    let mut below = PathBuf::new();
    for (place, segment) in path.split('/').enumerate() {
        let name = name(&percent_decode_str(segment).collect::<Vec<u8>>())?;
        // RFC 8615: what is there is meant for everybody.
        let is_hidden = segment_is_hidden(&name) && !(place == 0 && name == Path::new(".well-known"));
        if is_hidden && !shown {
            return None;
        }
        below.push(name);
    }
    Some(Wanted { path: below, folder })
}

pub(super) fn segment_is_hidden(name: &Path) -> bool {
    name.as_os_str().as_encoded_bytes().starts_with(b".")
}

/// `octets` as the name of one entry of a folder.
fn name(octets: &[u8]) -> Option<PathBuf> {
    if octets.iter().any(|octet| matches!(octet, 0 | b'/')) {
        return None;
    }
    let name = os_name(octets)?;
    // `.`, `..`, and on Windows drives and what has another separator.
    let mut components = name.components();
    let is_one = matches!((components.next(), components.next()), (Some(Component::Normal(one)), None) if one == name.as_os_str());
    is_one.then_some(name)
}

#[cfg(unix)]
#[expect(clippy::unnecessary_wraps, reason = "elsewhere not every name is one")]
fn os_name(octets: &[u8]) -> Option<PathBuf> {
    use std::os::unix::ffi::OsStrExt as _;
    Some(std::ffi::OsStr::from_bytes(octets).into())
}

/// Names that Windows takes for another file or for a device have a colon, or end in a dot or a blank; and a device may have any
/// extension.
#[cfg(not(unix))]
fn os_name(octets: &[u8]) -> Option<PathBuf> {
    const DEVICES: [&str; 4] = ["CON", "PRN", "AUX", "NUL"];
    let name = std::str::from_utf8(octets).ok()?;
    let stem = name.split('.').next().unwrap_or_default().trim_end().to_ascii_uppercase();
    let is_port = stem.strip_prefix("COM").or(stem.strip_prefix("LPT")).is_some_and(|rest| rest.chars().count() == 1);
    let is_odd = name.contains([':', '\\']) || name.ends_with(['.', ' ']);
    (!is_odd && !is_port && !DEVICES.contains(&stem.as_str())).then(|| name.into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn found(path: &str) -> Option<String> {
        wanted(path, false).map(|it| format!("{}{}", it.path.display(), if it.folder { "/" } else { "" }))
    }

    #[test]
    fn plain_paths_are_what_they_say() {
        for (path, expected) in [
            ("/", "/"),
            ("", ""),
            ("/a.txt", "a.txt"),
            ("/a/b.c", "a/b.c"),
            ("/a/", "a/"),
            ("/a%20b", "a b"),
            ("/%C3%A4", "ä"),
            ("/a%2", "a%2"),
            ("/.well-known/x", ".well-known/x"),
            ("/a..b", "a..b"),
        ] {
            assert_eq!(found(path).as_deref(), Some(expected), "{path}");
        }
    }

    #[test]
    fn nothing_leads_out_or_aside() {
        for path in [
            "a",
            "*",
            "/..",
            "/../a",
            "/a/../b",
            "/a/..",
            "/.",
            "/./a",
            "/a/.",
            "//",
            "//a",
            "/a//b",
            "/a//",
            "/%2e%2e/a",
            "/%2E%2e",
            "/a%2fb",
            "/..%2f",
            "/%00",
            "/a%00.txt",
            "/.git/config",
            "/a/.env",
            "/a/.well-known",
        ] {
            assert_eq!(found(path), None, "{path}");
        }
        assert!(wanted("/.git/config", true).is_some());
        assert_eq!(wanted("/..", true), None);
    }

    proptest! {
        /// Whatever is asked for, the path is below the root, and has no part that moves.
        #[test]
        fn always_below(path in "/[./%a-c0-9A-F\\\\:]{0,24}", shown: bool) {
            if let Some(it) = wanted(&path, shown) {
                prop_assert!(it.path.components().all(|part| matches!(part, Component::Normal(_))), "{:?}", it.path);
                prop_assert!(Path::new("/root").join(&it.path).starts_with("/root"));
            }
        }
    }
}
