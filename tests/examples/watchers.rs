//! The two watchers under fire: two processes of each are killed and started again while documents change.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::example;
use crate::common::server::RedisServer;

type Words = BTreeMap<String, BTreeMap<String, u64>>;

/// The directories of a test, removed at its end.
struct Dirs {
    root: PathBuf,
}

impl Dirs {
    fn new(test: &str) -> Self {
        let root = std::env::temp_dir().join(format!("oxmq-watchers-{test}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&root);
        std::fs::create_dir_all(root.join("documents")).unwrap();
        std::fs::create_dir_all(root.join("out")).unwrap();
        Self { root }
    }

    fn out(&self) -> PathBuf {
        self.root.join("out")
    }

    fn write(&self, index: &str, document: usize, text: &str) {
        let dir = self.root.join("documents").join(index);
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join(format!("{document}.txt")), text).unwrap();
    }

    /// Returns the greatest published revision of an index.
    fn published(&self, index: &str) -> Option<String> {
        let entries = std::fs::read_dir(self.out().join(index).join("published")).ok()?;
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).max()
    }

    /// Counts a word in a document of the published index.
    fn count(&self, index: &str, document: usize, word: &str) -> Option<u64> {
        let revision = self.published(index)?;
        let text = std::fs::read(self.out().join(index).join("published").join(revision)).unwrap();
        let words: Words = serde_json::from_slice(&text).unwrap();
        words.get(&format!("{document}.txt"))?.get(word).copied()
    }
}

impl Drop for Dirs {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.root);
    }
}

/// A running watcher, and the lines that it prints.
struct Watcher {
    child: Child,
    said: Arc<Mutex<Vec<String>>>,
}

impl Watcher {
    fn spawn(mut command: std::process::Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let said = Arc::new(Mutex::new(Vec::new()));
        let (out, heard) = (child.stdout.take().unwrap(), Arc::clone(&said));
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                heard.lock().unwrap().push(line);
            }
        });
        Self { child, said }
    }

    fn builder(server: &RedisServer, dirs: &Dirs) -> Self {
        let mut command = example("index_watcher");
        command.env("REDIS_URL", server.url()).env("SLOWLY_MS", "20");
        command.arg(dirs.root.join("documents")).arg(dirs.out());
        Self::spawn(command)
    }

    fn publisher(server: &RedisServer, dirs: &Dirs) -> Self {
        let mut command = example("result_watcher");
        command.env("REDIS_URL", server.url()).arg(dirs.out()).arg("publisher");
        Self::spawn(command)
    }

    /// Sends `kill -9`, and notes that in the log of the builds.
    fn kill(&mut self, out: &Path) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        let mut log = std::fs::OpenOptions::new().append(true).create(true).open(out.join("builds.log")).unwrap();
        writeln!(log, "killed {}", self.child.id()).unwrap();
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(90);
    while !condition() {
        assert!(Instant::now() < deadline, "not within 90 s: {what}");
        std::thread::sleep(Duration::from_millis(20)); // looks again
    }
}

/// Returns the builds of one index that ran at the same time; empty if all is well.
fn overlaps(log: &str) -> Vec<String> {
    // Index → revision and process of its build.
    let mut running: BTreeMap<&str, (&str, &str)> = BTreeMap::new();
    let mut found = Vec::new();
    for line in log.lines() {
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["begin", index, revision, pid] => {
                if let Some((other, by)) = running.insert(index, (revision, pid)) {
                    found.push(format!("{index}: {revision} by {pid} began while {other} by {by} ran"));
                }
            }
            ["end", index, revision, _] => {
                if running.get(index).is_some_and(|(running, _)| *running == revision) {
                    running.remove(index);
                }
            }
            ["killed", pid] => running.retain(|_, (_, by)| *by != pid),
            _ => found.push(format!("what is '{line}'?")),
        }
    }
    found
}

#[test]
fn two_builders_and_two_publishers_survive_being_killed() {
    const INDEXES: [&str; 2] = ["products", "people"];
    const DOCUMENTS: usize = 12;
    let (server, dirs) = (RedisServer::start(), Dirs::new("killed"));
    for index in INDEXES {
        for document in 0..DOCUMENTS {
            dirs.write(index, document, "first");
        }
    }
    let mut builders = [Watcher::builder(&server, &dirs), Watcher::builder(&server, &dirs)];
    let mut publishers = [Watcher::publisher(&server, &dirs), Watcher::publisher(&server, &dirs)];

    // A reader never sees an older revision after a newer one.
    let seen = Arc::new(Mutex::new(BTreeMap::<&str, BTreeSet<String>>::new()));
    let mut newest: BTreeMap<&str, String> = BTreeMap::new();
    let mut look = || {
        for index in INDEXES {
            let Some(revision) = dirs.published(index) else { continue };
            let before = newest.insert(index, revision.clone()).unwrap_or_default();
            assert!(before <= revision, "{index} went back from {before} to {revision}");
            seen.lock().unwrap().entry(index).or_default().insert(revision);
        }
    };
    for round in 1..=4_usize {
        for document in 0..DOCUMENTS {
            dirs.write(INDEXES[document % 2], document, &"again ".repeat(round));
        }
        // Kills in the middle of a build of this round, and of reading its events.
        let begun = std::fs::read_to_string(dirs.out().join("builds.log")).unwrap_or_default().lines().count();
        eventually("a build begins", || {
            look();
            let log = std::fs::read_to_string(dirs.out().join("builds.log")).unwrap_or_default();
            log.lines().skip(begun).any(|line| line.starts_with("begin")) || round > 1
        });
        let one = round % 2;
        builders[one].kill(&dirs.out());
        publishers[one].kill(&dirs.out());
        look();
        builders[one] = Watcher::builder(&server, &dirs);
        publishers[one] = Watcher::publisher(&server, &dirs);
        // Each change is published in the end.
        for document in 0..DOCUMENTS {
            let what = format!("document {document} of round {round} is published");
            eventually(&what, || {
                look();
                dirs.count(INDEXES[document % 2], document, "again") == Some(round as u64)
            });
        }
    }
    let log = std::fs::read_to_string(dirs.out().join("builds.log")).unwrap();
    assert_eq!(overlaps(&log), Vec::<String>::new(), "{log}");
    // An acknowledged event is not delivered again: each revision is published once, by one of the two.
    let said = publishers.iter().flat_map(|publisher| publisher.said.lock().unwrap().clone());
    let published: Vec<String> = said.filter(|line| line.starts_with("published")).collect();
    let distinct: BTreeSet<&String> = published.iter().collect();
    assert_eq!(distinct.len(), published.len(), "{published:#?}");
}

#[test]
fn node_asks_for_builds_and_hears_of_them() {
    let (server, dirs) = (RedisServer::start(), Dirs::new("node"));
    dirs.write("books", 0, "one two");
    let root = env!("CARGO_MANIFEST_DIR");
    let script = |name: &str| {
        let mut node = std::process::Command::new("node");
        node.env("REDIS_URL", server.url()).arg(format!("{root}/examples/node/{name}.mjs")).arg(root);
        node
    };
    let listener = Watcher::spawn(script("listener"));
    let heard = |word: &str| listener.said.lock().unwrap().iter().filter(|line| line.contains(word)).count();
    eventually("the listener listens", || heard("listening") == 1);
    let _builder = Watcher::builder(&server, &dirs);
    let _publisher = Watcher::publisher(&server, &dirs);
    eventually("the first build", || heard("built books") == 1 && dirs.count("books", 0, "two") == Some(1));
    assert!(script("producer").arg("books").stdout(Stdio::null()).status().unwrap().success());
    eventually("the build that Node has asked for", || heard("built books") == 2);
}
