//! Modules import from layers below their own only, as ARCHITECTURE.md draws them.
//!
//! A line of its block `layers` is a folder of sources and its modules, lowest layer first, with `<` between layers. Each module of the
//! folder is in one of them. Modules of one layer do not import each other. Tests and `models` may import what they like.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace is around the crate").to_owned()
}

/// A folder, and the layer of each of its modules.
struct Layers {
    folder: PathBuf,
    /// The folder's path of modules, below the crate.
    path: Vec<String>,
    levels: HashMap<String, usize>,
}

fn drawn(text: &str, root: &Path) -> Vec<Layers> {
    let block = text.split("```layers\n").nth(1).expect("ARCHITECTURE.md has a block `layers`");
    let block = block.split("```").next().unwrap_or_default();
    let mut all: Vec<(String, String)> = Vec::new();
    for line in block.lines() {
        match line.split_once(':') {
            Some((name, layers)) => all.push((name.to_owned(), layers.to_owned())),
            // A long line goes on.
            None => all.last_mut().expect("a line begins with a folder").1.push_str(line),
        }
    }
    let layers = |(name, layers): (String, String)| {
        let mut names = name.split('/');
        let folder = root.join(names.next().unwrap_or_default()).join("src");
        let path: Vec<String> = names.map(str::to_owned).collect();
        let mut levels = HashMap::new();
        for (level, modules) in layers.split('<').enumerate() {
            for module in modules.split_whitespace() {
                let twice = levels.insert(module.to_owned(), level).is_some();
                assert!(!twice, "{name}: {module} is in two layers");
            }
        }
        Layers { folder: folder.join(path.join("/")), path, levels }
    };
    all.into_iter().map(layers).collect()
}

/// Sources of a module: its file, and those in its folder but for tests.
fn sources(folder: &Path, module: &str) -> Vec<PathBuf> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let is_test = path.file_stem().is_some_and(|stem| stem == "tests" || stem == "models");
            if path.is_dir() && !is_test {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") && !is_test {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    let file = folder.join(module).with_extension("rs");
    if file.exists() {
        found.push(file);
    }
    walk(&folder.join(module), &mut found);
    found
}

/// The code of a source, without comments and its tests at the end.
fn code(source: &str) -> String {
    let source = source.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    source.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

/// Modules named in `code` behind `prefix`, alone or in braces.
fn named<'c>(code: &'c str, prefix: &str) -> Vec<&'c str> {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    let mut found = Vec::new();
    for (at, _) in code.match_indices(prefix) {
        if code[..at].ends_with(|c: char| is_name(c) || c == ':') {
            continue;
        }
        let rest = &code[at + prefix.len()..];
        if let Some(list) = rest.strip_prefix('{') {
            let mut depth = 0;
            let ends = |c: char| {
                depth += i32::from(c == '{') - i32::from(c == '}');
                depth < 0
            };
            let list = &list[..list.find(ends).unwrap_or(list.len())];
            found.extend(list.split([',', '{', '}']).map(|item| item.trim().split("::").next().unwrap_or_default()));
        } else {
            found.push(&rest[..rest.find(|c| !is_name(c)).unwrap_or(rest.len())]);
        }
    }
    found
}

/// What is wrong with the layers of a folder.
fn faults(layers: &Layers) -> Vec<String> {
    let Layers { folder, path, levels } = layers;
    let mut faults = Vec::new();
    for entry in fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())).flatten() {
        let file = entry.path();
        let module = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let is_module = file.is_dir() || file.extension().is_some_and(|extension| extension == "rs");
        if is_module
            && !["lib", "main", "mod", "models", "tests"].contains(&module.as_str())
            && !levels.contains_key(&module)
        {
            faults.push(format!("{}: {module} is in no layer", folder.display()));
        }
    }
    let crate_path = ["crate"].into_iter().chain(path.iter().map(String::as_str)).collect::<Vec<_>>().join("::") + "::";
    for (module, level) in levels {
        let sources = sources(folder, module);
        if sources.is_empty() {
            faults.push(format!("{}: there is no {module}", folder.display()));
        }
        for source in sources {
            let code = code(&fs::read_to_string(&source).unwrap_or_default());
            let mut names = named(&code, &crate_path);
            if source.parent() == Some(folder) {
                names.extend(named(&code, "super::"));
            }
            for name in names {
                if name != module && levels.get(name).is_some_and(|other| other >= level) {
                    faults.push(format!("{}: {name} is not below {module}", source.display()));
                }
            }
        }
    }
    faults.sort();
    faults.dedup();
    faults
}

#[test]
fn imports_point_down() {
    let root = root();
    let text = fs::read_to_string(root.join("ARCHITECTURE.md")).expect("ARCHITECTURE.md is there");
    let faults: Vec<String> = drawn(&text, &root).iter().flat_map(faults).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn an_import_that_points_up_is_seen() {
    let folder = tempfile::tempdir().unwrap();
    let src = folder.path().join("a/src");
    fs::create_dir_all(src.join("low")).unwrap();
    for (file, text) in [
        ("lib.rs", "mod low; mod high; mod other;"),
        ("low/mod.rs", "mod deep;"),
        ("low/deep.rs", "use crate::{high::One, http};\n// use crate::other;"),
        ("high.rs", "use crate::low;\nuse super::other::Two;\n#[cfg(test)]\nmod tests {\n    use crate::high;\n}"),
        ("other.rs", ""),
        ("new.rs", ""),
    ] {
        fs::write(src.join(file), text).unwrap();
    }
    let drawn = drawn("```layers\na: low <\n   high other gone\n```", folder.path());
    let faults = faults(&drawn[0]).join("\n");
    for seen in ["deep.rs: high is not below low", "high.rs: other is not below high", "new is in no layer", "no gone"]
    {
        assert!(faults.contains(seen), "{seen} in:\n{faults}");
    }
    assert_eq!(faults.lines().count(), 4, "{faults}");
}
