//! `unsafe` stands only where docs/reliability.md says, with a reason.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const DOC: &str = include_str!("../../docs/reliability.md");

/// Folders of sources that end up in a program; tests are none.
const ROOTS: [&str; 8] = [
    "shared/src",
    "firmware/src",
    "firmware/no-panic/src",
    "boards",
    "host/src",
    "host/cycle-model/src",
    "host/qemu-plugin/src",
    "fuzz/src",
];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("target") {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

/// How often the keyword stands in code, comments left out.
fn uses(text: &str) -> usize {
    let code = text.lines().map(|l| l.split("//").next().unwrap_or(""));
    let words = code.flat_map(|l| l.split(|c: char| !c.is_ascii_alphanumeric() && c != '_'));
    words.filter(|w| *w == "unsafe").count()
}

#[test]
fn unsafe_stands_only_where_the_document_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut files = Vec::new();
    ROOTS
        .iter()
        .for_each(|r| sources(&root.join(r), &mut files));
    let mut found = BTreeMap::new();
    for file in files {
        let n = uses(&std::fs::read_to_string(&file).unwrap());
        if n > 0 {
            let name = file.strip_prefix(&root).unwrap().display().to_string();
            found.insert(name, n);
        }
    }
    // Rows of the table: | `path.rs` | sites | reason |
    let rows = DOC.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| `")?.split('|').map(str::trim);
        let path = cells.next()?.strip_suffix('`')?;
        let sites: usize = cells.next()?.parse().ok()?;
        let reason = cells.next()?;
        path.ends_with(".rs").then(|| {
            assert!(reason.len() > 20, "{path} has no reason");
            (path.to_owned(), sites)
        })
    });
    let listed: BTreeMap<String, usize> = rows.collect();
    assert_eq!(
        found, listed,
        "left: uses of `unsafe` in the sources, right: those in docs/reliability.md; \
         a new one needs a reason there"
    );
    assert!(listed.len() > 20);
}
