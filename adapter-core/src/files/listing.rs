//! A folder's entries as a page, where that is asked for.

use std::fmt::Write as _;
use std::fs::DirEntry;
use std::io;
use std::path::Path;

use percent_encoding::{AsciiSet, CONTROLS, percent_encode};

use super::path::segment_is_hidden;

/// Entries that are named at most.
const MOST: usize = 10_000;

/// What would mean something else in a path, or in HTML. RFC 3986 §3.3
const SEGMENT: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'&')
    .add(b'\'')
    .add(b'/')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'\\');

/// A page of what is in `folder`, by name, as far as it is served: files and folders below `root`; `shown` is what is hidden, too.
/// Blocks.
///
/// # Errors
/// As reading the folder.
pub(super) fn page(folder: &Path, root: &Path, shown: bool) -> io::Result<String> {
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if !shown && segment_is_hidden(Path::new(&name)) {
            continue;
        }
        let Some(is_folder) = served(&entry, root) else { continue };
        entries.push((name, is_folder));
        if entries.len() > MOST {
            break;
        }
    }
    entries.sort();
    let mut page = String::from("<!DOCTYPE html>\n<meta charset=\"utf-8\">\n<title>Files</title>\n<ul>\n");
    if folder != root {
        page.push_str("<li><a href=\"../\">../</a>\n");
    }
    for (name, is_folder) in entries.iter().take(MOST) {
        let slash = if *is_folder { "/" } else { "" };
        // `./`: a name with a colon would be a scheme.
        let link = percent_encode(name.as_encoded_bytes(), SEGMENT);
        // Writing to a string does not fail.
        let _ = writeln!(page, "<li><a href=\"./{link}{slash}\">{}{slash}</a>", escaped(&name.to_string_lossy()));
    }
    page.push_str("</ul>\n");
    if entries.len() > MOST {
        let _ = writeln!(page, "<p>There are more than {MOST}.");
    }
    Ok(page)
}

/// Whether it is a folder; `None` if it would not be served: no file and no folder, or a link that ends elsewhere.
fn served(entry: &DirEntry, root: &Path) -> Option<bool> {
    let path = entry.path();
    if entry.file_type().ok()?.is_symlink() && !path.canonicalize().ok()?.starts_with(root) {
        return None;
    }
    let metadata = std::fs::metadata(&path).ok()?;
    (metadata.is_file() || metadata.is_dir()).then(|| metadata.is_dir())
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            // Names may have lines.
            character if character.is_control() => escaped.push('\u{fffd}'),
            character => escaped.push(character),
        }
    }
    escaped
}
