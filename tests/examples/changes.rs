//! Which indexes the index watcher builds anew.

#[path = "../../examples/support/changes.rs"]
mod told;

use std::collections::BTreeSet;
use std::path::Path;

use notify::event::{AccessKind, CreateKind, Flag, RemoveKind};
use notify::{Error, Event, EventKind};
use told::changed_indexes;

fn indexes(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn a_file_event_concerns_the_indexes_of_its_paths() {
    let root = Path::new("/documents");
    let event = |kind| Event::new(kind).add_path(root.join("a/one.txt")).add_path(root.join("b"));
    assert_eq!(changed_indexes(root, Ok(event(EventKind::Create(CreateKind::File)))), indexes(&["a", "b"]));
    assert_eq!(changed_indexes(root, Ok(event(EventKind::Remove(RemoveKind::Any)))), indexes(&["a", "b"]));
    assert_eq!(changed_indexes(root, Ok(event(EventKind::Access(AccessKind::Read)))), indexes(&[]));
    let elsewhere = Event::new(EventKind::Any).add_path("/other/a".into()).add_path(root.into());
    assert_eq!(changed_indexes(root, Ok(elsewhere)), indexes(&[]));
}

/// Where the system had no room for all changes, and where watching fails, any index may have changed.
#[test]
fn an_overflow_concerns_all_indexes() {
    let root = std::env::temp_dir().join(format!("oxmq-overflow-{}", std::process::id()));
    for index in ["a", "b"] {
        std::fs::create_dir_all(root.join(index)).unwrap();
    }
    let overflow = Event::new(EventKind::Other).set_flag(Flag::Rescan).add_path(root.join("a"));
    assert_eq!(changed_indexes(&root, Ok(overflow)), indexes(&["a", "b"]));
    assert_eq!(changed_indexes(&root, Err(Error::generic("the queue overflowed"))), indexes(&["a", "b"]));
    std::fs::remove_dir_all(&root).unwrap();
    assert_eq!(changed_indexes(&root, Err(Error::generic("gone"))), indexes(&[]));
}
