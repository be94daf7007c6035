//! Within a folder of `src`, files and folders use each other in one direction only. The index of a folder, its
//! `mod.rs`, is left out: a parent and its children may know each other.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::layers::sources;

/// The path of a module below `src`, as names.
type Module = Vec<String>;

/// The text of each module, without comments and tests.
type Tree = BTreeMap<Module, String>;

fn module_of(file: &Path) -> Module {
    let mut module: Module = file.with_extension("").iter().map(|part| part.to_str().unwrap().to_owned()).collect();
    if matches!(module.last().map(String::as_str), Some("mod" | "lib")) {
        module.pop();
    }
    module
}

fn code_of(source: &str) -> String {
    let tested = source.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    tested.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// Returns the names in `a, b::c, d::{e, f}`, each with what stands before its braces.
fn names(list: &str) -> Vec<Vec<String>> {
    let (mut found, mut depth, mut begin) = (Vec::new(), 0, 0);
    let list = format!("{list},");
    for (at, c) in list.char_indices() {
        depth += i32::from(c == '{') - i32::from(c == '}');
        if c != ',' || depth > 0 {
            continue;
        }
        let item = list[begin..at].trim();
        begin = at + 1;
        let path =
            |text: &str| text.split("::").map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect();
        match item.split_once('{') {
            Some((before, inner)) => {
                let before: Vec<String> = path(before);
                let inner = names(inner.strip_suffix('}').unwrap_or(inner));
                found.extend(inner.into_iter().map(|name| [before.clone(), name].concat()));
            }
            None => found.push(path(item.split(" as ").next().unwrap_or_default())),
        }
    }
    found.retain(|path| !path.is_empty());
    found
}

/// Cuts a path off the beginning of a text, with its braces if it ends in some.
fn path_at(text: &str) -> &str {
    let is_part = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    let plain = text.find(|c| !is_part(c)).unwrap_or(text.len());
    if !text[..plain].ends_with("::") || !text[plain..].starts_with('{') {
        return &text[..plain];
    }
    let mut depth = 0;
    let end = text[plain..].char_indices().find(|(_, c)| {
        depth += i32::from(*c == '{') - i32::from(*c == '}');
        depth == 0
    });
    &text[..end.map_or(text.len(), |(at, _)| plain + at + 1)]
}

/// Returns the paths in a text that begin with `super`, `crate` or `self`.
fn paths(code: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for word in ["super::", "crate::", "self::"] {
        for (at, _) in code.match_indices(word) {
            let before = code[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || "_:$".contains(c)) {
                continue;
            }
            found.extend(names(path_at(&code[at..])));
        }
    }
    found
}

/// What an index re-exports: the name, and the module below that has it.
fn exports(tree: &Tree, index: &Module) -> BTreeMap<String, Module> {
    let mut found = BTreeMap::new();
    for statement in tree[index].split(';').filter_map(|text| text.split_once("use ").map(|(_, path)| path)) {
        for path in names(statement) {
            let path = if path[0] == "self" { &path[1..] } else { &path[..] };
            let (Some(first), Some(name)) = (path.first(), path.last()) else { continue };
            let child = [index.clone(), vec![first.clone()]].concat();
            if path.len() > 1 && tree.contains_key(&child) {
                found.insert(name.clone(), child);
            }
        }
    }
    found
}

/// Returns the module that a path in `from` leads to.
fn lead(tree: &Tree, from: &Module, path: &[String]) -> Module {
    let (mut module, mut rest) = (from.clone(), path);
    while let Some((first, others)) = rest.split_first() {
        match &first[..] {
            "crate" => module.clear(),
            "super" => {
                module.pop();
            }
            "self" => {}
            name => {
                let child = [module.clone(), vec![name.to_owned()]].concat();
                match exports(tree, &module).remove(name) {
                    _ if tree.contains_key(&child) => module = child,
                    Some(child) => return child,
                    None => return module,
                }
            }
        }
        rest = others;
    }
    module
}

/// Returns the circles: for each folder, the files and folders in it that use each other.
fn circles(tree: &Tree) -> Vec<String> {
    let mut uses: BTreeMap<Module, BTreeMap<String, BTreeSet<String>>> = BTreeMap::new();
    for (module, code) in tree {
        for other in paths(code).iter().map(|path| lead(tree, module, path)) {
            let shared = module.iter().zip(&other).take_while(|(a, b)| a == b).count();
            // The rules between the rooms are in ARCHITECTURE.md.
            if (1..module.len().min(other.len())).contains(&shared) {
                let folder = uses.entry(module[..shared].to_vec()).or_default();
                folder.entry(module[shared].clone()).or_default().insert(other[shared].clone());
                folder.entry(other[shared].clone()).or_default();
            }
        }
    }
    let mut found = Vec::new();
    for (folder, mut left) in uses {
        // Takes away what uses nothing that is left, and then what nothing that is left uses.
        loop {
            let names: BTreeSet<String> = left.keys().cloned().collect();
            let used: BTreeSet<String> = left.values().flatten().cloned().collect();
            left.retain(|name, uses| uses.iter().any(|other| names.contains(other)) && used.contains(name));
            if left.len() == names.len() {
                break;
            }
        }
        if !left.is_empty() {
            let names: Vec<_> = left.keys().map(String::as_str).collect();
            found.push(format!("{}: {}", folder.join("/"), names.join(", ")));
        }
    }
    found
}

#[test]
fn no_files_of_a_folder_use_each_other_in_a_circle() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&src, &mut files);
    let read = |file: &std::path::PathBuf| {
        (module_of(file.strip_prefix(&src).unwrap()), code_of(&std::fs::read_to_string(file).unwrap()))
    };
    let tree: Tree = files.iter().map(read).collect();
    let found = circles(&tree);
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn a_circle_is_found_however_its_arrows_are_written() {
    let index = ("a/mod", "mod b;\nmod c;\nmod d;\npub(crate) use d::{Deep, deeper};\npub use self::b::B;");
    let check = |b: &str, c: &str, d: &str| {
        let files = [("lib", "mod a;"), index, ("a/b", b), ("a/c", c), ("a/d", d)];
        circles(&files.iter().map(|(file, code)| (module_of(Path::new(file)), code_of(code))).collect())
    };
    assert!(check("use super::c::C;\nuse super::Deep;", "use super::d;", "").is_empty());
    assert_eq!(check("use super::c::C;", "use super::{b::B, d};", ""), ["a: b, c"]);
    assert_eq!(check("use crate::a::Deep;", "", "use super::B;"), ["a: b, d"]);
    assert_eq!(check("fn f(x: super::deeper) {}", "use super::b;", "use super::c::{self, C};"), ["a: b, c, d"]);
    let tests = "#[cfg(test)]\nmod tests {\n    use super::super::b::B;\n}";
    assert!(check("use super::c::C;", &format!("// use super::b;\n{tests}"), "").is_empty());
}
