//! The page for people who come from Node names all that BullMQ has, and nothing that oxmq does not have.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

const PAGE: &str = include_str!("../../src/guides/coming_from_node.md");

/// The sections of the page, and the files in which BullMQ declares the class and its base classes.
const CLASSES: [(&str, &[&str]); 6] = [
    ("Queue", &["queue", "queue-getters", "queue-base"]),
    ("Job", &["job"]),
    ("Worker", &["worker", "queue-base"]),
    ("QueueEvents", &["queue-events", "queue-base"]),
    ("QueueEventsProducer", &["queue-events-producer", "queue-base"]),
    ("FlowProducer", &["flow-producer"]),
];

/// The sections of the page about events, and where BullMQ declares the listeners.
const LISTENERS: [(&str, &str, &str); 3] = [
    ("Events of a queue", "queue", "QueueListener"),
    ("Events of a worker", "worker", "WorkerListener"),
    ("Events of all processes", "queue-events", "QueueEventsListener"),
];

/// Folders and files of BullMQ's declarations, each with the names of types.
type Types = &'static [(&'static str, &'static [&'static str])];

/// The sections of the page about options, and where BullMQ declares them.
const OPTIONS: [(&str, Types); 6] = [
    (
        "Options of a queue",
        &[
            ("interfaces/queue-options", &["QueueBaseOptions", "KeyPrefixOptions", "QueueOptions"]),
            ("interfaces/advanced-options", &["AdvancedRepeatOptions"]),
        ],
    ),
    (
        "Options of a job",
        &[
            ("interfaces/base-job-options", &["DefaultJobOptions", "BaseJobOptions"]),
            ("interfaces/backoff-options", &["BackoffOptions"]),
            ("interfaces/parent-options", &["ParentOptions"]),
            ("interfaces/retry-options", &["RetryOptions"]),
            ("types/job-options", &["CompressableJobOptions", "JobSchedulerJobOptions"]),
            ("types/keep-jobs", &["KeepJobs"]),
            ("types/deduplication-options", &["DeduplicationOptions"]),
        ],
    ),
    ("Options of a job scheduler", &[("interfaces/repeat-options", &["RepeatOptions"])]),
    (
        "Options of a flow",
        &[
            ("interfaces/flow-job", &["FlowJobBase", "FlowParentJob", "FlowOpts"]),
            ("classes/flow-producer", &["NodeOpts"]),
        ],
    ),
    (
        "Options of a worker",
        &[
            ("interfaces/worker-options", &["WorkerOptions", "GetNextJobOptions"]),
            ("interfaces/sandboxed-options", &["SandboxedOptions"]),
            ("interfaces/advanced-options", &["AdvancedOptions"]),
            ("interfaces/rate-limiter-options", &["RateLimiterOptions"]),
            ("interfaces/metrics-options", &["MetricsOptions"]),
        ],
    ),
    ("Options of a listener", &[("interfaces/queue-options", &["QueueEventsOptions"])]),
];

/// Returns the public members in a declaration file, of a class, an interface or a type: they are indented by four spaces.
fn declared(file: &str, is_it: impl Fn(&str) -> bool) -> BTreeSet<String> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/node/node_modules/bullmq6/dist/esm");
    let text = std::fs::read_to_string(directory.join(file).with_extension("d.ts")).expect("run `make setup`");
    let inside = text.lines().skip_while(|line| !is_it(line)).skip(1).take_while(|line| !matches!(*line, "}" | "};"));
    let members = inside.filter_map(|line| line.strip_prefix("    ").filter(|rest| !rest.starts_with(' ')));
    let names = members.filter_map(|member| {
        let words = ["static ", "get ", "set ", "readonly "];
        let member = words.iter().find_map(|word| member.strip_prefix(word)).unwrap_or(member);
        let member = member.trim_start_matches('\'');
        let end = member.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '-')?;
        let rest = member[end..].trim_start_matches(['\'', '?']);
        (rest.starts_with(['(', '<', ':']) && end > 0).then(|| member[..end].to_owned())
    });
    names.filter(|name| name != "constructor").collect()
}

/// Fails unless a section of the page has these names, each once, and no other.
fn compare(section: &str, declared: &BTreeSet<String>) {
    assert!(declared.len() > 1, "{section}");
    let mut named = BTreeSet::new();
    for name in rows()[section].iter().flat_map(|(theirs, _)| quoted(theirs)) {
        assert!(named.insert(name.to_owned()), "{section} has `{name}` twice");
    }
    let missing: Vec<_> = declared.difference(&named).collect();
    assert!(missing.is_empty(), "not on the page, of {section}: {missing:?}");
    let foreign: Vec<_> = named.difference(declared).collect();
    assert!(foreign.is_empty(), "on the page, and not in {section}: {foreign:?}");
}

/// Returns the texts between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// Returns the public functions of oxmq's types, and the variants of its enums, as `Type::name`.
fn ours() -> BTreeSet<String> {
    let (mut names, mut folders) = (BTreeSet::new(), vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                collect(&std::fs::read_to_string(path).unwrap(), &mut names);
            }
        }
    }
    names
}

fn collect(source: &str, names: &mut BTreeSet<String>) {
    let mut owner = String::new();
    for line in source.lines() {
        if let Some(rest) = line.strip_prefix("impl") {
            // Skips the type parameters; in the implementation of a trait the type follows `for`.
            let mut depth = 0;
            let begin = rest.find(|letter: char| {
                depth += i32::from(letter == '<') - i32::from(letter == '>');
                depth == 0 && letter == ' '
            });
            let rest = &rest[begin.unwrap_or(0)..];
            let rest = rest.split_once(" for ").map_or(rest, |(_, after)| after);
            owner = name_of(rest.trim_start()).to_owned();
        } else if let Some(rest) = line.strip_prefix("pub enum ") {
            name_of(rest).clone_into(&mut owner);
        } else if let Some(member) = line.strip_prefix("    ") {
            let function = member.strip_prefix("pub ").map(|rest| {
                let rest = rest.strip_prefix("const ").unwrap_or(rest);
                rest.strip_prefix("async ").unwrap_or(rest)
            });
            if let Some(rest) = function.and_then(|rest| rest.strip_prefix("fn ")) {
                names.insert(format!("{owner}::{}", name_of(rest)));
            } else if member.starts_with(|letter: char| letter.is_ascii_uppercase()) {
                names.insert(format!("{owner}::{}", name_of(member)));
            }
        }
    }
}

fn name_of(text: &str) -> &str {
    &text[..text.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_').unwrap_or(text.len())]
}

/// Returns the rows of each section: the names in BullMQ, and what replaces them here.
fn rows() -> BTreeMap<&'static str, Vec<(&'static str, &'static str)>> {
    let mut sections = BTreeMap::<_, Vec<_>>::new();
    let mut section = "";
    for line in PAGE.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            section = title;
        } else if let Some((theirs, ours)) = line.strip_prefix("| `").and_then(|_| line[1..].split_once(" | ")) {
            sections.entry(section).or_default().push((theirs, ours));
        }
    }
    sections
}

#[test]
fn every_method_field_and_event_of_bullmq_has_its_place_on_the_page() {
    for (class, files) in CLASSES {
        let is_class = |line: &str| line.starts_with("export declare class ");
        compare(class, &files.iter().flat_map(|file| declared(&format!("classes/{file}"), is_class)).collect());
    }
    for (section, file, interface) in LISTENERS {
        let file = format!("classes/{file}");
        compare(section, &declared(&file, |line| line.starts_with(&format!("export interface {interface}"))));
    }
}

#[test]
fn every_option_of_bullmq_has_its_place_on_the_page() {
    for (section, files) in OPTIONS {
        let mut options = BTreeSet::new();
        for (file, types) in files {
            for name in *types {
                let is_type = |line: &str| {
                    let words = ["export interface ", "export type "];
                    words.iter().find_map(|word| line.strip_prefix(word)).is_some_and(|rest| name_of(rest) == *name)
                };
                let found = declared(file, is_type);
                assert!(!found.is_empty(), "{file} has no {name}");
                options.extend(found);
            }
        }
        compare(section, &options);
    }
}

/// Prints the own and inherited members of each class as BullMQ's package has them, one line per class.
const MEMBERS: &str = r#"
const bullmq = require('bullmq6');
for (const name of process.argv.slice(1)) {
  const members = Object.getOwnPropertyNames(bullmq[name]);
  for (let p = bullmq[name].prototype; 'constructor' in p && !['EventEmitter', 'Object'].includes(p.constructor.name);) {
    members.push(...Object.getOwnPropertyNames(p));
    p = Object.getPrototypeOf(p);
  }
  console.log(members.join(' '));
}"#;

/// Returns the members of a class that its declaration says are not for users.
fn hidden(files: &[&str]) -> BTreeSet<String> {
    let directory =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/node/node_modules/bullmq6/dist/esm/classes");
    let read = |file: &&str| std::fs::read_to_string(directory.join(file).with_extension("d.ts")).unwrap();
    let texts: Vec<String> = files.iter().map(read).collect();
    let lines = texts.iter().flat_map(|text| text.lines()).map(str::trim_start);
    let members = lines.filter_map(|line| line.strip_prefix("private ").or_else(|| line.strip_prefix("protected ")));
    let names = members.map(|member| {
        let words = ["static ", "readonly ", "get ", "set "];
        let member = words.iter().fold(member, |member, word| member.strip_prefix(word).unwrap_or(member));
        name_of(member).to_owned()
    });
    names.collect()
}

/// The declarations may leave something out that a class has.
#[test]
fn every_public_member_that_bullmqs_classes_have_is_on_the_page() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/node");
    let classes = CLASSES.map(|(class, _)| class);
    let output =
        std::process::Command::new("node").args(["-e", MEMBERS]).args(classes).current_dir(directory).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), CLASSES.len());
    for ((class, files), line) in CLASSES.into_iter().zip(lines) {
        let rows = rows();
        let named: BTreeSet<&str> = rows[class].iter().flat_map(|(theirs, _)| quoted(theirs)).collect();
        let hidden = hidden(files);
        let members: BTreeSet<&str> = line.split(' ').collect();
        assert!(members.len() > 10, "{class}: {line}");
        let of_every_class = ["length", "name", "prototype", "constructor"];
        let missing: Vec<_> = members
            .into_iter()
            .filter(|member| !of_every_class.contains(member) && !named.contains(member) && !hidden.contains(*member))
            .collect();
        assert!(missing.is_empty(), "{class}: {missing:?}");
    }
}

#[test]
fn every_oxmq_name_on_the_page_exists() {
    let ours = ours();
    assert!(ours.contains("Queue::add") && ours.contains("Halt::Waiting") && !ours.contains("Queue::fly"));
    let named = quoted(PAGE).filter(|name| name.contains("::"));
    let missing: Vec<_> = named.filter(|name| !ours.contains(*name)).collect();
    assert!(missing.is_empty(), "oxmq has none of {missing:?}");
    for (theirs, ours) in rows().into_values().flatten() {
        let says_why = ours.starts_with("none: ") && ours.len() > 12;
        assert!(says_why || ours.contains("::"), "{theirs}: {ours}");
    }
}

/// Returns every source file of the library in one text.
fn sources() -> String {
    let mut files = Vec::new();
    crate::layers::sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut files);
    files.iter().map(|file| std::fs::read_to_string(file).unwrap()).collect()
}

fn in_snake_case(name: &str) -> String {
    let split = |letter: char| match letter.is_ascii_uppercase() {
        true => format!("_{}", letter.to_ascii_lowercase()),
        false => letter.to_string(),
    };
    name.chars().map(split).collect()
}

#[test]
fn every_name_of_bullmq_can_be_searched_for() {
    let sources = sources();
    let aliases: BTreeSet<&str> =
        sources.split("doc(alias = \"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    // The setters that two builders share are defined by a macro.
    let shared = sources.lines().filter(|line| line.contains(") => ")).map(|line| name_of(line.trim_start()));
    let functions: BTreeSet<&str> = sources.split("fn ").skip(1).map(name_of).chain(shared).collect();
    let is_found = |name: &str| aliases.contains(name) || functions.contains(in_snake_case(name).as_str());
    assert!(is_found("getJobCounts") && is_found("add") && !is_found("getBackend"));
    // An event may keep its own name, as that of a variant.
    let (ours, plain) = (ours(), |name: &str| name.replace('-', "").to_lowercase());
    let variants: BTreeSet<String> =
        ours.iter().filter_map(|item| item.split_once("Event::")).map(|(_, variant)| plain(variant)).collect();
    let rows = rows();
    let told =
        rows.iter().flat_map(|(section, rows)| rows.iter().map(move |row| (section.starts_with("Events of "), row)));
    let told = told.filter(|(_, (_, ours))| !ours.starts_with("none: "));
    let names = told.flat_map(|(is_event, (theirs, _))| quoted(theirs).map(move |name| (is_event, name)));
    let is_told = |(is_event, name): &(bool, &str)| is_found(name) || *is_event && variants.contains(&plain(name));
    let missing: Vec<_> = names.filter(|name| !is_told(name)).collect();
    assert!(missing.is_empty(), "no name and no alias for {missing:?}");
    let classes = ["UnrecoverableError", "DelayedError", "WaitingError", "WaitingChildrenError", "RateLimitError"];
    for class in classes.iter().chain(&["Queue", "Worker", "QueueEvents", "QueueEventsProducer"]) {
        assert!(is_found(class), "{class}");
    }
}
