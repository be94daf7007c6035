//! What is published, and nothing else.

use std::collections::BTreeSet;
use std::process::Command;

/// Files that are there whatever is published: cargo makes them.
const MADE_BY_CARGO: [&str; 3] = ["Cargo.lock", "Cargo.toml.orig", ".cargo_vcs_info.json"];

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
        let known = [".rs", ".lua", ".md", ".mjs", "LICENSE", ".toml"].iter().any(|end| file.ends_with(end));
        assert!(known || MADE_BY_CARGO.contains(&file), "{file}: what is this?");
    }
}
