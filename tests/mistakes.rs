//! What the compiler says to the usual mistakes. Each file in `mistakes/` makes one, with the compiler's answer beside it.
//!
//! Each run compiles the files against the library of this test, and compares the headlines and notes. The whole answers
//! are compared by `trybuild`, which needs a build of its own: that test is ignored, and writes the answers with
//! `TRYBUILD=overwrite`.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The compiler that gave these answers; others use slightly different words.
const COMPILER: &str = "rustc 1.95.";

/// A program without a mistake. The libraries that compile it are used to compile the others.
const RIGHT: &str = r#"
    use oxmq::{Halt, JobKind, Router, kind::JobOf};
    #[derive(serde::Serialize, serde::Deserialize)]
    struct Mail;
    impl JobKind for Mail {
        const NAME: &'static str = "mail";
        type Output = ();
    }
    async fn send(_: JobOf<Mail>) -> Result<(), Halt> {
        Ok(tokio::task::yield_now().await)
    }
    fn main() {
        let _: Router = Router::new().job(send);
    }
"#;

fn rustc() -> Command {
    Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()))
}

fn is_the_compiler() -> bool {
    let version = rustc().arg("--version").output().unwrap();
    String::from_utf8(version.stdout).unwrap().starts_with(COMPILER)
}

/// Returns the folder of this program, where cargo puts libraries.
fn folder() -> PathBuf {
    std::env::current_exe().unwrap().parent().unwrap().to_owned()
}

/// Returns the builds of a library, the newest first; older ones may be left from earlier builds.
fn builds(name: &str) -> Vec<PathBuf> {
    let prefix = format!("lib{name}-");
    let files = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    let is_build = |path: &PathBuf| {
        path.extension().is_some_and(|end| end == "rlib")
            && path.file_name().is_some_and(|name| name.to_str().is_some_and(|name| name.starts_with(&prefix)))
    };
    let mut builds: Vec<PathBuf> = files.filter(is_build).collect();
    builds.sort_by_key(|path| std::cmp::Reverse(path.metadata().unwrap().modified().unwrap()));
    builds
}

/// Type-checks a program against these libraries. The error is what the compiler says.
fn check(program: &str, libraries: &[(&str, PathBuf)]) -> Result<(), String> {
    let mut rustc = rustc();
    rustc.args(["--edition", "2024", "--crate-type", "bin", "--crate-name", "mistake", "--emit", "metadata", "-"]);
    rustc.arg("--out-dir").arg(env!("CARGO_TARGET_TMPDIR"));
    rustc.arg("-L").arg(format!("dependency={}", folder().display()));
    for (name, path) in libraries {
        rustc.arg("--extern").arg(format!("{name}={}", path.display()));
    }
    let mut child = rustc.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(program.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

fn libraries() -> Vec<(&'static str, PathBuf)> {
    let mut said = String::new();
    for oxmq in builds("oxmq") {
        for serde in builds("serde") {
            for tokio in builds("tokio") {
                let libraries = vec![("oxmq", oxmq.clone()), ("serde", serde.clone()), ("tokio", tokio)];
                match check(RIGHT, &libraries) {
                    Ok(()) => return libraries,
                    Err(error) => said = error,
                }
            }
        }
    }
    panic!("no build of the library compiles a program without a mistake: {said}");
}

/// Returns what names the mistake: the headlines, and the notes except those about its consequences.
fn words(answer: &str) -> Vec<&str> {
    // Where the compiler shortens a type, it says in which file it has written the whole.
    const ASIDE: [&str; 3] =
        ["= note: required for ", "= note: the full name for the type ", "= note: consider using `--verbose` "];
    let lines = answer.lines().map(str::trim).filter(|line| !ASIDE.iter().any(|aside| line.starts_with(aside)));
    lines
        .filter(|line| {
            ["error[", "error: future", "error: unused", "= note: "].iter().any(|begin| line.starts_with(begin))
        })
        .collect()
}

#[test]
fn the_compiler_names_the_mistake() {
    let (libraries, knows_words) = (libraries(), is_the_compiler());
    if !knows_words {
        // Written past the test's own output, which nobody sees when it passes.
        writeln!(std::io::stderr(), "NOT CHECKED: the words of another compiler than {COMPILER}").unwrap();
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mistakes");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mistakes: Vec<PathBuf> = files.filter(|path| path.extension().is_some_and(|end| end == "rs")).collect();
    assert!(mistakes.len() >= 10, "{mistakes:?}");
    for source in mistakes {
        let text = std::fs::read_to_string(&source).unwrap();
        let said = check(&text, &libraries).expect_err("a mistake does not compile");
        let expected = std::fs::read_to_string(source.with_extension("stderr")).unwrap();
        if knows_words {
            let (said, expected) = (words(&said), words(&expected));
            assert!(!expected.is_empty() && said == expected, "{}:\n{said:#?}\n{expected:#?}", source.display());
        }
    }
}

#[test]
#[ignore = "builds the crate once more, which takes minutes"]
fn the_whole_answers_are_as_they_were() {
    let cases = trybuild::TestCases::new();
    assert!(is_the_compiler(), "this is not {COMPILER}*, whose words are kept");
    cases.compile_fail("tests/mistakes/*.rs");
}
