//! Tests of all scripts: their headers, and what they do when a key has the wrong type.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use redis::Value;

use super::reply::string;
use super::{ALL, add_jobs};
use crate::engine::testing::queue;
use crate::error::Reason;

/// Returns the Lua files of a folder by their names; none if a script has no folder of its own.
fn lua(folder: &str) -> BTreeMap<String, String> {
    let dir: PathBuf = [env!("CARGO_MANIFEST_DIR"), "lua", folder].iter().collect();
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "lua") {
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            files.insert(name, std::fs::read_to_string(path).unwrap());
        }
    }
    files
}

/// Returns the sections of a header by their names, each with its lines joined.
fn header(text: &str) -> BTreeMap<&str, String> {
    let end = text.find("\n]]\n").expect("a header ends with ]] on a line of its own");
    let mut sections: BTreeMap<&str, String> = BTreeMap::new();
    let mut current = "";
    for line in text[..end].lines().skip(1) {
        let word = line.split(' ').next().unwrap();
        let starts = !word.is_empty() && word.chars().all(|c| c.is_ascii_uppercase());
        if starts {
            current = word;
        }
        let rest = if starts { &line[word.len()..] } else { line };
        let section = sections.entry(current).or_default();
        section.push_str(rest.trim());
        section.push(' ');
    }
    sections
}

/// Turns `MISSING_JOB` into `MissingJob`.
fn camel(name: &str) -> String {
    let word = |word: &str| word[..1].to_owned() + &word[1..].to_lowercase();
    name.split('_').map(word).collect()
}

/// Returns the numbers that lines like `local A, B = 0, 1` give to names.
fn numbers(text: &str) -> Vec<(String, i64)> {
    let mut found = Vec::new();
    for line in text.lines().filter_map(|line| line.strip_prefix("local ")) {
        let (names, values) = line.split_once(" = ").unwrap();
        for (name, value) in names.split(", ").zip(values.split(", ")) {
            found.push((name.to_owned(), value.parse().unwrap()));
        }
    }
    found
}

#[test]
fn every_file_is_listed_and_every_listed_script_has_a_file() {
    let files: BTreeSet<String> = lua("").into_keys().collect();
    let listed: BTreeSet<String> = ALL.iter().map(|script| script.name.to_owned()).collect();
    assert_eq!(files, listed);
    assert_eq!(listed.len(), ALL.len(), "a script is listed twice");
    let mut pieces: BTreeSet<String> = lua("shared").into_keys().collect();
    for script in ALL {
        pieces.extend(lua(script.name).into_keys().map(|piece| format!("{}/{piece}", script.name)));
    }
    let used: BTreeSet<String> = ALL.iter().flat_map(|script| script.uses).map(|piece| (*piece).to_owned()).collect();
    assert_eq!(pieces, used);
}

#[test]
fn shared_pieces_are_shared() {
    for piece in lua("shared").keys() {
        let users: Vec<&str> =
            ALL.iter().filter(|script| script.uses.contains(&piece.as_str())).map(|script| script.name).collect();
        assert!(users.len() > 1, "{piece} is used by {users:?} alone and belongs into its folder");
    }
}

#[test]
fn headers_say_what_the_scripts_are() {
    let files = lua("");
    for script in ALL {
        let (name, text) = (script.name, &files[script.name]);
        assert!(text.starts_with(&format!("--[[ {name}: ")), "{name}: the first line names it");
        let sections = header(text);
        for section in ["KEYS", "RETURN", "EVENTS", "USES", "COST"] {
            assert!(sections.contains_key(section), "{name}: {section} is missing");
        }
        assert!(sections["KEYS"].starts_with("1 base "), "{name}: {}", sections["KEYS"]);
        let body = &text[text.find("\n]]\n").unwrap()..];
        assert!(!body.contains("KEYS["), "{name}: only the piece `queue` reads KEYS");
        assert_eq!(sections.contains_key("ARGV"), body.contains("ARGV"), "{name}: ARGV");
        let uses: Vec<&str> = sections["USES"].split(", ").map(str::trim).collect();
        assert_eq!(uses, script.uses, "{name}: USES");
    }
}

#[test]
fn codes_are_the_same_in_lua_and_rust() {
    let mut lua_codes = numbers(&lua("shared")["codes"]);
    assert_eq!(lua_codes.remove(0), ("OK".to_owned(), 0));
    let named: Vec<_> = lua_codes.into_iter().map(|(name, code)| (code, camel(&name))).collect();
    let ours: Vec<_> = Reason::CODES.iter().map(|(code, reason)| (*code, format!("{reason:?}"))).collect();
    assert_eq!(named, ours);
}

#[test]
fn outcomes_are_the_same_in_lua_and_rust() {
    let text = lua("shared").remove("outcomes").unwrap();
    for (name, code) in numbers(&text) {
        let empty = || Value::BulkString(Vec::new());
        let placed = add_jobs::placed(Value::Array(vec![Value::Int(code), empty(), empty()]), 1)
            .unwrap()
            .each
            .remove(0)
            .unwrap();
        assert!(format!("{placed:?}").starts_with(&camel(&name)), "{code} is {name} in Lua and {placed:?} in Rust");
    }
}

#[tokio::test]
async fn every_script_loads_with_and_without_flags() {
    let engine = queue().await;
    for script in ALL {
        // Servers before version 7 do not know flags, and are sent none.
        for allow_oom in [false, true].into_iter().filter(|flags| !flags || engine.link.allows_oom()) {
            let loaded = script.loaded(allow_oom);
            assert_eq!(loaded.text.starts_with("#!"), allow_oom);
            let sha = engine.redis_words(&["SCRIPT", "LOAD", &loaded.text]).await;
            assert_eq!(string(sha).as_ref(), Some(&loaded.sha), "{}", script.name);
        }
    }
}

/// Runs luacheck on the scripts as they are sent, with every name resolved; called by `make lint`.
#[test]
#[ignore = "needs luacheck on the PATH; `make lint` brings it"]
fn luacheck_has_nothing_to_say() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let joined = std::env::temp_dir().join(format!("oxmq-lua-{}", std::process::id()));
    std::fs::create_dir_all(&joined).unwrap();
    for script in ALL {
        std::fs::write(joined.join(format!("{}.lua", script.name)), script.text).unwrap();
    }
    let check = |config: &str, dir: &std::path::Path| {
        let mut command = std::process::Command::new("luacheck");
        command.args(["--no-color", "--quiet", "--config"]).arg(root.join("lua").join(config)).arg(dir);
        let output = command.output().expect("luacheck is on the PATH");
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (whole, said) = check(".luacheckrc", &joined);
    let (parts, also) = check(".pieces.luacheckrc", &root.join("lua"));
    std::fs::remove_dir_all(&joined).unwrap();
    assert!(whole && parts, "{said}\n{also}");
}

mod markers;
mod wrong_types;
