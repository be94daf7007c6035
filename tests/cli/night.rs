//! The guide for a call at night, `docs/night.md`, done in a real terminal of 80 × 24: each command of it is typed, each
//! question answered, each key pressed, and the screens are compared with those that the guide shows.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use oxmq::client::Clock;
use oxmq::{Client, FlowNode, Halt, JobOptions, JobState, NewJob, Worker};
use serde_json::{Value, json};

use super::top::Terminal;
use super::*;
use crate::common::server::RedisServer;

const GUIDE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/night.md");

/// What the terminal shows at the end of a command.
const PROMPT: &str = "night$";

/// A block of the guide: what is typed, and what the screen then shows.
struct Step<'a> {
    /// The keys of a full screen; without any, the first line of the block is a command.
    keys: Vec<&'a str>,
    lines: Vec<&'a str>,
}

fn steps(guide: &str) -> Vec<Step<'_>> {
    let blocks = guide.split("\n```").skip(1).step_by(2);
    blocks
        .map(|block| {
            let (kind, text) = block.split_once('\n').unwrap();
            let keys = kind.strip_prefix("screen").unwrap_or_default().split_whitespace().collect();
            Step { keys, lines: text.lines().filter(|line| !line.trim().is_empty()).collect() }
        })
        .collect()
}

/// Returns the words of a line without durations, which differ each time.
fn words(line: &str) -> Vec<&str> {
    let is_span = |word: &str| {
        let digits = word.trim_end_matches(|letter: char| letter.is_ascii_lowercase());
        digits.len() < word.len() && digits.parse::<f64>().is_ok() && "ms s m h d".contains(&word[digits.len()..])
    };
    // The version of the library is another one in the next release.
    line.split_whitespace().filter(|word| !is_span(word) && !word.starts_with("bullmq:oxmq-")).collect()
}

fn alike(one: &[&str], other: &[&str]) -> bool {
    one.iter().map(|line| words(line)).eq(other.iter().map(|line| words(line)))
}

/// A shop in which something is wrong, on a server of its own that calls no script slow.
struct Night {
    server: RedisServer,
    _workers: Vec<Worker>,
}

async fn jobs(client: &Client, queue: &str, jobs: impl IntoIterator<Item = NewJob<Value>>) -> Queue {
    let queue: Queue = client.queue(queue).open().unwrap();
    for added in queue.add_bulk(jobs).await.unwrap() {
        added.unwrap();
    }
    queue
}

impl Night {
    async fn falls() -> Self {
        let server = RedisServer::start_with(&["--slowlog-log-slower-than", "-1"]);
        let client = Client::connect(&server.url()).await.unwrap();
        let ago =
            |minutes: u64| JobOptions::default().timestamp(Clock::system().now() - Duration::from_secs(minutes * 60));
        let reindex = (0..34).map(|n| NewJob::new("reindex", json!({ "page": n })).options(ago(47 - n)));
        jobs(&client, "search-index", reindex).await;
        let page = FlowNode::new("pages", "page", json!({})).job_id("page-1");
        let report = FlowNode::new("reports", "month end", json!({})).job_id("month-10").child(page);
        client.flow_producer().add(report).await.unwrap();
        let is_up = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&is_up);
        let deliver = move |job: Job<Value, Value>| {
            let is_up = seen.load(Ordering::SeqCst);
            async move {
                match job.name() {
                    "invoice" if !is_up => Err(Halt::from("421 4.7.0 try again later")),
                    "welcome" => Err(Halt::from("550 5.1.1 no such user")),
                    _ => Ok(json!({ "queued": true })),
                }
            }
        };
        let mails = (0..9).map(|n| NewJob::new(if n < 3 { "invoice" } else { "welcome" }, json!({ "to": n })));
        // They failed a while ago.
        let clock = Clock::manual(Clock::system().now() - Duration::from_secs(600));
        let options = oxmq::ConnectOptions::from_url(&server.url()).unwrap();
        let earlier = Client::builder(options).clock(clock).connect().await.unwrap();
        let mails = jobs(&earlier, "mails", mails).await;
        let encode = async |job: Job<Value, Value>| {
            job.cancellation().cancelled().await;
            Err::<Value, _>(Halt::from("stopped half-way"))
        };
        let photos = jobs(&client, "photos", [NewJob::new("encode", json!({ "film": "ox.mkv" }))]).await;
        let workers = vec![
            earlier.worker("mails", deliver).concurrency(1).start().unwrap(),
            client.worker("photos", encode).start().unwrap(),
        ];
        eventually("the mails have failed and a film is encoded", || async {
            let failed = mails.get_job_counts(&[JobState::Failed]).await.unwrap().failed;
            failed == 9 && photos.get_job_counts(&[JobState::Active]).await.unwrap().active == 1
        })
        .await;
        is_up.store(true, Ordering::SeqCst);
        Self { server, _workers: workers }
    }

    /// Opens a shell in a terminal.
    fn terminal(&self) -> Terminal {
        let binary = std::path::Path::new(env!("CARGO_BIN_EXE_oxmq")).parent().unwrap().display().to_string();
        let environment = format!(
            "-i PATH={binary}:/usr/bin:/bin TERM=screen-256color LANG=C.UTF-8 PS1='{PROMPT} ' HOME=/nonexistent OXMQ_URL={}",
            self.server.url()
        );
        Terminal::of(80, 24, &format!("env {environment} bash --norc --noprofile"))
    }
}

/// Waits until the screen shows these lines, and nothing else but the prompt.
async fn shows(terminal: &Terminal, wanted: &[&str]) {
    let until = SystemTime::UNIX_EPOCH.elapsed().unwrap() + crate::common::fixture::PATIENCE;
    loop {
        let screen = terminal.tmux(&["capture-pane", "-p", "-J"]);
        let shown: Vec<&str> = screen.lines().filter(|line| !line.trim().is_empty()).collect();
        let shown: Vec<&str> =
            shown.iter().map(|line| line.strip_prefix(PROMPT).map_or(*line, |line| line.trim())).collect();
        let shown: Vec<&str> = shown.into_iter().filter(|line| !line.is_empty()).collect();
        if alike(&shown, wanted) {
            return;
        }
        let is_late = SystemTime::UNIX_EPOCH.elapsed().unwrap() > until;
        assert!(!is_late, "the guide shows\n{}\nand the terminal\n{screen}", wanted.join("\n"));
        tokio::time::sleep(Duration::from_millis(10)).await; // looks again
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_at_night_goes_as_the_guide_says() {
    let night = Night::falls().await;
    let terminal = night.terminal();
    let guide = std::fs::read_to_string(GUIDE).unwrap();
    let steps = steps(&guide);
    assert!(steps.len() >= 11, "{} blocks", steps.len());
    for step in steps {
        // The test need not wait for as long as a queue in use may need to come to rest.
        let hasty = step.lines[0].replace("oxmq doctor", "oxmq doctor --pause 1ms");
        let mut wanted = step.lines;
        if step.keys.is_empty() {
            let command = hasty.strip_prefix("$ ").expect("a block begins with a command");
            terminal.shows(PROMPT).await;
            terminal.press("C-l");
            terminal.tmux(&["send-keys", "-l", command]);
            terminal.press("Enter");
            if command == "oxmq top" {
                // It takes the whole screen.
                wanted.remove(0);
            } else {
                wanted[0] = command;
            }
            if wanted.iter().any(|line| line.ends_with("[y/N] y")) {
                terminal.shows("[y/N]").await;
                terminal.tmux(&["send-keys", "-l", "y"]);
                terminal.press("Enter");
            }
        } else {
            for key in step.keys {
                terminal.press(key);
            }
        }
        shows(&terminal, &wanted).await;
    }
}
