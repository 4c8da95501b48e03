//! Takes the programs out of the pages: the block of Rust behind `<!-- program: NAME -->` becomes `NAME.rs`, which
//! `tests/programs` includes. So what is asked there is what a reader copies, to the letter. Several blocks of one name are one
//! file.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::path::Path;
use std::{env, fs};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=src");
    let out = env::var("OUT_DIR")?;
    let mut names = BTreeSet::new();
    for entry in fs::read_dir("src")? {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "md") {
            continue;
        }
        for (name, program) in programs(&fs::read_to_string(&path)?) {
            if !names.insert(name.to_owned()) {
                return Err(format!("{}: another page has a program called {name}", path.display()).into());
            }
            fs::write(Path::new(&out).join(format!("{name}.rs")), program)?;
        }
    }
    Ok(())
}

/// Name and text of each program of a page.
fn programs(page: &str) -> BTreeMap<&str, String> {
    let mut programs = BTreeMap::<&str, String>::new();
    for part in page.split("<!-- program: ").skip(1) {
        let Some((name, rest)) = part.split_once(" -->\n") else { continue };
        let block = rest.strip_prefix("```rust").and_then(|rest| rest.split_once('\n'));
        let Some((program, _)) = block.and_then(|(_, block)| block.split_once("\n```")) else { continue };
        let text = programs.entry(name).or_default();
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(program);
        text.push('\n');
    }
    programs
}
