//! What makes the code pleasant to read, as far as a program can tell: short functions, short files, and documentation that
//! says at its first word what is done.

use std::path::{Path, PathBuf};

/// The most lines of a function of the library, in Rust and in Lua. One that is longer does several things, which have names.
const FUNCTION: usize = 70;

/// The most lines of a file. One that is longer has several subjects.
const FILE: usize = 600;

/// Words that end as verbs do, and are none.
const NOUNS: [&str; 13] = [
    "Attempts",
    "Errors",
    "Events",
    "Its",
    "Ids",
    "Jobs",
    "Keys",
    "Layers",
    "Options",
    "Queues",
    "Schedulers",
    "This",
    "Workers",
];

/// Whether documentation begins with what is done: `Returns`, `Sets`; or says where that is told.
fn is_verb(word: &str) -> bool {
    word == "See" || word.ends_with('s') && !NOUNS.contains(&word)
}

fn files_below(folder: &str, end: &str) -> Vec<PathBuf> {
    fn collect(dir: &Path, end: &str, into: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                if path.file_name().is_some_and(|name| name != "node_modules" && name != "target") {
                    collect(&path, end, into);
                }
            } else if path.extension().is_some_and(|found| found == end) {
                into.push(path);
            }
        }
    }
    let mut found = Vec::new();
    collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder), end, &mut found);
    assert!(!found.is_empty(), "nothing in {folder}");
    found
}

/// The line without its indentation, and how deep it is indented.
fn indented(line: &str) -> (usize, &str) {
    let text = line.trim_start();
    (line.len() - text.len(), text)
}

/// The name of the function that begins in this line of Rust.
fn function(text: &str) -> Option<&str> {
    let mut words = text.split(' ').skip_while(|word| {
        // A visibility may be of two words, as `pub(in crate::worker)`.
        word.starts_with("pub") || word.ends_with(')') || matches!(*word, "const" | "async" | "unsafe")
    });
    let name = (words.next() == Some("fn")).then(|| words.next()).flatten()?;
    // In a macro it has no name yet.
    name.split(|c: char| !c.is_alphanumeric() && c != '_').next().filter(|name| !name.is_empty())
}

/// The functions of a formatted file, each with how many lines it has: it ends with the brace that stands as deep as it begins.
fn functions(source: &str) -> Vec<(&str, usize)> {
    let lines: Vec<(usize, &str)> = source.lines().map(indented).collect();
    let begins = lines.iter().enumerate().filter_map(|(at, (depth, text))| Some((at, *depth, function(text)?)));
    begins
        .filter_map(|(at, depth, name)| {
            let mut rest = lines[at..].iter();
            let end = rest.position(|(other, text)| *other == depth && (*text == "}" || text.ends_with(['}', ';'])))?;
            Some((name, end + 1))
        })
        .collect()
}

/// The functions of a Lua file, each with how many lines it has: it ends with the `end` that stands as deep as it begins.
fn lua_functions(source: &str) -> Vec<(&str, usize)> {
    let lines: Vec<(usize, &str)> = source.lines().map(indented).collect();
    let begins = lines.iter().enumerate().filter_map(|(at, (depth, text))| {
        let (before, after) = text.split_once("function")?;
        let name = after.split('(').next().unwrap_or_default().trim();
        let begins = !before.contains("--") && after.starts_with([' ', '(']);
        begins.then_some((at, *depth, if name.is_empty() { "without a name" } else { name }))
    });
    begins
        .filter_map(|(at, depth, name)| {
            let ends = |text: &str| text.split(|c: char| !c.is_alphanumeric()).next() == Some("end");
            if lines[at].1.ends_with(" end") {
                return Some((name, 1));
            }
            let end = lines[at..].iter().position(|(other, text)| *other == depth && ends(text))?;
            Some((name, end + 1))
        })
        .collect()
}

/// The public functions whose documentation does not begin with a verb, with the word in its place.
fn without_a_verb(source: &str) -> Vec<(&str, &str)> {
    let lines: Vec<&str> = source.lines().map(str::trim_start).collect();
    let public = lines.iter().enumerate().filter(|(_, text)| text.starts_with("pub "));
    let named = public.filter_map(|(at, text)| Some((at, function(text)?)));
    let first_word = |at: usize| {
        let above = lines[..at].iter().rev().take_while(|line| line.starts_with("//") || line.starts_with("#["));
        let doc = above.filter_map(|line| line.strip_prefix("/// ")).last()?;
        doc.split(|c: char| !c.is_alphanumeric()).next()
    };
    named.filter_map(|(at, name)| Some((name, first_word(at)?))).filter(|(_, word)| !is_verb(word)).collect()
}

#[test]
fn functions_and_files_are_short() {
    let mut long = Vec::new();
    let rust = ["src", "tests", "benches", "examples"].into_iter().flat_map(|folder| files_below(folder, "rs"));
    for file in rust.chain(files_below("lua", "lua")) {
        let source = std::fs::read_to_string(&file).unwrap();
        let (path, lines) = (file.strip_prefix(env!("CARGO_MANIFEST_DIR")).unwrap().display(), source.lines().count());
        if lines > FILE {
            long.push(format!("{path}: {lines} lines"));
        }
        let found = match path.to_string().split('/').next() {
            Some("src") => functions(&source),
            Some("lua") => lua_functions(&source),
            // Long functions of tests are tables.
            _ => Vec::new(),
        };
        let longer = found.into_iter().filter(|(_, lines)| *lines > FUNCTION);
        long.extend(longer.map(|(name, lines)| format!("{path}: function {name} has {lines} lines")));
    }
    assert!(long.is_empty(), "{}", long.join("\n"));
}

#[test]
fn documentation_begins_with_a_verb() {
    let mut bad = Vec::new();
    for file in files_below("src", "rs") {
        let source = std::fs::read_to_string(&file).unwrap();
        let found = without_a_verb(&source);
        bad.extend(found.into_iter().map(|(name, word)| format!("{}: fn {name}: {word} …", file.display())));
    }
    assert!(bad.is_empty(), "{}", bad.join("\n"));
}

/// The sleeps of a test that do not say, on their line or just above, why nothing is there to wait for.
fn unexplained_sleeps(source: &str) -> Vec<usize> {
    let lines: Vec<&str> = source.lines().map(str::trim_start).collect();
    let sleeps =
        (0..lines.len()).filter(|at| ["time::sleep(", "thread::sleep("].iter().any(|call| lines[*at].contains(call)));
    let says_why =
        |at: usize| lines[at].contains("// ") || at.checked_sub(1).is_some_and(|above| lines[above].starts_with("// "));
    sleeps.filter(|at| !says_why(*at)).map(|at| at + 1).collect()
}

#[test]
fn a_test_that_sleeps_says_why() {
    let mut bad = Vec::new();
    for file in files_below("tests", "rs") {
        let source = std::fs::read_to_string(&file).unwrap();
        // This file names the calls that it looks for.
        if !file.ends_with("tests/readable.rs") {
            bad.extend(unexplained_sleeps(&source).into_iter().map(|line| format!("{}:{line}", file.display())));
        }
    }
    assert!(bad.is_empty(), "{}", bad.join("\n"));
}

#[test]
fn the_checkers_find_what_is_wrong() {
    let source = "
/// Counts.
pub fn one() -> u8 {
    1
}

impl Thing {
    /// How many.
    #[must_use]
    pub(crate) async fn two(
        &self,
    ) -> u8 {
        if true {
        }
        2
    }

    /// All of them.
    #[must_use]
    pub const fn three(&self) {}

    fn four(&self);

    pub(in crate::this) fn five(&self) {}
}
";
    assert_eq!(functions(source), [("one", 3), ("two", 7), ("three", 1), ("four", 1), ("five", 1)]);
    assert_eq!(without_a_verb(source), [("three", "All")]);
    let lua = "
-- No function here.
local function one(a, b)
  local function two() return a end
  if b then
    three(function(c)
      c()
    end)
  end
end
on.four = function() end
";
    assert_eq!(lua_functions(lua), [("one", 8), ("two", 1), ("without a name", 3), ("without a name", 1)]);
    let sleeps = "thread::sleep(a); // its pace\n// Time itself.\ntime::sleep(b);\ntime::sleep(c);";
    assert_eq!(unexplained_sleeps(sleeps), [4]);
}
