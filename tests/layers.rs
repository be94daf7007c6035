//! Modules use only the layers below them, as the table in ARCHITECTURE.md says.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Module → what it may use.
type Rules = BTreeMap<String, BTreeSet<String>>;

/// Reads the rows that begin with a module in backquotes; the last column lists what it may use.
fn rules(markdown: &str) -> Rules {
    let mut rules = Rules::new();
    for line in markdown.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [module, _, _, allowed] = cells[..] else { continue };
        let allowed = allowed.split(',').map(|name| name.trim().to_owned()).filter(|name| name != "–");
        rules.insert(module.trim_matches('`').to_owned(), allowed.collect());
    }
    rules
}

/// Name → the module that defines it, by the `pub use module::{…}` lines of lib.rs.
fn exports(lib: &str) -> BTreeMap<String, String> {
    let mut exports = BTreeMap::new();
    for statement in lib.split(';') {
        let Some((_, path)) = statement.split_once("pub use ") else { continue };
        let Some((module, names)) = path.split_once("::") else { continue };
        for name in names.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|name| !name.is_empty()) {
            exports.insert(name.to_owned(), module.to_owned());
        }
    }
    exports
}

/// Returns the modules that a source file uses: `crate::…`, and `redis` if it names the driver. Comments and tests are
/// left out.
fn uses(source: &str, exports: &BTreeMap<String, String>) -> BTreeSet<String> {
    let tested = source.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    let mut used = BTreeSet::new();
    for line in tested.lines().map(str::trim_start).filter(|line| !line.starts_with("//")) {
        for (at, path) in line.match_indices("crate::") {
            if line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_') {
                continue;
            }
            let rest = &line[at + path.len()..];
            assert!(!rest.starts_with('{'), "name one module after `crate::`: {line}");
            let name: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            used.insert(exports.get(&name).cloned().unwrap_or(name));
        }
        if line.starts_with("use redis::") || line.contains(" redis::") || line.contains("<redis::") {
            used.insert("redis".to_owned());
        }
    }
    used
}

/// Returns what a module uses but may not use.
fn violations(rules: &Rules, module: &str, used: &BTreeSet<String>) -> Vec<String> {
    let Some(allowed) = rules.get(module) else { return vec![format!("{module} is not in the table")] };
    let bad = used.iter().filter(|name| *name != module && !allowed.contains(*name));
    bad.map(|name| format!("{module} uses {name}")).collect()
}

/// Collects every source file below a directory, except those that hold only tests.
pub(crate) fn sources(dir: &Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let stem = path.file_stem().unwrap().to_str().unwrap();
        // A program uses the library from outside, as its users do.
        if stem == "bin" || stem == "tests" || stem == "testing" || stem == "corpus" || stem.ends_with("_tests") {
            continue;
        }
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|end| end == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn arrows_point_down() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |file: &str| std::fs::read_to_string(root.join(file)).unwrap();
    let (rules, exports) = (rules(&read("ARCHITECTURE.md")), exports(&read("src/lib.rs")));
    let mut files = Vec::new();
    sources(&root.join("src"), &mut files);
    // What tests of other programs use is a module like any other; files of that name deeper down belong to our own
    // tests.
    sources(&root.join("src/testing"), &mut files);
    let mut bad = Vec::new();
    for file in files {
        let inner = file.strip_prefix(root.join("src")).unwrap();
        let top = inner.components().next().unwrap().as_os_str().to_str().unwrap();
        let used = uses(&std::fs::read_to_string(&file).unwrap(), &exports);
        let found = violations(&rules, top.trim_end_matches(".rs"), &used);
        bad.extend(found.into_iter().map(|violation| format!("{}: {violation}", inner.display())));
    }
    assert!(bad.is_empty(), "{}", bad.join("\n"));
}

/// The upward dependencies; ARCHITECTURE.md gives their reasons.
const UP: [(&str, &str); 3] = [("job", "queue"), ("job", "worker"), ("worker", "client")];

#[test]
fn the_table_has_no_circle_but_for_the_arrows_that_it_names() {
    let text = include_str!("../ARCHITECTURE.md");
    let mut rules = rules(text);
    for (from, to) in UP {
        assert!(text.contains(&format!("`{from}` → `{to}`")), "ARCHITECTURE.md does not name {from} → {to}");
        assert!(rules.get_mut(from).unwrap().remove(to), "{from} does not use {to} any more");
    }
    // Adds a module once all modules that it uses are added.
    let mut laid = BTreeSet::from(["redis".to_owned()]);
    for _ in &rules {
        for (module, allowed) in &rules {
            if allowed.iter().all(|name| laid.contains(name)) || module == "lib" {
                laid.insert(module.clone());
            }
        }
    }
    let left: Vec<_> = rules.keys().filter(|module| !laid.contains(*module)).collect();
    assert!(left.is_empty(), "in a circle: {left:?}");
    for (module, allowed) in &rules {
        let holds_redis = ["connection", "script", "bench_support"].contains(&module.as_str());
        assert_eq!(allowed.contains("redis"), holds_redis, "{module} and redis");
    }
}

#[test]
fn every_file_that_architecture_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    let mut folders = ["src", "lua", "tests"].map(|folder| root.join(folder)).to_vec();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.ends_with("node_modules") {
                folders.push(path);
            } else {
                files.push(path);
            }
        }
    }
    let text = include_str!("../ARCHITECTURE.md");
    let code = text.split('`').skip(1).step_by(2);
    let named: Vec<&str> = code.filter(|name| name.ends_with(".rs") || name.ends_with(".lua")).collect();
    assert!(named.len() > 50, "files are named in backquotes: {named:?}");
    let gone: Vec<_> = named.into_iter().filter(|name| !files.iter().any(|file| file.ends_with(name))).collect();
    assert!(gone.is_empty(), "named and not there: {gone:?}");
}

#[test]
fn the_checker_finds_what_is_wrong() {
    let rules = rules("| module | what | not | may use |\n| `a` | x | y | b, redis |\n| `b` | x | y | – |\n");
    let exports = exports("pub use b::{Thing, Other};\npub use a::Lone;");
    let check = |module: &str, source: &str| violations(&rules, module, &uses(source, &exports));
    assert!(check("a", "use crate::b::X;\nuse redis::Cmd;\nuse crate::a::Y;").is_empty());
    assert_eq!(check("b", "use crate::a::X;"), ["b uses a"]);
    assert_eq!(check("b", "    let x: crate::Lone = y;"), ["b uses a"]);
    assert_eq!(check("a", "fn f(x: crate::Thing) -> crate::c::D {}"), ["a uses c"]);
    assert_eq!(check("b", "use redis::Cmd;"), ["b uses redis"]);
    assert_eq!(check("b", "fn f() -> Option<redis::Value> {"), ["b uses redis"]);
    assert!(check("b", "/// See [`crate::a::X`].\n// crate::a").is_empty());
    assert!(check("b", "fn f() {}\n#[cfg(test)]\nmod tests {\n    use crate::a::X;\n}").is_empty());
    assert!(check("b", "use $crate_name::a; notcrate::a").is_empty());
    assert_eq!(check("c", ""), ["c is not in the table"]);
}
