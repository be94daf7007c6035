//! Each option of a job has what the compiler cannot ask for: a getter, BullMQ's name in the documentation, and a step
//! and a scenario of the twins. The list is the one in `src/options/names.rs`.

use std::collections::BTreeSet;
use std::path::Path;

/// Options that a job does not return by a getter of their own. Their values are in `JobOpts::get`.
const WITHOUT_GETTER: [&str; 5] =
    ["size_limit", "deduplication", "on_child_failure", "telemetry_metadata", "omit_context"];

/// Options that only oxmq has, so that there is nothing to compare.
const ONLY_OURS: [&str; 3] = ["start_by", "expires_in", "timeout"];

/// Options that the steps of the twins have as a part of another one.
const WITHIN: [(&str, &str); 2] = [("telemetry_metadata", "telemetry"), ("omit_context", "telemetry")];

/// An option of the list: its field, its names in JSON, and whether it is read for another job.
struct Listed {
    field: String,
    names: Vec<String>,
    is_read: bool,
}

fn read(file: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap()
}

/// Returns the text of all files of a folder of the tests.
fn all_of(folder: &str) -> String {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let files = std::fs::read_dir(dir).unwrap().map(|file| file.unwrap().path());
    files.map(|file| std::fs::read_to_string(file).unwrap()).collect()
}

fn listed(source: &str) -> Vec<Listed> {
    let list = source.split_once("$macro! {").unwrap().1.split_once("\n        }").unwrap().0;
    let code: String = list.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    let options = code.split(';').filter_map(|line| line.split_once("=>"));
    let option = |(field, names): (&str, &str)| Listed {
        field: field.trim().to_owned(),
        names: names.split('"').skip(1).step_by(2).map(str::to_owned).collect(),
        is_read: names.contains('='),
    };
    options.map(option).collect()
}

fn is_camel(name: &str) -> bool {
    name.contains(|c: char| c.is_ascii_uppercase())
}

fn snake(name: &str) -> String {
    name.chars().fold(String::new(), |mut snake, c| {
        if c.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(c.to_ascii_lowercase());
        snake
    })
}

/// Returns what is missing for the options of this list, in sources given by `source`.
fn missing(list: &[Listed], source: impl Fn(&str) -> String) -> Vec<String> {
    let (setters, getters) = (source("src/options/job.rs"), source("src/job/opts.rs"));
    let steps = source("tests/interop/ops/job.rs");
    let (reads, long) = (source("src/options/from_json.rs"), source("src/wire/options/names.rs"));
    let (sets, used) = (source("tests/interop/oxmq_side/options.rs"), source("tests/interop/scenarios"));
    let mut missing = Vec::new();
    let mut ask = |text: &str, what: String, place: &str| {
        if !text.contains(&what) {
            missing.push(format!("{place} has no `{what}`"));
        }
    };
    for Listed { field, names, is_read } in list {
        let field = field.as_str();
        if !WITHOUT_GETTER.contains(&field) {
            ask(&getters, format!("pub fn {field}("), "src/job/opts.rs");
        }
        for name in names.iter().filter(|name| is_camel(name)) {
            ask(&setters, format!("#[doc(alias = \"{name}\")]"), "src/options/job.rs");
        }
        if *is_read {
            ask(&reads, format!(".{field}("), "the test of src/options/from_json.rs");
        }
        // Node's own options that are written as one word are longer.
        for name in names.iter().filter(|name| name.len() <= 4 && *name != field) {
            ask(&long, format!("\"{name}\" =>"), "src/wire/options/names.rs");
        }
        if ONLY_OURS.contains(&field) {
            continue;
        }
        let within = WITHIN.iter().find(|(part, _)| *part == field).map(|(_, whole)| vec![(*whole).to_owned()]);
        let spelled: BTreeSet<String> = match within {
            Some(whole) => whole.into_iter().collect(),
            None if steps.contains(&format!("pub {field}: ")) => [field.to_owned()].into(),
            None => names.iter().filter(|name| is_camel(name)).map(|name| snake(name)).collect(),
        };
        ask(if spelled.is_empty() { "" } else { "named" }, "named".to_owned(), &format!("the list, for {field},"));
        for name in spelled {
            ask(&steps, format!("pub {name}: "), "tests/interop/ops/job.rs");
            ask(&sets, format!("opts.{name}"), "tests/interop/oxmq_side/options.rs");
            ask(&used, name, "tests/interop/scenarios");
        }
    }
    missing
}

#[test]
fn each_option_of_a_job_is_complete() {
    let list = listed(&read("src/options/names.rs"));
    assert!(list.iter().any(|option| option.field == "attempts") && list.len() > WITHOUT_GETTER.len(), "the list");
    let found = missing(&list, |file| if file.ends_with(".rs") { read(file) } else { all_of(file) });
    assert!(found.is_empty(), "{}", found.join("\n"));
    // A name that is left out has to be an option.
    for name in WITHOUT_GETTER.iter().chain(&ONLY_OURS).chain(WITHIN.iter().map(|(part, _)| part)) {
        assert!(list.iter().any(|option| option.field == *name), "{name}");
    }
}

#[test]
fn what_a_new_option_lacks_is_named() {
    let list = listed(
        "$macro! {\n            // One.\n            max_runs => MaxRuns: \"mr\" | \"maxRuns\" = small;\n        }",
    );
    assert_eq!((list.len(), list[0].field.as_str()), (1, "max_runs"));
    let bare = missing(&list, |_| String::new());
    assert_eq!(bare.len(), 7, "{bare:?}");
    let whole = "pub fn max_runs(#[doc(alias = \"maxRuns\")] \"mr\" => pub max_runs: opts.max_runs .max_runs(";
    assert!(missing(&list, |_| whole.to_owned()).is_empty());
}
