//! Every example runs to its end and prints what its head promises.

mod changes;
mod files;
mod watchers;

use std::path::PathBuf;
use std::process::Command;

/// Returns the example as cargo has built it beside this test.
fn example(name: &str) -> Command {
    let this = std::env::current_exe().unwrap();
    let path = this.parent().and_then(|deps| deps.parent()).unwrap().join("examples").join(name);
    assert!(path.exists(), "{} is not built: run `cargo build --examples` with the same features", path.display());
    Command::new(path)
}

/// Runs it and returns the lines that it prints.
fn run(command: &mut Command) -> Vec<String> {
    let output = command.output().unwrap();
    let (printed, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{printed}\n{said}", output.status);
    printed.lines().map(str::to_owned).collect()
}

/// Returns the lines that the head of the example promises: the indented block after the word "prints".
fn promised(name: &str) -> Vec<String> {
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "examples", &format!("{name}.rs")].iter().collect();
    let source = std::fs::read_to_string(path).unwrap();
    let head = source.lines().map_while(|line| line.strip_prefix("//!")).skip_while(|line| !line.contains("prints"));
    let block = head.skip(1).skip_while(|line| line.is_empty()).map_while(|line| line.strip_prefix("     "));
    block.map(str::to_owned).collect()
}

/// Runs an example on a server of its own, which the example starts.
fn keeps_its_promise(name: &str) {
    let printed = run(example(name).env_remove("REDIS_URL"));
    assert_eq!(printed, promised(name));
    assert!(!printed.is_empty());
}

#[test]
fn quickstart() {
    keeps_its_promise("quickstart");
}

#[test]
fn graceful_shutdown() {
    keeps_its_promise("graceful_shutdown");
}

#[test]
fn flow() {
    keeps_its_promise("flow");
}

#[test]
fn steps() {
    keeps_its_promise("steps");
}

#[test]
fn schedule() {
    keeps_its_promise("schedule");
}

#[test]
fn axum_service() {
    keeps_its_promise("axum_service");
}

#[test]
fn testing() {
    keeps_its_promise("testing");
}

#[test]
fn partitioned() {
    keeps_its_promise("partitioned");
}

#[test]
fn router() {
    keeps_its_promise("router");
}

#[cfg(feature = "dashboard")]
#[test]
fn dashboard() {
    keeps_its_promise("dashboard");
}

#[test]
fn the_demo_checks_all_its_numbers() {
    let printed = run(example("demo").env_remove("REDIS_URL"));
    assert!(printed.last().unwrap().starts_with("all numbers are as they should be"), "{printed:?}");
}
