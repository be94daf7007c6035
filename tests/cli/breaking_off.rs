//! Ctrl-C in the midst of each long command: it says what it has done, and how to go on; and so it goes on.

use oxmq::{ConnectOptions, JobState};

use super::*;
use crate::common::proxy::Proxy;
use crate::common::server::{RedisServer, lone_server};

pub(super) const JOBS: usize = 6_000;

/// Slow enough that a command takes some time, in bytes per second.
pub(super) const SLOW: u32 = 300_000;

/// A queue with many jobs in one state, and a slow way to its server.
pub(super) struct Long {
    pub(super) on: Fixture,
    pub(super) proxy: Proxy,
    url: String,
}

impl Long {
    pub(super) async fn new(state: JobState) -> Self {
        Self::at(lone_server(), state).await
    }

    pub(super) async fn at(server: &RedisServer, state: JobState) -> Self {
        let proxy = Proxy::start(server.addr()).await;
        let on = Fixture::with(ConnectOptions::from_url(&server.url()).unwrap(), server).await;
        let fill = "for n = 1, tonumber(ARGV[1]) do
                      redis.call('HSET', KEYS[1] .. 'j' .. n, 'name', 'job', 'data', '{}', 'opts', '{}', 'timestamp', '1', 'finishedOn', '2')
                      if ARGV[2] == 'wait' then redis.call('RPUSH', KEYS[1] .. ARGV[2], 'j' .. n)
                      else redis.call('ZADD', KEYS[1] .. ARGV[2], n, 'j' .. n) end
                    end";
        let list = if state == JobState::Waiting { "wait" } else { state.as_str() };
        let mut eval = redis::cmd("EVAL");
        eval.arg(fill).arg(1).arg(on.key("")).arg(JOBS).arg(list);
        eval.exec_async(&mut on.redis.clone()).await.unwrap();
        Self { on, proxy, url: server.url() }
    }

    /// Calls the binary without the slow way.
    pub(super) async fn directly(&self, words: &str, input: &str) -> Ran {
        let words: Vec<&str> = words.split_whitespace().collect();
        call_at(&self.url, &self.on, &words, input).await
    }

    async fn count(&self, state: JobState) -> usize {
        self.on.count(state).await
    }

    /// Runs a command, and presses Ctrl-C once it has begun to do something, but has not ended.
    async fn stopped(&self, words: &str, input: &str, has_begun: impl AsyncFn() -> bool) -> Ran {
        self.proxy.throttle(SLOW);
        let mut command = command();
        command.args(["--url", &self.proxy.url(), "--prefix", &self.on.prefix]).args(words.split_whitespace());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (mut stdin, input) = (child.stdin.take().unwrap(), input.to_owned());
        let id = child.id().to_string();
        let writer = std::thread::spawn(move || _ = stdin.write_all(input.as_bytes()));
        let output = tokio::task::spawn_blocking(move || child.wait_with_output().unwrap());
        eventually(&format!("{words} has begun"), || has_begun()).await;
        // While nothing passes, no step can end.
        self.proxy.blackhole_all();
        assert!(Command::new("kill").args(["-INT", &id]).status().unwrap().success(), "{words} has ended already");
        self.proxy.heal();
        self.proxy.throttle(u32::MAX);
        let output = output.await.unwrap();
        writer.join().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let ran = Ran { code: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) };
        assert!(ran.code == 130 && ran.err.contains("stopped"), "{words}: {ran:?}");
        ran
    }

    /// A command for jobs in many steps, which is stopped once `left` of them are fewer than all, and then goes on.
    async fn in_steps(&self, words: &str, left: impl AsyncFn() -> usize) {
        let ran = self.stopped(words, "", async || left().await < JOBS).await;
        let done = number(&ran.out);
        assert!(done > 0 && done < JOBS, "{words}: {ran:?}");
        assert_eq!(left().await, JOBS - done, "{words}: what it says is what was done: {ran:?}");
        let after = ran.err.split("--after ").nth(1).unwrap_or_else(|| panic!("{words}: {ran:?}")).trim();
        let rest = self.directly(&format!("{words} --after {after}"), "").await.ok();
        assert_eq!((number(&rest), left().await), (JOBS - done, 0), "{words}: {rest}");
    }
}

/// The first number of a text.
pub(super) fn number(text: &str) -> usize {
    let digits = text.trim_start_matches(|letter: char| !letter.is_ascii_digit());
    let end = digits.find(|letter: char| !letter.is_ascii_digit() && letter != ',').unwrap_or(digits.len());
    digits[..end].replace(',', "").parse().unwrap_or_else(|_| panic!("no number: {text}"))
}

#[tokio::test]
async fn retry_can_be_broken_off() {
    let long = Long::new(JobState::Failed).await;
    long.in_steps("retry q --all --yes", async || long.count(JobState::Failed).await).await;
    assert_eq!(long.count(JobState::Waiting).await, JOBS);
}

#[tokio::test]
async fn promote_can_be_broken_off() {
    let long = Long::new(JobState::Delayed).await;
    long.in_steps("promote q --all --yes", async || long.count(JobState::Delayed).await).await;
    assert_eq!(long.count(JobState::Waiting).await, JOBS);
}

#[tokio::test]
async fn clean_can_be_broken_off() {
    let long = Long::new(JobState::Completed).await;
    long.in_steps("clean q --older 1h --yes", async || long.count(JobState::Completed).await).await;
}

#[tokio::test]
async fn priority_can_be_broken_off() {
    let long = Long::new(JobState::Waiting).await;
    long.in_steps("priority q -s waiting --all --to 7 --yes", async || long.count(JobState::Waiting).await).await;
    assert_eq!(long.count(JobState::Prioritized).await, JOBS);
}

#[tokio::test]
async fn delay_can_be_broken_off() {
    let long = Long::new(JobState::Delayed).await;
    let left = async || {
        let mut count = redis::cmd("ZCOUNT");
        count.arg(long.on.key("delayed")).arg("-inf").arg(JOBS);
        count.query_async::<usize>(&mut long.on.redis.clone()).await.unwrap()
    };
    long.in_steps("delay q --all --to 1h --yes", left).await;
    assert_eq!(long.count(JobState::Delayed).await, JOBS);
}

#[tokio::test]
async fn move_to_another_queue_can_be_broken_off() {
    let long = Long::new(JobState::Waiting).await;
    let other: Queue = long.on.client.queue("other").open().unwrap();
    long.in_steps("move q --to other --all --yes", async || long.count(JobState::Waiting).await).await;
    assert_eq!(other.get_job_counts(&[JobState::Waiting]).await.unwrap().waiting, JOBS as u64);
}

#[tokio::test]
async fn drain_and_obliterate_can_be_broken_off() {
    for words in ["drain q --yes", "obliterate q --yes"] {
        let long = Long::new(JobState::Waiting).await;
        let left = async || usize::try_from(long.on.queue.get_job_counts(&[]).await.unwrap().total()).unwrap();
        let ran = long.stopped(words, "", async || left().await < JOBS).await;
        assert!(ran.err.contains("the same call continues"), "{words}: {ran:?}");
        assert_eq!(left().await, number(&ran.err), "{words}: {ran:?}");
        long.directly(words, "").await.ok();
        assert_eq!(left().await, 0, "{words}");
    }
}

#[tokio::test]
async fn import_and_export_can_be_broken_off() {
    let long = Long::new(JobState::Failed).await;
    let many: String = (1..=JOBS).map(|n| format!("{{\"name\":\"new\",\"data\":{n}}}\n")).collect();
    let added = async || long.count(JobState::Waiting).await;
    let ran = long.stopped("import q --yes", &many, async || added().await > 0).await;
    let done = number(&ran.out);
    assert!(done < JOBS && added().await == done, "{ran:?}");
    let line = ran.err.split("--from-line ").nth(1).unwrap().trim().to_owned();
    assert_eq!(line.parse::<usize>().unwrap(), done + 1);
    let rest = long.directly(&format!("import q --yes --from-line {line}"), &many).await.ok();
    assert_eq!((number(&rest), added().await), (JOBS - done, JOBS));

    let passed = long.proxy.counters().down;
    let has_begun = async || long.proxy.counters().down > passed + 60_000;
    let ran = long.stopped("export q -s failed", "", has_begun).await;
    let lines: Vec<&str> = ran.out.lines().collect();
    assert!(!lines.is_empty() && lines.len() < JOBS, "{}", lines.len());
    assert_eq!(lines.len(), number(&ran.err), "{}", ran.err);
    assert!(lines.iter().all(|line| serde_json::from_str::<Value>(line).is_ok()), "no line is cut");

    // An export of yesterday is not replaced by a part of today's.
    let file = oxmq::testing::fresh_dir().join("jobs.jsonl");
    std::fs::write(&file, "of yesterday").unwrap();
    let passed = long.proxy.counters().down;
    let has_begun = async || long.proxy.counters().down > passed + 60_000;
    let ran = long.stopped(&format!("export q -s failed -o {}", file.display()), "", has_begun).await;
    let (part, is_kept) = (file.with_extension("jsonl.part"), format!("{} is as it was", file.display()));
    assert!(ran.err.contains(&format!("is in {}", part.display())) && ran.err.contains(&is_kept), "{}", ran.err);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "of yesterday");
    let text = std::fs::read_to_string(&part).unwrap();
    assert_eq!(text.lines().count(), number(&ran.err), "{}", ran.err);
    assert!(text.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()), "no line is cut");
    // The next one does not write to the same part, which may be under way.
    call_at(&lone_server().url(), &long.on, &["export", "q", "-s", "failed", "-o", file.to_str().unwrap()], "")
        .await
        .ok();
    assert_eq!(std::fs::read_to_string(&file).unwrap().lines().count(), JOBS);
    assert_eq!(std::fs::read_to_string(&part).unwrap(), text);
    assert_eq!(std::fs::read_dir(file.parent().unwrap()).unwrap().count(), 2);
}

#[tokio::test]
async fn doctor_can_be_broken_off() {
    let long = Long::new(JobState::Failed).await;
    // A thousand jobs are gone, and their ids are left.
    let delete = "for n = 1, 1000 do redis.call('DEL', KEYS[1] .. 'j' .. n) end";
    let mut eval = redis::cmd("EVAL");
    eval.arg(delete).arg(1).arg(long.on.key(""));
    eval.exec_async(&mut long.on.redis.clone()).await.unwrap();
    let left = async || long.count(JobState::Failed).await;
    let words = "doctor q --fix --yes --pause 1ms --keys 0";
    let ran = long.stopped(words, "", async || left().await < JOBS).await;
    assert!(ran.err.contains("stopped at missing-jobs of q") && ran.err.contains("the same call continues"), "{ran:?}");
    assert!(left().await > JOBS - 1000, "{ran:?}");
    let ran = long.directly(words, "").await;
    assert!(ran.out.contains("mended: q: missing-jobs"), "{ran:?}");
    assert_eq!(left().await, JOBS - 1000);
    // While it only looks, nothing is changed.
    let long = Long::new(JobState::Failed).await;
    let passed = long.proxy.counters().down;
    let ran = long.stopped("doctor q --keys 0", "", async || long.proxy.counters().down > passed + 20_000).await;
    assert!(ran.err.contains("nothing was changed"), "{ran:?}");
}

#[tokio::test]
async fn types_can_be_broken_off() {
    let long = Long::new(JobState::Failed).await;
    let passed = long.proxy.counters().down;
    let has_begun = async || long.proxy.counters().down > passed + 60_000;
    let ran = long.stopped("types q --sample 6000", "", has_begun).await;
    let seen = number(ran.err.split("stopped: this is of the").nth(1).unwrap());
    assert!(seen > 0 && seen < JOBS, "{ran:?}");
    assert_eq!(number(&ran.out), seen, "{ran:?}");
    assert!(ran.out.trim_end().ends_with('}'), "it is whole TypeScript: {ran:?}");
}
