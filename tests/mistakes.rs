//! What the compiler says to the usual mistakes; each file in `mistakes/` is one, with its answer beside it.

use std::process::Command;

/// The compiler whose words are kept; those of others differ a little.
const COMPILER: &str = "rustc 1.95.";

#[test]
#[ignore = "builds the crate once more, which takes minutes"]
fn the_compiler_names_the_mistake() {
    let version = Command::new("rustc").arg("--version").output().unwrap();
    let version = String::from_utf8(version.stdout).unwrap();
    let cases = trybuild::TestCases::new();
    assert!(version.starts_with(COMPILER), "{version} is not {COMPILER}*, whose words are kept");
    cases.compile_fail("tests/mistakes/*.rs");
}
