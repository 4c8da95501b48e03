//! The pages themselves: all of them are in the table of contents and are tested, and what is compiled elsewhere is what stands
//! there.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Before a block that is a piece of a file.
const FROM: &str = "<!-- from: ";

/// The files of the pages.
fn pages() -> BTreeSet<String> {
    let entries = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).expect("src");
    let names = entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("a name in UTF-8"));
    names.filter(|name| name.ends_with(".md") && name != "SUMMARY.md").collect()
}

#[test]
fn every_page_is_in_the_table_of_contents_and_among_the_doctests() {
    let (summary, tested) = (read("src/SUMMARY.md"), read("src/lib.rs"));
    for page in pages() {
        assert!(summary.contains(&format!("({page})")), "{page} is not in SUMMARY.md");
        assert!(
            tested.contains(&format!("include_str!(\"{page}\")")),
            "{page} is not in lib.rs, so nobody compiles it"
        );
    }
}

#[test]
fn every_program_is_asked() {
    let programs: String = ["answers", "begin", "keeping", "live", "other"]
        .map(|file| read(&format!("tests/programs/{file}.rs")))
        .concat();
    for page in pages() {
        for name in read(&format!("src/{page}")).lines().filter_map(|line| line.strip_prefix("<!-- program: ")) {
            let name = name.trim_end_matches(" -->");
            // That one is a module of `my_server`.
            let is_included = name == "server" || programs.contains(&format!("\"/{name}.rs\""));
            assert!(is_included, "tests/programs does not include the program {name} of {page}");
        }
    }
}

/// The blocks of Rust that doctests leave out: info string and text.
fn ignored(page: &str) -> Vec<(String, String)> {
    let mut blocks = Vec::new();
    let mut marker = String::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        if line == "```rust,ignore" {
            let text: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
            blocks.push((std::mem::take(&mut marker), text.join("\n")));
        } else {
            line.clone_into(&mut marker);
        }
    }
    blocks
}

#[test]
fn what_is_not_a_doctest_is_a_program() {
    for page in pages() {
        for (marker, text) in ignored(&read(&format!("src/{page}"))) {
            // The one of the suite is conformance-tests/tests/minimal_server.rs, with another path.
            let is_known = marker.starts_with("<!-- program: ")
                || marker.starts_with(FROM)
                || text.contains("conformance_tests::main(&[");
            assert!(is_known, "nobody compiles this block of {page}:\n{text}");
        }
    }
}

/// Examples have tests of their own, so what a page shows of one has to be the example.
#[test]
fn what_is_shown_of_an_example_stands_there() {
    let mut shown = 0;
    for page in pages() {
        let text = read(&format!("src/{page}"));
        for piece in text.split(FROM).skip(1) {
            let (path, rest) = piece.split_once(" -->\n```").unwrap_or_else(|| panic!("{page}: no block:\n{piece}"));
            let block = rest.split_once('\n').and_then(|(_, rest)| rest.split_once("\n```"));
            let (block, _) = block.unwrap_or_else(|| panic!("{page}: the block does not end:\n{rest}"));
            assert!(read(&format!("../{path}")).contains(block), "{page}: {path} has this no more:\n{block}");
            shown += 1;
        }
    }
    assert!(shown > 0, "none was found");
}

/// The suite is run on the example, so what the page shows has to be the example.
#[test]
fn the_server_of_the_page_is_the_example() {
    let page = read("src/writing-a-server.md");
    let pieces = ignored(&page).into_iter().filter(|(marker, _)| marker == "<!-- program: server -->");
    let shown: Vec<String> = pieces.map(|(_, text)| text).collect();
    let example = read("../conformance-tests/examples/minimal_server.rs");
    let (server, _) = example.split_once("\n/// Serves the conformance application").expect("the example's main");
    let shown = shown.join("\n\n");
    for (number, (shown, there)) in shown.lines().zip(server.trim_end().lines()).enumerate() {
        assert_eq!(
            shown,
            there,
            "writing-a-server.md is not minimal_server.rs any more, from line {} of it on",
            number + 1
        );
    }
    assert_eq!(
        shown.lines().count(),
        server.trim_end().lines().count(),
        "writing-a-server.md lacks a piece of minimal_server.rs"
    );
}
