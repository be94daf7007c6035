//! Removes the directories of servers whose test process was killed together with its watchdog.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// What the name of each directory begins with; the id of its process and a number follow.
const PREFIX: &str = "oxmq-redis-";

/// The socket of a server, in its directory.
const SOCKET: &str = "s";

/// How old a directory is at least: a process in another container, whose id is not known here, may just have created
/// one, and has no server in it yet.
const LEAST_AGE: Duration = Duration::from_secs(60);

/// Removes the directories beside `own` that killed processes of its user have left behind.
pub(super) fn remove_beside(own: &Path) {
    if let (Some(base), Ok(about)) = (own.parent(), fs::metadata(own)) {
        remove(base, about.uid(), LEAST_AGE);
    }
}

/// Removes from `base` the directories of processes that are gone, if they belong to this user and no server answers in
/// them. It never follows a link. Without `/proc` nothing is known of processes, so nothing is removed.
fn remove(base: &Path, user: u32, least_age: Duration) {
    if !Path::new("/proc/self").exists() {
        return;
    }
    // What cannot be read or removed is left to the next process.
    for entry in fs::read_dir(base).into_iter().flatten().flatten() {
        let dir = entry.path();
        let Some(process) = entry.file_name().to_str().and_then(process_of) else { continue };
        // Of the entry itself: a link is no directory here.
        let Ok(about) = fs::symlink_metadata(&dir) else { continue };
        let age = about.modified().ok().and_then(|at| at.elapsed().ok()).unwrap_or_default();
        let is_gone = about.is_dir()
            && about.uid() == user
            && age >= least_age
            && !Path::new("/proc").join(process.to_string()).exists()
            && UnixStream::connect(dir.join(SOCKET)).is_err();
        if is_gone {
            let _ = fs::remove_dir_all(&dir);
        }
    }
}

/// Returns the process that has created the directory of this name.
fn process_of(name: &str) -> Option<u32> {
    let (process, number) = name.strip_prefix(PREFIX)?.split_once('-')?;
    number.parse::<u32>().ok()?;
    process.parse().ok()
}

#[cfg(test)]
#[allow(unused_imports, reason = "benches without a harness compile no test of this file")]
mod tests {
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;
    use std::path::PathBuf;
    use std::process::Command;

    use super::*;

    /// Returns the id of a process that has ended.
    fn ended() -> u32 {
        let mut child = Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        child.id()
    }

    #[test]
    fn only_directories_of_this_user_whose_process_is_gone_are_removed() {
        let base = std::env::temp_dir().join(format!("oxmq-leftovers-{}", uuid::Uuid::new_v4()));
        let (gone, own) = (ended(), std::process::id());
        let create = |name: String| {
            let dir = base.join(name);
            fs::create_dir_all(dir.join("inner")).unwrap();
            fs::write(dir.join("inner/log"), "").unwrap();
            dir
        };
        let left = create(format!("oxmq-redis-{gone}-1"));
        let kept: Vec<PathBuf> = [
            format!("oxmq-redis-{own}-1"),
            format!("oxmq-redis-{gone}-x"),
            format!("oxmq-redis-{gone}"),
            format!("oxmq-other-{gone}-1"),
        ]
        .map(create)
        .into();
        let answering = create(format!("oxmq-redis-{gone}-2"));
        let _listener = UnixListener::bind(answering.join(SOCKET)).unwrap();
        let link = base.join(format!("oxmq-redis-{gone}-3"));
        symlink(&kept[3], &link).unwrap();
        symlink(&kept[3], left.join("link")).unwrap();

        let user = fs::metadata(&base).unwrap().uid();
        remove(&base, user + 1, Duration::ZERO);
        remove(&base, user, Duration::from_secs(3600));
        assert!(left.exists());
        remove(&base, user, Duration::ZERO);
        assert!(!left.exists());
        for dir in kept.iter().chain([&answering, &link]) {
            assert!(dir.join("inner/log").exists(), "{dir:?}");
        }
        fs::remove_dir_all(&base).unwrap();
    }
}
