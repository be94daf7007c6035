//! The server dies in the midst of each long command: it says so, and what it has done; and the same call does the rest.

use std::collections::BTreeMap;
use std::time::Duration;

use oxmq::JobState;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::ChildStderr;

use super::breaking_off::{JOBS, Long, SLOW, number};
use super::top::Terminal;
use super::*;
use crate::common::fixture::PATIENCE;
use crate::common::proxy::{Matcher, Proxy};
use crate::common::server::{AOF, RedisServer, server_version};

/// What becomes of a server that was killed.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Then {
    /// It stays away.
    Gone,
    /// It comes back with all that it had.
    Back,
    /// It comes back empty.
    Empty,
}

/// A queue with many jobs in one state on a server that will die, and a slow way there.
struct Dying {
    server: RedisServer,
    long: Long,
}

impl Dying {
    async fn new(state: JobState) -> Self {
        let server = RedisServer::start_with(AOF);
        let long = Long::at(&server, state).await;
        Self { server, long }
    }

    /// The way there; a call that nobody answers is given up early.
    fn url(&self) -> String {
        format!("{}?command_timeout=1s", self.long.proxy.url())
    }

    /// Runs a command, and kills the server once it has begun to do something, but has not ended.
    async fn dies(&mut self, words: &str, input: &str, then: Then, has_begun: impl AsyncFn(&Long) -> bool) -> Ran {
        self.long.proxy.throttle(SLOW);
        let mut command = command();
        command.args(["--url", &self.url(), "--prefix", &self.long.on.prefix]).args(words.split_whitespace());
        let input = input.to_owned();
        let ran = tokio::task::spawn_blocking(move || ran(&mut command, &input));
        eventually(&format!("{words} has begun"), || has_begun(&self.long)).await;
        // While nothing passes, it cannot end.
        self.long.proxy.blackhole_all();
        self.kill(then);
        self.long.proxy.heal();
        self.long.proxy.throttle(u32::MAX);
        tokio::time::timeout(PATIENCE, ran).await.unwrap_or_else(|_| panic!("{words} hangs")).unwrap()
    }

    fn kill(&mut self, then: Then) {
        self.server.kill();
        if then == Then::Empty {
            self.server.set_args(&[]);
        }
        if then != Then::Gone {
            self.server.restart();
        }
    }

    /// Starts the server again, if it is away, and calls the binary on it.
    async fn again(&mut self, words: &str, input: &str) -> Ran {
        if !self.server.is_running() {
            self.server.restart();
        }
        self.long.on.redis = self.server.connection().await;
        let words: Vec<&str> = words.split_whitespace().collect();
        call_at(&self.server.url(), &self.long.on, &words, input).await
    }

    async fn count(&self, state: JobState) -> usize {
        self.long.on.count(state).await
    }
}

/// Lines of an import; each job has its number as its data.
fn lines(has_ids: bool) -> String {
    let id = |n| if has_ids { format!(",\"id\":\"own-{n}\"") } else { String::new() };
    (1..=JOBS).map(|n| format!("{{\"name\":\"new\",\"data\":{n}{}}}\n", id(n))).collect()
}

/// How often each line of an import is in the queue.
fn tally(exported: &str) -> BTreeMap<usize, usize> {
    let mut tally = BTreeMap::new();
    for line in exported.lines() {
        let job: Value = serde_json::from_str(line).unwrap();
        *tally.entry(usize::try_from(job["data"].as_u64().unwrap()).unwrap()).or_default() += 1;
    }
    tally
}

async fn has_added(long: &Long) -> bool {
    long.on.count(JobState::Waiting).await > 0
}

#[tokio::test]
async fn an_import_that_loses_its_server_tells_each_line_that_may_be_missing() {
    let mut dying = Dying::new(JobState::Failed).await;
    let ran = dying.dies("import q --yes --json", &lines(false), Then::Gone, has_added).await;
    assert!(ran.code == 5 && ran.err.contains("it failed half-way"), "{ran:?}");
    assert!(ran.err.lines().count() < 10, "not a line for each job: {ran:?}");
    let report: Value = serde_json::from_str(&ran.out).unwrap();
    let spans: Vec<(usize, usize)> = serde_json::from_value(report["unknown"].clone()).unwrap();
    let next = usize::try_from(report["stoppedBefore"].as_u64().unwrap()).unwrap();
    let added = usize::try_from(report["added"].as_u64().unwrap()).unwrap();
    let unknown = |line: &usize| spans.iter().any(|(first, last)| (first..=last).contains(&line));
    assert_eq!(added + (1..=JOBS).filter(unknown).count() + 1, next, "{ran:?}");
    assert!(added > 0 && ran.err.contains(&format!("--from-line {next}")), "{ran:?}");
    dying.again(&format!("import q --yes --from-line {next}"), &lines(false)).await.ok();
    let tally = tally(&dying.again("export q -s waiting", "").await.ok());
    for line in 1..=JOBS {
        let times = tally.get(&line).copied().unwrap_or(0);
        assert!(times == 1 || times == 0 && unknown(&line), "line {line}: {times} times, {spans:?}");
    }
}

#[tokio::test]
async fn an_import_over_a_broken_connection_goes_on() {
    for has_ids in [false, true] {
        let long = Long::new(JobState::Failed).await;
        long.proxy.throttle(SLOW);
        let mut command = command();
        command.args(["--url", &long.proxy.url(), "--prefix", &long.on.prefix, "import", "q", "--yes", "--json"]);
        let ran = tokio::task::spawn_blocking(move || ran(&mut command, &lines(has_ids)));
        eventually("it has begun", || has_added(&long)).await;
        long.proxy.cut_now();
        long.proxy.throttle(u32::MAX);
        let ran = ran.await.unwrap();
        let report: Value = serde_json::from_str(&ran.out).unwrap();
        let spans: Vec<(usize, usize)> = serde_json::from_value(report["unknown"].clone()).unwrap();
        let unknown = |line: &usize| spans.iter().any(|(first, last)| (first..=last).contains(&line));
        // What has an id of its own is sent again, and is there once.
        assert!(spans.is_empty() || !has_ids, "{ran:?}");
        assert_eq!(ran.code, if spans.is_empty() { 0 } else { 5 }, "{ran:?}");
        let tally = tally(&long.directly("export q -s waiting", "").await.ok());
        for line in 1..=JOBS {
            let times = tally.get(&line).copied().unwrap_or(0);
            assert!(times == 1 || times == 0 && unknown(&line), "line {line}: {times} times, {spans:?}");
        }
    }
}

#[tokio::test]
async fn what_a_restarted_server_may_have_lost_is_told() {
    for then in [Then::Back, Then::Empty] {
        let mut dying = Dying::new(JobState::Failed).await;
        let ran = dying.dies("import q --yes", &lines(true), then, has_added).await;
        assert!(ran.code == 5 && ran.err.contains("was restarted meanwhile"), "{then:?}: {ran:?}");
        dying.again("import q --yes", &lines(true)).await.ok();
        assert_eq!(dying.count(JobState::Waiting).await, JOBS, "{then:?}");

        let mut dying = Dying::new(JobState::Failed).await;
        let passed = dying.long.proxy.counters().down;
        let has_begun = async |long: &Long| long.proxy.counters().down > passed + 60_000;
        let ran = dying.dies("export q -s failed", "", then, has_begun).await;
        assert!(ran.code == 5 && ran.err.contains("jobs may be missing in what is written"), "{then:?}: {ran:?}");
        assert!((ran.out.lines().count() == JOBS) == (then == Then::Back), "{then:?}: {}", ran.err);
    }
}

#[tokio::test]
async fn an_export_that_loses_its_server_tells_how_much_is_written() {
    let mut dying = Dying::new(JobState::Failed).await;
    let passed = dying.long.proxy.counters().down;
    let has_begun = async |long: &Long| long.proxy.counters().down > passed + 60_000;
    let ran = dying.dies("export q -s failed", "", Then::Gone, has_begun).await;
    let written = ran.out.lines().count();
    assert!(written > 0 && written < JOBS, "{written}");
    assert!(ran.code == 5 && ran.err.contains(&format!("only the first {} jobs", commas(written))), "{}", ran.err);
    assert!(ran.out.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()), "no line is cut");
}

/// An older export stays: a part of it, or what a server that was restarted has left, is no replacement.
#[tokio::test]
async fn an_export_that_is_not_whole_replaces_no_file() {
    for then in [Then::Gone, Then::Back] {
        let mut dying = Dying::new(JobState::Failed).await;
        let file = oxmq::testing::fresh_dir().join("jobs.jsonl");
        std::fs::write(&file, "of yesterday").unwrap();
        let passed = dying.long.proxy.counters().down;
        let has_begun = async |long: &Long| long.proxy.counters().down > passed + 60_000;
        let ran = dying.dies(&format!("export q -s failed -o {}", file.display()), "", then, has_begun).await;
        assert_eq!(ran.code, 5, "{}", ran.err);
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "of yesterday");
        let part = file.with_extension("jsonl.part");
        assert!(ran.err.contains(&format!("what was written is in {}", part.display())), "{}", ran.err);
        let text = std::fs::read_to_string(part).unwrap();
        assert!(text.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()), "no line is cut");
    }
}

/// Writes a number with a comma at each thousand.
fn commas(n: usize) -> String {
    if n < 1_000 { n.to_string() } else { format!("{},{:03}", n / 1_000, n % 1_000) }
}

#[tokio::test]
async fn a_removal_that_loses_its_server_is_finished_by_the_same_call() {
    for words in ["drain q --yes", "obliterate q --yes"] {
        let mut dying = Dying::new(JobState::Waiting).await;
        let has_begun = async |long: &Long| long.on.count(JobState::Waiting).await < JOBS;
        let ran = dying.dies(words, "", Then::Gone, has_begun).await;
        assert!(matches!(ran.code, 1 | 5) && ran.err.contains("the same call continues"), "{words}: {ran:?}");
        assert!((ran.code == 5) == ran.err.contains("were left"), "{words}: {ran:?}");
        dying.again(words, "").await.ok();
        assert_eq!(dying.count(JobState::Waiting).await, 0, "{words}");
    }
}

#[tokio::test]
async fn an_action_that_loses_its_server_is_finished_by_the_same_call() {
    let cases = [
        ("retry q --all --yes", JobState::Failed),
        ("clean q --older 1h --yes", JobState::Completed),
        ("remove q -s failed -n job --yes", JobState::Failed),
    ];
    // Each has a server of its own, and waits for it most of the time.
    futures::future::join_all(cases.map(|(words, from)| async move {
        let mut dying = Dying::new(from).await;
        let has_begun = async |long: &Long| long.on.count(from).await < JOBS;
        let ran = dying.dies(words, "", Then::Gone, has_begun).await;
        let done = number(&ran.out);
        assert!(ran.err.contains("no connection to"), "{words}: {ran:?}");
        if done > 0 {
            assert!(ran.code == 5 && ran.err.contains("it failed half-way"), "{words}: {ran:?}");
            assert!(ran.err.contains("--after"), "{words}: {ran:?}");
        } else {
            // The reply to the first step was lost, too.
            assert!(ran.code == 1 && ran.err.contains("the same call continues"), "{words}: {ran:?}");
        }
        let rest = dying.again(words, "").await.ok();
        assert_eq!(dying.count(from).await, 0, "{words}");
        // Only what nobody has told of may have been done besides.
        assert!(done + number(&rest) <= JOBS, "{words}: {ran:?} {rest}");
    }))
    .await;
}

/// Jobs that are named are cancelled one by one, and those that were not reached are told.
#[tokio::test]
async fn a_cancellation_that_loses_its_server_is_finished_by_the_same_call() {
    const NAMED: usize = 1_000;
    let mut dying = Dying::new(JobState::Waiting).await;
    let ids: Vec<String> = (1..=NAMED).map(|n| format!("j{n}")).collect();
    let words = format!("cancel q {} --yes", ids.join(" "));
    let cancelled = async |long: &Long| {
        let mut redis = long.on.redis.clone();
        let mut count = 0;
        for id in &ids {
            let key = long.on.key(id);
            let is_cancelled: bool = redis::cmd("HEXISTS").arg(key).arg("defa").query_async(&mut redis).await.unwrap();
            if !is_cancelled {
                break;
            }
            count += 1;
        }
        count
    };
    let has_begun = async |long: &Long| cancelled(long).await > 0;
    let ran = dying.dies(&words, "", Then::Gone, has_begun).await;
    let of = |word: &str| ran.out.lines().filter(|line| line.contains(word)).count();
    let (done, unknown, not_asked) = (of("it fails without a run"), of(": unknown ("), of("since the server is away"));
    assert!(ran.code == 5 && done > 0 && (1..=2).contains(&unknown), "{done} {unknown} {}", ran.err);
    assert_eq!(done + unknown + not_asked, NAMED, "{}", ran.err);
    let again = dying.again(&words, "").await.ok();
    assert_eq!(again.lines().count(), NAMED);
    assert_eq!(cancelled(&dying.long).await, NAMED);
}

#[tokio::test]
async fn a_doctor_that_loses_its_server_says_so() {
    let mut dying = Dying::new(JobState::Failed).await;
    let passed = dying.long.proxy.counters().down;
    let has_begun = async |long: &Long| long.proxy.counters().down > passed + 20_000;
    let ran = dying.dies("doctor q --keys 0", "", Then::Gone, has_begun).await;
    assert!(ran.code == 1 && ran.err.contains("no connection to") && ran.out.is_empty(), "{ran:?}");

    // An empty server has nothing that is wrong, and no queue either.
    for (words, told) in [("doctor q --keys 0", "no queue 'q'"), ("doctor --keys 0", "no queue under the prefix")] {
        let mut dying = Dying::new(JobState::Failed).await;
        let passed = dying.long.proxy.counters().down;
        let has_begun = async |long: &Long| long.proxy.counters().down > passed + 20_000;
        let ran = dying.dies(words, "", Then::Empty, has_begun).await;
        assert!(ran.code == 3 && ran.err.contains(told), "{words}: {ran:?}");
        assert!(!ran.out.contains("nothing is wrong"), "{words}: {ran:?}");
    }
}

#[tokio::test]
async fn a_doctor_that_mends_tells_where_it_lost_its_server() {
    let mut dying = Dying::new(JobState::Failed).await;
    // A thousand jobs are gone, and their ids are left.
    let delete = "for n = 1, 1000 do redis.call('DEL', KEYS[1] .. 'j' .. n) end";
    let mut eval = redis::cmd("EVAL");
    eval.arg(delete).arg(1).arg(dying.long.on.key(""));
    eval.exec_async(&mut dying.long.on.redis.clone()).await.unwrap();
    let words = "doctor q --fix --yes --pause 1ms --keys 0";
    let has_begun = async |long: &Long| long.on.count(JobState::Failed).await < JOBS;
    let ran = dying.dies(words, "", Then::Gone, has_begun).await;
    assert!(ran.code == 1 && ran.err.contains("it failed at missing-jobs of q"), "{ran:?}");
    assert!(ran.err.contains("the same call continues"), "{ran:?}");
    let ran = dying.again(words, "").await;
    assert!(ran.out.contains("mended: q: missing-jobs"), "{ran:?}");
    assert_eq!(dying.count(JobState::Failed).await, JOBS - 1000);
}

#[tokio::test]
async fn types_without_a_server_are_an_error() {
    let mut dying = Dying::new(JobState::Failed).await;
    let passed = dying.long.proxy.counters().down;
    let has_begun = async |long: &Long| long.proxy.counters().down > passed + 60_000;
    let ran = dying.dies("types q --sample 6000", "", Then::Gone, has_begun).await;
    assert!(ran.code == 1 && ran.err.contains("no connection to") && ran.out.is_empty(), "{ran:?}");
}

/// Reading all events is not over because no more come: the server may be away.
#[tokio::test]
async fn a_tail_that_loses_its_server_has_not_reached_the_end() {
    let mut dying = Dying::new(JobState::Failed).await;
    dying.long.on.add_many(JOBS).await;
    let passed = dying.long.proxy.counters().down;
    let has_begun = async |long: &Long| long.proxy.counters().down > passed + 60_000;
    let ran = dying.dies("tail q --from 0 --no-follow", "", Then::Gone, has_begun).await;
    let events = ran.out.lines().count();
    assert!(ran.code == 1 && ran.err.contains("no connection to") && events < 2 * JOBS, "{} {events}", ran.err);
    let all = dying.again("tail q --from 0 --no-follow", "").await.ok();
    assert!(all.lines().count() >= JOBS, "{}", all.lines().count());
}

async fn line_with(lines: &mut Lines<BufReader<ChildStderr>>, what: &str) {
    let read = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            if line.contains(what) {
                return;
            }
        }
        panic!("it has ended without '{what}'");
    };
    tokio::time::timeout(PATIENCE, read).await.unwrap_or_else(|_| panic!("it does not say '{what}'"));
}

#[tokio::test]
async fn a_tail_that_listens_says_when_the_server_is_away() {
    let mut server = RedisServer::start_with(AOF);
    let on = Fixture::on(&server).await;
    let mut command = tokio::process::Command::from(command());
    let url = format!("{}?command_timeout=500ms", server.url());
    command.args(["--url", &url, "--prefix", &on.prefix, "tail", "q"]).kill_on_drop(true);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut heard = BufReader::new(child.stdout.take().unwrap()).lines();
    line_with(&mut said, "listening to q").await;
    server.kill();
    line_with(&mut said, "waiting for the server").await;
    server.restart();
    line_with(&mut said, "the server is back").await;
    on.queue.add("new", json!(1)).await.unwrap();
    let line = tokio::time::timeout(PATIENCE, heard.next_line()).await.unwrap().unwrap().unwrap();
    assert!(line.contains("added"), "{line}");
}

#[tokio::test]
async fn top_shows_that_the_server_is_away_and_goes_on() {
    let mut server = RedisServer::start_with(AOF);
    let on = Fixture::on(&server).await;
    for n in 0..100 {
        let queue: Queue = on.client.queue(format!("many-{n}")).open().unwrap();
        queue.add("job", json!(n)).await.unwrap();
    }
    let words = format!("--url {}?command_timeout=500ms --prefix {} top --every 200ms", server.url(), on.prefix);
    let terminal = Terminal::with(100, 30, "TERM=screen-256color", &words);
    terminal.shows("oxmq top  101 queues").await;
    server.kill();
    terminal.shows("no connection to").await;
    server.restart();
    eventually("it goes on", || async {
        let screen = terminal.screen();
        screen.contains("oxmq top  101 queues") && !screen.contains("no connection to")
    })
    .await;
    terminal.press("q");
    eventually("it has ended", || async { terminal.tmux(&["list-sessions"]).is_empty() }).await;
}

/// With many queues not each of them waits for the server.
#[tokio::test]
async fn lists_of_many_queues_end_although_no_queue_answers() {
    const QUEUES: usize = 2_000;
    let server = RedisServer::start();
    let on = Fixture::on(&server).await;
    let proxy = Proxy::start(server.addr()).await;
    let fill =
        "for n = 1, tonumber(ARGV[2]) do redis.call('HSET', ARGV[1] .. ':m' .. n .. ':meta', 'version', 'x') end";
    let mut eval = redis::cmd("EVAL");
    eval.arg(fill).arg(0).arg(&on.prefix).arg(QUEUES).exec_async(&mut on.redis.clone()).await.unwrap();
    // The search for queues passes, and what each of them is asked does not.
    proxy.drop_request(Matcher::command("EVALSHA").times(u64::MAX));
    let url = format!("{}?command_timeout=500ms", proxy.url());
    for words in ["queues", "schedulers"] {
        let ran = tokio::time::timeout(PATIENCE, oxmq_at(&url, &on, words)).await;
        let ran = ran.unwrap_or_else(|_| panic!("{words} hangs"));
        assert!(ran.code == 1 && ran.err.contains(" more: "), "{words}: {ran:?}");
        assert!(ran.err.lines().count() < 20, "once for all: {ran:?}");
    }
}

/// A second Ctrl-C does not wait for the present step, which may take long if the server does not answer.
#[tokio::test]
async fn a_second_ctrl_c_ends_a_command_at_once() {
    let long = Long::new(JobState::Failed).await;
    long.proxy.throttle(SLOW);
    let mut command = tokio::process::Command::from(command());
    let url = format!("{}?command_timeout=1h", long.proxy.url());
    command.args(["--url", &url, "--prefix", &long.on.prefix, "retry", "q", "--all", "--yes"]).kill_on_drop(true);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    eventually("it has begun", || async { long.on.count(JobState::Failed).await < JOBS }).await;
    long.proxy.blackhole_all();
    let id = child.id().unwrap().to_string();
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
    let pressing = async {
        loop {
            // The first is heard before the second comes.
            Command::new("kill").args(["-INT", &id]).stderr(Stdio::null()).status().unwrap();
            let line = tokio::time::timeout(Duration::from_millis(200), said.next_line()).await;
            if matches!(line, Ok(Ok(Some(line))) if line.contains("stopped at once")) {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, pressing).await.expect("it ends");
    let status = tokio::time::timeout(PATIENCE, child.wait()).await.unwrap().unwrap();
    assert_eq!(status.code(), Some(130));
}

/// A server that is loading its data answers, and serves nobody.
#[tokio::test]
async fn a_server_that_loads_its_data_is_named_as_the_reason() {
    if server_version() < 7 {
        return; // It answers only after every 2 MB that it has loaded.
    }
    let server = RedisServer::start();
    let long = Long::at(&server, JobState::Failed).await;
    let mut redis = server.connection().await;
    for (name, value) in [("key-load-delay", 10_000), ("loading-process-events-interval-bytes", 1_024)] {
        redis::cmd("CONFIG").arg("SET").arg(name).arg(value).exec_async(&mut redis).await.unwrap();
    }
    tokio::spawn(async move { _ = redis::cmd("DEBUG").arg("RELOAD").exec_async(&mut redis).await });
    eventually("it loads", || async {
        let ping = redis::cmd("EXISTS").arg("k").exec_async(&mut long.on.redis.clone()).await;
        ping.is_err_and(|error| error.code() == Some("LOADING"))
    })
    .await;
    let url = format!("{}?command_timeout=1s", server.url());
    for words in ["jobs q", "queues", "retry q --all --yes", "drain q --yes", "doctor q", "export q", "types q"] {
        let ran = oxmq_at(&url, &long.on, words).await;
        assert!(ran.code == 1 && ran.err.contains("is loading") && ran.out.is_empty(), "{words}: {ran:?}");
    }
}
