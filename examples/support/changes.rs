//! Which indexes have changed, by what the file system tells.

use std::collections::BTreeSet;
use std::path::Path;

/// The indexes below `root` that an event of the file system is about.
pub(crate) fn changed_indexes(root: &Path, event: notify::Result<notify::Event>) -> BTreeSet<String> {
    let paths = match event {
        // That somebody reads is no change; we do so ourselves.
        Ok(event) if event.kind.is_access() => Vec::new(),
        Ok(event) if !event.need_rescan() => event.paths,
        // There were more changes than the system could keep: anything may have changed.
        _ => std::fs::read_dir(root).into_iter().flatten().flatten().map(|entry| entry.path()).collect(),
    };
    let indexes = paths.iter().filter_map(|path| path.strip_prefix(root).ok()?.components().next());
    indexes.map(|index| index.as_os_str().to_string_lossy().into_owned()).collect()
}
