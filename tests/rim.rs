//! The limits of the public interface: every number, text, duration, time and state that it takes, at its least, at its
//! greatest and beyond. A value is either accepted and does no harm, or refused by an error that names it; and after that
//! the queue still works.
//!
//! The table is compared with the sources: an argument without a row fails `every_argument_has_a_row`.

mod jobs;
mod json;
mod partitions;
mod queues;
mod workers;

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use oxmq::{Client, ConnectOptions, Error, Job, JobState, ManualWorker, NewJob, Queue};
use serde_json::{Value, json};

use crate::common::server::{fresh_prefix, shared_server};

/// How long one call may take; calls that wait are told to wait for less.
const PATIENCE: Duration = Duration::from_secs(60);

const SPANS: [Duration; 4] = [Duration::ZERO, Duration::from_nanos(1), Duration::from_secs(7), Duration::MAX];
const U32: [u32; 3] = [0, 1, u32::MAX];
const U64: [u64; 3] = [0, 1, u64::MAX];
const USIZE: [usize; 3] = [0, 1, usize::MAX];
const I64: [i64; 4] = [i64::MIN, -1, 0, i64::MAX];
/// Empty, a key of the queue itself, the key of a part of a job, control characters, and far too long.
static TEXTS: [&str; 5] = ["", "meta", "job:logs", "\0\n", LONG];
static LONG: &str = {
    static X: [u8; 100_000] = [b'x'; 100_000];
    match std::str::from_utf8(&X) {
        Ok(text) => text,
        Err(_) => unreachable!(),
    }
};

/// Returns times: before 1970, 1970, the last one that a job can have, and almost the last one there is.
fn moments() -> [SystemTime; 4] {
    let after = |span| UNIX_EPOCH + span;
    let last = after(Duration::from_secs(i64::MAX.unsigned_abs()));
    [UNIX_EPOCH - Duration::from_secs(1), UNIX_EPOCH, after(Duration::from_millis(1 << 52)), last]
}

fn states() -> [JobState; 9] {
    let [a, b, c, d, e, f, g, h] = JobState::ALL;
    [a, b, c, d, e, f, g, h, JobState::Unknown]
}

/// One argument with several values, and for each value a letter for the expected result.
///
/// `o`: accepted, `x`: refused before anything is sent, `r`: refused by the scripts, `t`: a time-out, `s`: refused by the
/// server, `c`: the worker is closed.
struct Row {
    name: &'static str,
    cases: Vec<(String, char, Case)>,
}

type Case = Box<dyn FnOnce(Ground) -> BoxFuture<'static, oxmq::Result<()>> + Send>;

fn row<V, F, Fut>(name: &'static str, values: &[V], expected: &str, call: F) -> Row
where
    V: Debug + Clone + Send + 'static,
    F: Fn(Ground, V) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = oxmq::Result<()>> + Send + 'static,
{
    assert_eq!(values.len(), expected.len(), "{name}: a letter for each value");
    let cases = values.iter().cloned().zip(expected.chars()).map(|(value, letter)| {
        let (mut shown, call) = (format!("{value:?}"), call.clone());
        if shown.len() > 60 {
            shown = format!("{}…", &shown[..60]);
        }
        let case: Case = Box::new(move |ground| call(ground, value).boxed());
        (shown, letter, case)
    });
    Row { name, cases: cases.collect() }
}

/// A queue of its own with one waiting job, `job`, one that is locked with the token `t`, and one that is delayed.
#[derive(Clone)]
struct Ground {
    client: Client,
    queue: Queue,
    name: String,
}

impl Ground {
    async fn new(client: &Client) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = format!("q{}", NEXT.fetch_add(1, Ordering::Relaxed));
        Self { client: client.clone(), queue: client.queue(&name).open().unwrap(), name }
    }

    fn manual(&self) -> ManualWorker {
        self.client.manual_worker(&self.name).open().unwrap()
    }

    /// Returns the waiting job.
    async fn waiting(&self) -> Job {
        self.queue.add("job", json!(1)).job_id("job").await.unwrap()
    }

    /// Returns the delayed job.
    async fn delayed(&self) -> Job {
        self.queue.add("job", json!(1)).job_id("job").delay(Duration::from_secs(60)).await.unwrap()
    }

    /// Returns the job that is locked with the token `t`.
    async fn held(&self) -> Job {
        self.waiting().await;
        self.manual().get_next_job("t").await.unwrap().unwrap()
    }

    /// Adds this job, runs it to its end, and runs another one after it.
    async fn runs(&self, job: NewJob<Value>) -> oxmq::Result<()> {
        self.queue.add_bulk([job]).await?.remove(0)?;
        let manual = self.manual();
        if let Some(job) = manual.get_next_job("t").await? {
            job.log("a line").await?;
            job.move_to_failed("why", "t").await?;
            if let Some(again) = manual.get_next_job("t").await? {
                again.move_to_completed(&json!(1), "t").await?;
            }
        }
        Ok(())
    }

    /// Checks that the queue still takes a job, hands it out and lets it complete.
    async fn works(&self) -> Result<(), String> {
        let told = |what: &'static str| move |error: Error| format!("{what}: {error}");
        self.queue.add("probe", json!(1)).job_id("probe").lifo(true).await.map_err(told("adding"))?;
        let manual = self.manual();
        for _ in 0..9 {
            let fetched = manual.get_next_job("probe").await.map_err(told("fetching"))?;
            let Some(job) = fetched else { return Err("the probe is not handed out".to_owned()) };
            job.move_to_completed(&json!(1), "probe").await.map_err(told("completing"))?;
            if job.id() == "probe" {
                let meta = self.queue.get_meta().await.map_err(told("reading"))?;
                return meta.others.is_empty().then_some(()).ok_or(format!("in meta: {:?}", meta.others));
            }
        }
        Err("the probe does not come".to_owned())
    }
}

fn rows() -> Vec<Row> {
    [jobs::rows(), partitions::rows(), queues::rows(), workers::rows()].into_iter().flatten().collect()
}

fn letter(answer: &oxmq::Result<()>) -> char {
    match answer {
        Ok(()) => 'o',
        Err(Error::InvalidOption { .. }) => 'x',
        Err(Error::Refused { .. }) => 'r',
        Err(Error::Timeout { .. }) => 't',
        Err(Error::Redis { .. }) => 's',
        Err(Error::Closed) => 'c',
        Err(_) => '?',
    }
}

/// Returns whether an error about an option names the setter or the argument of the row, so that who reads it finds the
/// line of the program that it is about.
fn is_named(row: &str, answer: &oxmq::Result<()>) -> bool {
    let Err(Error::InvalidOption { option, problem }) = answer else { return true };
    let Some((of, called)) = row.split_once("::") else { return true };
    let Some((function, argument)) = called.trim_end_matches(')').split_once('(') else { return true };
    // `queue name` and `backoff.delay` are about the name and the delay; a list may be named in place of its only item.
    let is_word = |word: &str| [function, argument, of].contains(&word) || word.strip_suffix('s') == Some(argument);
    // Options inside of an option: `option remove_on_complete: its count must …`.
    option.split([' ', '.']).any(is_word) || problem.strip_prefix("its ").is_some_and(|rest| rest.starts_with(function))
}

/// Runs one case; returns what is wrong with it.
async fn play(client: Client, row: &'static str, value: String, expected: char, case: Case) -> Option<String> {
    let ground = Ground::new(&client).await;
    let called = std::panic::AssertUnwindSafe(tokio::time::timeout(PATIENCE, case(ground.clone()))).catch_unwind();
    let problem = match called.await {
        Err(_) => "panics".to_owned(),
        Ok(Err(_)) => "does not return".to_owned(),
        Ok(Ok(answer)) if letter(&answer) == expected => match (is_named(row, &answer), ground.works().await) {
            (true, Ok(())) => return None,
            (false, _) => format!("does not name what was called: {answer:?}"),
            (_, Err(problem)) => format!("harms the queue: {problem}"),
        },
        Ok(Ok(answer)) => format!("gives {answer:?}, not '{expected}'"),
    };
    Some(format!("{row} at {value}: {problem}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_value_is_harmless_or_refused() {
    let options = ConnectOptions::from_url(&shared_server().url()).unwrap();
    let client = Client::builder(options).prefix(fresh_prefix()).connect().await.unwrap();
    let cases = rows().into_iter().flat_map(|row| {
        let name = row.name;
        row.cases.into_iter().map(move |(value, expected, case)| (name, value, expected, case))
    });
    let played = futures::stream::iter(cases)
        .map(|(name, value, expected, case)| play(client.clone(), name, value, expected, case))
        .buffer_unordered(8);
    let problems: Vec<String> = played.filter_map(std::future::ready).collect().await;
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[tokio::test]
async fn a_bulk_add_names_the_job_that_broke_a_rule() {
    let options = ConnectOptions::from_url(&shared_server().url()).unwrap();
    let client = Client::builder(options).prefix(fresh_prefix()).connect().await.unwrap();
    let queue: Queue = client.queue("q").open().unwrap();
    let jobs =
        ["good", "bad"].map(|name| NewJob::new(name, json!(1)).priority(if name == "bad" { u32::MAX } else { 1 }));
    let error = queue.add_bulk(jobs).await.unwrap_err();
    assert!(
        matches!(&error, Error::InvalidOption { option: "priority", problem } if problem.ends_with("(job 1, 'bad')")),
        "{error}"
    );
    assert_eq!(queue.count().await.unwrap(), 0);
}

/// Returns `Type::function(argument)` for everything public that takes a number, a text, a duration, a time or a state.
fn arguments() -> BTreeSet<String> {
    const TYPES: [&str; 13] = [
        "Duration",
        "SystemTime",
        "u32",
        "u64",
        "usize",
        "i64",
        "f64",
        "&str",
        "Into<String>",
        "AsRef<str>",
        "JobState",
        "Into<Backoff>",
        "Into<KeepJobs>",
    ];
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    crate::layers::sources(&root, &mut files);
    let mut found = BTreeSet::new();
    for file in files.into_iter().filter(|file| !file.ends_with("bench_support.rs")) {
        let source = std::fs::read_to_string(&file).unwrap();
        let tested = source.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
        let (mut of, mut in_worker_setters) = (String::new(), false);
        let mut lines = tested.lines();
        while let Some(line) = lines.next() {
            if line.starts_with("impl") {
                of = implemented(line);
            }
            in_worker_setters |= line == "shared_setters! {";
            in_worker_setters &= line != "}";
            let trimmed = line.trim_start();
            let public = ["pub fn ", "pub async fn ", "pub const fn "].iter().find_map(|p| trimmed.strip_prefix(p));
            let setter = trimmed.split_once(") => ").filter(|_| in_worker_setters && !trimmed.starts_with('('));
            let (of, mut text) = match (public, setter) {
                (Some(signature), _) if !signature.starts_with('$') => (of.as_str(), signature.to_owned()),
                (_, Some((signature, _))) => ("WorkerBuilder", format!("{signature})")),
                _ => continue,
            };
            while public.is_some() && !text.contains('{') {
                text.push_str(lines.next().unwrap().trim());
            }
            let name: String = text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            let arguments = text.split_once('(').unwrap().1;
            let arguments = arguments.split(") ->").next().unwrap_or(arguments);
            // A colon and a space separate a name from its type; after a comma the next name begins.
            let parts: Vec<&str> = arguments.split(": ").collect();
            for pair in parts.windows(2) {
                let argument = pair[0].rsplit([',', '(', ' ']).next().unwrap_or_default();
                if TYPES.iter().any(|kind| pair[1].contains(kind)) {
                    found.insert(format!("{of}::{name}({argument})"));
                }
            }
        }
    }
    found
}

/// Returns the type of a line such as `impl<D: Serialize, R> Queue<D, R> {`.
fn implemented(line: &str) -> String {
    let mut depth = 0;
    let rest = line["impl".len()..].trim_start_matches(|c| {
        depth += i32::from(c == '<') - i32::from(c == '>');
        depth > 0 || c == '>' || c == ' '
    });
    let rest = rest.split_once(" for ").map_or(rest, |(_, rest)| rest);
    rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

#[test]
fn every_argument_has_a_row() {
    // A look-up that makes no call, and what exists only for the compiler to name a mistake.
    const EXEMPT: [&str; 2] = ["ClientInfo::", "Add::wait_until_finished"];
    // Rows without an argument are about answers of processors and strategies.
    let rows = rows().into_iter().map(|row| row.name.to_owned()).filter(|name| name.ends_with(')'));
    let rows: BTreeSet<String> = rows.collect();
    let arguments: BTreeSet<String> =
        arguments().into_iter().filter(|argument| EXEMPT.iter().all(|of| !argument.starts_with(of))).collect();
    let missing: Vec<_> = arguments.difference(&rows).collect();
    let unknown: Vec<_> = rows.difference(&arguments).collect();
    assert!(missing.is_empty() && unknown.is_empty(), "without a row: {missing:#?}\nwithout an argument: {unknown:#?}");
}
