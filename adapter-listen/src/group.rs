//! Groups by name, as the file of them has them. Reads it, and blocks as that does; directories of users (LDAP) are not asked.

use std::io::{self, ErrorKind};

/// The number of `group`, which is a name or a number.
pub(super) fn id(group: &str) -> io::Result<u32> {
    if let Ok(id) = group.parse() {
        return Ok(id);
    }
    let groups = std::fs::read("/etc/group").map_err(|error| {
        io::Error::new(error.kind(), format!("the group {group:?} is not known: /etc/group: {error}"))
    })?;
    let missing = || io::Error::new(ErrorKind::InvalidInput, format!("there is no group {group:?}"));
    find(&groups, group).ok_or_else(missing)
}

/// Lines are `name:password:number:members`.
fn find(groups: &[u8], name: &str) -> Option<u32> {
    groups.split(|byte| *byte == b'\n').find_map(|line| {
        let mut fields = line.split(|byte| *byte == b':');
        (fields.next() == Some(name.as_bytes())).then(|| std::str::from_utf8(fields.nth(1)?).ok()?.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_found_by_name_and_number() {
        let file = b"root:x:0:\n# www:x:1:\nbroken\nwww:x:word:\nwww:x:33:a,b\n\xff:x:7:\n";
        assert_eq!(find(file, "www"), Some(33));
        assert_eq!(find(file, "root"), Some(0));
        assert_eq!((find(file, "broken"), find(file, ""), find(file, "ww")), (None, None, None));
        assert_eq!(id("4711").unwrap(), 4711);
        assert_eq!(id("no such").unwrap_err().to_string(), "there is no group \"no such\"");
    }
}
