//! What `deny.toml` says of licences and sources, for machines without cargo-deny: every package
//! comes from crates.io or from here, under a licence that is allowed.

use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

/// Alternatives of sums of alternatives, as SPDX writes them; `/` is an old way to write OR.
struct Expression<'a> {
    tokens: Vec<&'a str>,
    at: usize,
}

impl<'a> Expression<'a> {
    fn new(text: &'a str) -> Self {
        let mut tokens = Vec::new();
        for word in text.split([' ', '/']).filter(|w| !w.is_empty()) {
            let inner = word.trim_start_matches('(');
            tokens.extend(std::iter::repeat_n("(", word.len() - inner.len()));
            let name = inner.trim_end_matches(')');
            tokens.push(name);
            tokens.extend(std::iter::repeat_n(")", inner.len() - name.len()));
        }
        Self { tokens, at: 0 }
    }

    fn takes(&mut self, token: &str) -> bool {
        let found = self.tokens.get(self.at) == Some(&token);
        self.at += usize::from(found);
        found
    }

    fn any(&mut self, allowed: &BTreeSet<String>) -> bool {
        let mut holds = self.all(allowed);
        loop {
            let next = self.tokens.get(self.at).copied();
            if next.is_none_or(|t| t == ")" || t == "AND") {
                return holds;
            }
            // OR, or what a slash left out.
            self.takes("OR");
            holds |= self.all(allowed);
        }
    }

    fn all(&mut self, allowed: &BTreeSet<String>) -> bool {
        let mut holds = self.one(allowed);
        while self.takes("AND") {
            holds &= self.one(allowed);
        }
        holds
    }

    fn one(&mut self, allowed: &BTreeSet<String>) -> bool {
        if self.takes("(") {
            let holds = self.any(allowed);
            assert!(self.takes(")"), "{:?}", self.tokens);
            return holds;
        }
        let mut name = self.tokens[self.at].to_owned();
        self.at += 1;
        if self.takes("WITH") {
            name = format!("{name} WITH {}", self.tokens[self.at]);
            self.at += 1;
        }
        allowed.contains(&name)
    }
}

fn metadata(manifest: &Path) -> Value {
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--format-version",
            "1",
            "--offline",
            "--manifest-path",
        ])
        .arg(manifest)
        // The host's target only: what is linked on other systems need not be here.
        .args(["--filter-platform", "x86_64-unknown-linux-gnu"])
        .output()
        .expect("cargo runs");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {error}", manifest.display());
    serde_json::from_slice(&output.stdout).expect("JSON")
}

#[test]
fn every_dependency_has_an_allowed_licence_and_comes_from_the_registry() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let deny = std::fs::read_to_string(root.join("deny.toml")).expect("deny.toml");
    let deny: toml::Value = toml::from_str(&deny).expect("is TOML");
    let names = deny["licenses"]["allow"].as_array().expect("a list");
    let allowed: BTreeSet<String> = names
        .iter()
        .map(|n| n.as_str().expect("a name").to_owned())
        .collect();
    let registry = deny["sources"]["allow-registry"][0].as_str().expect("one");
    let mut seen = 0;
    let packages = metadata(&root.join("Cargo.toml"));
    for package in packages["packages"].as_array().expect("packages") {
        let name = package["name"].as_str().expect("a name");
        if let Some(source) = package["source"].as_str() {
            assert!(source.ends_with(registry), "{name} comes from {source}");
        }
        let licence = package["license"].as_str();
        let licence = licence.unwrap_or_else(|| panic!("{name} has no licence"));
        let holds = Expression::new(licence).any(&allowed);
        assert!(holds, "{name}: `{licence}` is not allowed in deny.toml");
        seen += 1;
    }
    assert!(seen > 200, "{seen} packages");
}

#[test]
fn expressions_are_read_as_spdx_says() {
    let allowed = BTreeSet::from(["MIT".to_owned(), "A WITH X".to_owned(), "C".to_owned()]);
    for (text, holds) in [
        ("MIT", true),
        ("GPL", false),
        ("GPL OR MIT", true),
        ("GPL/MIT", true),
        ("MIT AND GPL", false),
        ("(GPL OR MIT) AND C", true),
        ("(GPL OR MIT) AND GPL", false),
        ("A WITH X OR GPL", true),
        ("A WITH Y", false),
        ("GPL OR MIT AND C", true),
    ] {
        assert_eq!(Expression::new(text).any(&allowed), holds, "{text}");
    }
}
