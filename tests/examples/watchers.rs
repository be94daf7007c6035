//! The two watchers under fire: two processes of each are killed and started again while documents change.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use oxmq::job::Cancellation;
use oxmq::{Client, Queue};
use serde_json::json;

use super::example;
use crate::common::eventually::until;
use crate::common::fixture::PATIENCE;
use crate::common::server::RedisServer;

type Words = BTreeMap<String, BTreeMap<String, usize>>;

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

    /// Returns the log of all builds.
    fn log(&self) -> String {
        std::fs::read_to_string(self.out().join("builds.log")).unwrap_or_default()
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
    fn count(&self, index: &str, document: usize, word: &str) -> Option<usize> {
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

    /// Starts a builder that takes so long for each document.
    fn builder(server: &RedisServer, dirs: &Dirs, slowly_ms: u32) -> Self {
        let mut command = example("index_watcher");
        command.env("REDIS_URL", server.url()).env("SLOWLY_MS", slowly_ms.to_string());
        command.arg(dirs.root.join("documents")).arg(dirs.out());
        Self::spawn(command)
    }

    fn publisher(server: &RedisServer, dirs: &Dirs) -> Self {
        let mut command = example("result_watcher");
        command.env("REDIS_URL", server.url()).arg(dirs.out()).arg("publisher");
        Self::spawn(command)
    }

    /// Counts the lines so far that have this in them.
    fn heard(&self, part: &str) -> usize {
        self.said.lock().unwrap().iter().filter(|line| line.contains(part)).count()
    }

    fn signal(&self, name: &str) {
        let status =
            std::process::Command::new("kill").args([format!("-{name}"), self.child.id().to_string()]).status();
        assert!(status.unwrap().success());
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

/// Opens the queue that the watchers share.
async fn queue(server: &RedisServer) -> Queue {
    Client::connect(&server.url()).await.unwrap().queue("indexes").open().unwrap()
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

/// Returns the revision and process of the build of an index that runs, by the log of all builds.
fn running(log: &str, index: &str) -> Option<(String, u32)> {
    let mut last = None;
    for line in log.lines() {
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["begin", name, revision, pid] if name == index => {
                last = Some((revision.to_owned(), pid.parse::<u32>().unwrap()))
            }
            ["end", name, revision, _] if name == index => last = last.filter(|(running, _)| running != revision),
            ["killed", dead] => last = last.filter(|(_, pid)| pid.to_string() != dead),
            _ => {}
        }
    }
    last
}

/// Takes the number of the start off a revision: what is left names the job.
fn job_of(revision: &str) -> &str {
    revision.rsplit_once('-').unwrap().0
}

#[test]
fn two_builders_and_two_publishers_survive_being_killed() {
    const INDEXES: [&str; 2] = ["products", "people"];
    const DOCUMENTS: usize = 12;
    const KILLED_BUILDS: usize = 4;
    let (server, dirs) = (RedisServer::start(), Dirs::new("killed"));
    for index in INDEXES {
        for document in 0..DOCUMENTS {
            dirs.write(index, document, "first");
        }
    }
    let builder = || Watcher::builder(&server, &dirs, 40);
    let mut builders = [builder(), builder()];
    let mut publishers = [Watcher::publisher(&server, &dirs), Watcher::publisher(&server, &dirs)];

    // A reader never sees an older revision after a newer one.
    let mut newest: BTreeMap<&str, String> = BTreeMap::new();
    let mut look = || {
        for index in INDEXES {
            let Some(revision) = dirs.published(index) else { continue };
            let before = newest.insert(index, revision.clone()).unwrap_or_default();
            assert!(before <= revision, "{index} went back from {before} to {revision}");
        }
    };
    // Revisions whose builder was killed before it had ended.
    let mut broken_off = Vec::new();
    for round in 1_usize.. {
        assert!(round <= 5 * KILLED_BUILDS, "the kills came too late: only {broken_off:?} were broken off");
        for document in 0..DOCUMENTS {
            dirs.write(INDEXES[document % 2], document, &"again ".repeat(round));
        }
        // Kills whoever builds, in the middle of that, and one who reads its events.
        let mut victim = None;
        until("a build runs", || {
            look();
            let log = dirs.log();
            victim = INDEXES.iter().find_map(|index| running(&log, index));
            victim.is_some()
        });
        let (revision, pid) = victim.unwrap();
        let one = builders.iter().position(|builder| builder.child.id() == pid).unwrap();
        builders[one].kill(&dirs.out());
        let has_ended = dirs.log().lines().any(|line| line.starts_with("end ") && line.contains(&revision));
        broken_off.extend((!has_ended).then_some(revision));
        publishers[round % 2].kill(&dirs.out());
        look();
        builders[one] = builder();
        publishers[round % 2] = Watcher::publisher(&server, &dirs);
        // Each change is published in the end.
        for document in 0..DOCUMENTS {
            let what = format!("document {document} of round {round} is published");
            until(&what, || {
                look();
                dirs.count(INDEXES[document % 2], document, "again") == Some(round)
            });
        }
        if broken_off.len() >= KILLED_BUILDS {
            break;
        }
    }
    let log = dirs.log();
    assert_eq!(overlaps(&log), Vec::<String>::new(), "{log}");
    // The job of a build that was broken off is begun again under a greater number.
    for revision in &broken_off {
        let begun = |line: &str| match line.split(' ').collect::<Vec<_>>()[..] {
            ["begin", _, later, _] => job_of(later) == job_of(revision) && later > revision.as_str(),
            _ => false,
        };
        assert!(log.lines().any(begun), "{revision} was not begun again:\n{log}");
    }
}

#[tokio::test]
async fn an_alert_is_given_once_however_often_publishers_are_killed() {
    let (server, dirs) = (RedisServer::start(), Dirs::new("alerts"));
    let _builder = Watcher::builder(&server, &dirs, 0);
    let queue = queue(&server).await;
    // The first listener under a name begins with the events from then on.
    let mut publisher = Watcher::publisher(&server, &dirs);
    until("the first publisher reads", || publisher.heard("reading results") == 1);
    publisher.kill(&dirs.out());

    // Nobody listens while a build fails for good: an index is never named like that.
    let bad = queue.add("build-index", json!({ "index": ".." })).await.unwrap();
    let error = bad.wait_until_finished(PATIENCE).await.unwrap_err().to_string();
    assert!(error.contains("an index is named"), "{error}");
    let mut publisher = Watcher::publisher(&server, &dirs);
    until("the failure is told", || publisher.heard(&format!("job {}", bad.id())) == 1);
    // A later event was taken, so the failure is acknowledged.
    dirs.write("books", 0, "one");
    until("a build is published", || publisher.heard("published books") == 1);
    assert_eq!(publisher.heard("ALERT"), 1);
    publisher.kill(&dirs.out());

    for word in ["two", "three"] {
        let mut next = Watcher::publisher(&server, &dirs);
        until("the next publisher reads", || next.heard("reading results") == 1);
        dirs.write("books", 0, word);
        until("the next build is published", || next.heard("published books") == 1);
        assert_eq!(next.heard("ALERT"), 0, "told again: {:?}", next.said.lock().unwrap());
        next.kill(&dirs.out());
    }
}

#[test]
fn a_build_that_was_given_up_and_ends_late_replaces_nothing() {
    let (server, dirs) = (RedisServer::start(), Dirs::new("late"));
    dirs.write("books", 0, "old");
    let late = Watcher::builder(&server, &dirs, 3_000);
    let _publisher = Watcher::publisher(&server, &dirs);
    let mut held = None;
    until("the first build runs", || {
        held = running(&dirs.log(), "books");
        held.is_some()
    });
    // It has read the only document, and is away for longer than its lock is valid.
    until("the document was read", || dirs.out().join("books/documents/0.txt").exists());
    late.signal("STOP");
    let (given_up, _) = held.unwrap();
    let _other = Watcher::builder(&server, &dirs, 0);
    until("another process has built it", || dirs.published("books").is_some_and(|newest| newest > given_up));
    let again = format!("begin books {}-000002", job_of(&given_up));
    assert!(dirs.log().contains(&again), "no {again}: {}", dirs.log());
    dirs.write("books", 0, "new");
    until("and built a change", || dirs.count("books", 0, "new") == Some(1));
    let newest = dirs.published("books");
    late.signal("CONT");
    until("the late build ends", || dirs.log().contains(&format!("end books {given_up}")));
    until("its file is there", || late.heard(&format!("built books {given_up}")) == 1);
    // A change after it has come through, so the publisher has seen what there was to see of the late one.
    dirs.write("books", 1, "last");
    until("the next build is published", || dirs.count("books", 1, "last") == Some(1));
    assert!(dirs.published("books") > newest);
    assert!(!dirs.out().join("books/published").join(&given_up).exists());
}

#[test]
fn a_document_that_has_not_changed_is_not_read_again() {
    let (server, dirs) = (RedisServer::start(), Dirs::new("known"));
    let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1_600_000_000);
    let write_long_ago = |text: &str| {
        dirs.write("books", 0, text);
        let file = std::fs::File::options().write(true).open(dirs.root.join("documents/books/0.txt")).unwrap();
        file.set_modified(long_ago).unwrap();
    };
    write_long_ago("red");
    let _builder = Watcher::builder(&server, &dirs, 0);
    let _publisher = Watcher::publisher(&server, &dirs);
    until("it is published", || dirs.count("books", 0, "red") == Some(1));
    // As long as before and as old, which is how a build tells that nothing has changed.
    write_long_ago("sea");
    dirs.write("books", 1, "next");
    until("the next build is published", || dirs.count("books", 1, "next") == Some(1));
    assert_eq!(dirs.count("books", 0, "red"), Some(1), "it was read again");
}

#[tokio::test]
async fn a_build_can_be_cancelled_while_it_runs() {
    let (server, dirs) = (RedisServer::start(), Dirs::new("cancelled"));
    for document in 0..200 {
        dirs.write("books", document, "slow");
    }
    let builder = Watcher::builder(&server, &dirs, 500);
    until("the build runs", || running(&dirs.log(), "books").is_some());
    let (revision, pid) = running(&dirs.log(), "books").unwrap();
    assert_eq!(pid, builder.child.id());
    let queue = queue(&server).await;
    let id = job_of(&revision).trim_start_matches('0').to_owned();
    assert_eq!(queue.job(&id).cancel("not today").await.unwrap(), Cancellation::Requested);
    until("the build ends", || running(&dirs.log(), "books").is_none());
    let error = queue.job(&id).wait_until_finished(PATIENCE).await.unwrap_err().to_string();
    assert!(error.contains("not today"), "{error}");
    assert_eq!(builder.heard("built books"), 0);
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
    until("the listener listens", || listener.heard("listening") == 1);
    let _builder = Watcher::builder(&server, &dirs, 20);
    let _publisher = Watcher::publisher(&server, &dirs);
    until("the first build", || listener.heard("built books") == 1 && dirs.count("books", 0, "two") == Some(1));
    assert!(script("producer").arg("books").stdout(Stdio::null()).status().unwrap().success());
    until("the build that Node has asked for", || listener.heard("built books") == 2);
}
