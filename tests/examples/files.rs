//! The files of the two watchers.

#[path = "../../examples/support/index.rs"]
mod index;

use index::{greatest, is_plain, prune, write_whole};

/// Whoever may add jobs names the indexes in them.
#[test]
fn no_name_leads_out_of_the_directories() {
    for bad in ["", ".", "..", "../x", "a/b", "/etc", "a\\b", ".hidden", "a\0"] {
        assert!(!is_plain(bad), "{bad:?}");
    }
    assert!(is_plain("products") && is_plain("0000000000000007-000001") && is_plain("a.b c"));
}

#[test]
fn the_greatest_revisions_are_kept() {
    let dir = std::env::temp_dir().join(format!("oxmq-watchers-files-{}", std::process::id()));
    for revision in ["03", "01", "02", ".draft"] {
        write_whole(&dir.join(revision), &revision).unwrap();
    }
    prune(&dir, 5).unwrap();
    prune(&dir, 2).unwrap();
    let mut left: Vec<_> = std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!((left, greatest(&dir).as_deref()), ([".draft", "02", "03"].map(Into::into).to_vec(), Some("03")));
    std::fs::remove_dir_all(&dir).unwrap();
}
