//! The guides: each can be found, and what they give to copy fits the library.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap_or_else(|_| panic!("{path}"))
}

/// Returns the pages that `guides` has, in their order.
fn pages() -> Vec<String> {
    let index = read("src/guides/mod.rs");
    let names = index.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(" {}"));
    names.map(ToOwned::to_owned).collect()
}

#[test]
fn every_guide_is_linked_from_the_front_page_and_from_the_readme() {
    let pages = pages();
    let files: BTreeSet<String> = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/guides"))
        .unwrap()
        .filter_map(|entry| Some(entry.unwrap().file_name().to_str()?.strip_suffix(".md")?.to_owned()))
        .collect();
    assert_eq!(pages.iter().cloned().collect::<BTreeSet<_>>(), files, "each file is a page");
    let (front, readme) = (read("src/lib.rs"), read("README.md"));
    for page in &pages {
        assert!(front.contains(&format!("(guides::{page})")), "{page} is not on the front page");
        assert!(
            readme.contains(&format!("https://docs.rs/oxmq/latest/oxmq/guides/{page}/")),
            "{page} is not in README"
        );
    }
}

/// Links of the pages into the repository lead to existing files.
#[test]
fn links_of_guides_lead_somewhere() {
    const REPOSITORY: &str = "https://github.com/oxmq/oxmq/blob/main/";
    // Where the page is read outside of the docs, such a link leads nowhere.
    assert!(!read("README.md").contains("](crate::"), "README links to an item of the crate");
    let pages = pages().into_iter().map(|page| format!("src/guides/{page}.md"));
    for page in pages.chain(["README.md".to_owned(), "src/lib.rs".to_owned()]) {
        let text = read(&page);
        for link in text.split(REPOSITORY).skip(1) {
            let path = &link[..link.find([')', '#', ' ', '\n']).unwrap()];
            assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join(path).exists(), "{page}: {path}");
        }
        for link in text.split("https://docs.rs/oxmq/latest/oxmq/guides/").skip(1) {
            let name = &link[..link.find('/').unwrap()];
            assert!(
                Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("src/guides/{name}.md")).exists(),
                "{page}: {name}"
            );
        }
    }
}

/// Returns the text of all source files.
fn source() -> String {
    let mut files = Vec::new();
    crate::layers::sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut files);
    files.iter().map(|file| std::fs::read_to_string(file).unwrap()).collect()
}

#[test]
fn each_type_of_the_root_has_an_example() {
    let (source, front) = (source(), read("src/lib.rs"));
    let exported = front.split("pub use ").skip(1).map(|rest| &rest[..rest.find(';').unwrap()]);
    let types = exported.flat_map(|path| path.trim_end_matches('}').split(['{', ',', ' ', ':']));
    let types: Vec<_> = types.filter(|name| name.starts_with(char::is_uppercase) && *name != "Result").collect();
    assert!(types.len() > 20, "{types:?}");
    for name in types {
        let declared = ["struct", "enum", "trait"].iter().find_map(|kind| {
            let after = [" ", "<", ":", "(", ";"].map(|after| format!("\npub {kind} {name}{after}"));
            after.iter().find_map(|declaration| source.find(declaration.as_str()))
        });
        let before = source[..declared.unwrap_or_else(|| panic!("{name} was not found"))].lines().rev();
        let doc = before.take_while(|line| !line.is_empty() && *line != "}").any(|line| line.starts_with("/// ```"));
        assert!(doc, "{name} has no example");
    }
}

/// Returns the metrics that the source records: name and kind.
fn figures() -> BTreeMap<String, &'static str> {
    let source = read("src/telemetry/figures.rs");
    let mut figures = BTreeMap::new();
    for kind in ["counter", "histogram", "gauge"] {
        for rest in source.split(&format!("{kind}!(\"")).skip(1) {
            figures.insert(rest[..rest.find('"').unwrap()].to_owned(), kind);
        }
    }
    figures
}

/// Returns the queries of the page: those of the table, and those of the rules.
fn queries(page: &str) -> Vec<String> {
    let table = page.lines().filter(|line| line.starts_with("| ") && line.contains("oxmq_"));
    let table = table.map(|line| line.split('`').nth(1).unwrap().replace("\\|", "|"));
    let rules = page.split("expr: ").skip(1).map(|rest| {
        let folded = rest.strip_prefix(">\n");
        let lines = folded.unwrap_or(rest).lines();
        let end = if folded.is_some() { usize::MAX } else { 1 };
        lines.take(end).take_while(|line| !line.contains("for: ") && !line.contains("annotations:")).collect()
    });
    table.chain(rules).collect()
}

/// The dashboard to import has the queries of the page.
#[test]
fn the_dashboard_has_the_panels_of_the_page() {
    let page = read("src/guides/observability.md");
    let told = page.lines().filter(|line| line.starts_with("| ") && line.contains("oxmq_")).map(|line| {
        let (title, query) = line.trim_matches(['|', ' ']).split_once(" | ").unwrap();
        (title.to_owned(), query.trim_matches('`').replace("\\|", "|"))
    });
    let board: serde_json::Value = serde_json::from_str(&read("docs/grafana.json")).unwrap();
    let shown = board["panels"].as_array().unwrap().iter().map(|panel| {
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        (text(&panel["title"]), text(&panel["targets"][0]["expr"]))
    });
    assert_eq!(shown.collect::<Vec<_>>(), told.collect::<Vec<_>>());
}

#[test]
fn alerts_and_panels_use_existing_metrics() {
    let (figures, page) = (figures(), read("src/guides/observability.md"));
    let source = read("src/telemetry/figures.rs") + &read("src/state.rs");
    let queries = queries(&page);
    assert!(queries.len() > 15 && figures.len() > 10, "{queries:#?}");
    let mut asked = BTreeSet::new();
    for query in &queries {
        assert_eq!(query.matches('(').count(), query.matches(')').count(), "{query}");
        assert_eq!(query.matches('{').count(), query.matches('}').count(), "{query}");
        for (at, _) in query.match_indices("oxmq_") {
            let rest = &query[at..];
            let name = &rest[..rest.find(|letter: char| !letter.is_ascii_lowercase() && letter != '_').unwrap()];
            let parts = ["_bucket", "_sum", "_count"].iter().find_map(|part| name.strip_suffix(part));
            let kind = figures.get(parts.unwrap_or(name)).unwrap_or_else(|| panic!("nobody makes {name}: {query}"));
            assert_eq!(parts.is_some(), *kind == "histogram", "{name}: {query}");
            let is_rate = query[..at].ends_with("rate(") || query[..at].ends_with("increase(");
            assert_eq!(is_rate, *kind != "gauge", "{name}: {query}");
            asked.insert(parts.unwrap_or(name));
        }
        for label in query.split(['"']).skip(1).step_by(2).flat_map(|values| values.split('|')) {
            assert!(source.contains(&format!("\"{label}\"")), "no figure has the label {label}: {query}");
        }
    }
    let telemetry = read("docs/telemetry.md");
    for (name, kind) in &figures {
        assert!(telemetry.contains(&format!("| `{name}` | {kind} |")), "{name} is not in docs/telemetry.md");
        assert!(
            asked.contains(name.as_str()) || name.contains("batch"),
            "{name} stands in no alert and no panel of src/guides/observability.md"
        );
    }
}
