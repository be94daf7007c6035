//! The package holds what is published, and nothing else.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

/// Files that cargo adds to every package.
const MADE_BY_CARGO: [&str; 3] = ["Cargo.lock", "Cargo.toml.orig", ".cargo_vcs_info.json"];

/// How many crates the default features may need, oxmq among them.
const MOST_CRATES: usize = 87;

/// Collects all files below a folder of the repository, by their path from its root; hidden ones are left out.
fn files_below(folder: &str, into: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let path = format!("{folder}/{name}");
        match entry.file_type().unwrap() {
            _ if name.starts_with('.') => {}
            kind if kind.is_dir() => files_below(&path, into),
            _ => drop(into.insert(path)),
        }
    }
}

#[test]
fn the_package_holds_the_library_and_its_examples() {
    let cargo = Command::new(env!("CARGO"))
        .args(["package", "--list", "--allow-dirty", "--offline", "--manifest-path"])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))
        .output()
        .unwrap();
    assert!(cargo.status.success(), "{}", String::from_utf8_lossy(&cargo.stderr));
    let listed = String::from_utf8(cargo.stdout).unwrap();
    let top: BTreeSet<&str> = listed
        .lines()
        .filter(|file| !MADE_BY_CARGO.contains(file))
        .map(|file| file.split('/').next().unwrap())
        .collect();
    let expected = ["CHANGELOG.md", "Cargo.toml", "LICENSE", "README.md", "examples", "lua", "src"];
    assert_eq!(top, expected.into_iter().collect());
    for file in listed.lines() {
        let known =
            [".rs", ".lua", ".md", ".mjs", ".css", ".js", "LICENSE", ".toml"].iter().any(|end| file.ends_with(end));
        assert!(known || MADE_BY_CARGO.contains(&file), "{file}: what is this?");
    }
    // Scripts are read at compile time: a missing one breaks the build of everybody who uses the package.
    let mut sources = BTreeSet::new();
    for folder in ["src", "lua", "examples"] {
        files_below(folder, &mut sources);
    }
    let listed: BTreeSet<String> = listed.lines().map(ToOwned::to_owned).collect();
    let missing: Vec<_> = sources.difference(&listed).collect();
    assert!(missing.is_empty(), "not in the package: {missing:?}");
    let bytes: u64 = listed.iter().filter_map(|file| std::fs::metadata(file).ok()).map(|file| file.len()).sum();
    assert!(bytes < 4 * 1024 * 1024, "{bytes} bytes: what has come along?");
}

/// Returns the crates that a build for users needs: with these arguments of cargo, without build scripts and tests.
fn crates(features: &[&str]) -> BTreeSet<String> {
    let cargo = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--edges", "normal", "--prefix", "none", "--format", "{p}", "--manifest-path"])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))
        .args(features)
        .output()
        .unwrap();
    assert!(cargo.status.success(), "{}", String::from_utf8_lossy(&cargo.stderr));
    let listed = String::from_utf8(cargo.stdout).unwrap();
    listed.lines().filter_map(|line| line.split(' ').next()).map(ToOwned::to_owned).collect()
}

/// What is behind a feature costs nothing without it, and what a build takes does not grow unnoticed.
#[test]
fn the_default_build_needs_few_crates_and_none_of_a_feature() {
    let crates = crates(&[]);
    for other in
        ["axum", "clap", "indicatif", "maud", "metrics", "opentelemetry", "ratatui", "rustls", "schemars", "tower"]
    {
        assert!(!crates.contains(other), "{other} is for a feature");
    }
    // One more needs a reason, and a line in the changelog.
    assert!(crates.len() <= MOST_CRATES, "{}: {crates:?}", crates.len());
}
