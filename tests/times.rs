//! How long pages and commands take with a million jobs in one queue and a thousand queues beside it, and for how long a
//! flow holds the server: `make times`.
//!
//! It prints the tables of `docs/cli.md`, `docs/dashboard.md` and `docs/performance.md`. No time is asserted: it says how this machine is today.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use oxmq::{Client, FlowNode};
use redis::aio::MultiplexedConnection;
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::cli::top::Terminal;
use crate::common::server::RedisServer;
use crate::common::time::now_ms;

const JOBS: usize = 1_000_000;
const QUEUES: usize = 1_000;

/// How many jobs one call of the filling script makes.
const CHUNK: usize = 10_000;

/// How long a screen may take on a busy machine.
const FILLING: Duration = Duration::from_secs(180);

/// How often each page is asked for.
const ROUNDS: usize = 15;

/// Jobs as workers leave them: half of them completed, a fifth failed, the others waiting.
const FILL: &str = "
local base, from, to, now, all = KEYS[1], tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local data = '{\"n\":%d,\"to\":\"user%d@example.org\",\"items\":[{\"sku\":\"OX-1\",\"count\":2}]}'
for n = from, to do
  local id, name = string.format('%d', n), n % 50 == 0 and 'rare' or n % 3 == 0 and 'receipt' or 'welcome'
  local job, at = base .. id, string.format('%d', now - all + n)
  redis.call('HSET', job, 'name', name, 'data', string.format(data, n, n), 'opts', '{\"attempts\":1}', 'timestamp', at,
    'delay', '0', 'priority', '0')
  local share = n * 10 / all
  if share <= 5 then
    redis.call('HSET', job, 'processedOn', at, 'finishedOn', at, 'ats', '1', 'atm', '1', 'returnvalue', '{\"ok\":true}')
    redis.call('ZADD', base .. 'completed', at, id)
  elseif share <= 7 then
    redis.call('HSET', job, 'processedOn', at, 'finishedOn', at, 'ats', '1', 'atm', '1', 'failedReason', 'ECONNRESET by peer',
      'stacktrace', '[\"Error: ECONNRESET by peer\"]')
    redis.call('ZADD', base .. 'failed', at, id)
  else
    redis.call('LPUSH', base .. 'wait', id)
  end
end
redis.call('HSET', base .. 'meta', 'opts.maxLenEvents', '10000', 'version', 'bullmq:6.7.0')
redis.call('SET', base .. 'id', ARGV[2])
";

async fn fill(redis: &mut MultiplexedConnection, queue: &str, jobs: usize) {
    let now = now_ms();
    for from in (1..=jobs).step_by(CHUNK) {
        let to = (from + CHUNK - 1).min(jobs);
        let mut script = redis::cmd("EVAL");
        script.arg(FILL).arg(1).arg(format!("bull:{queue}:")).arg(from).arg(to).arg(now).arg(jobs);
        let () = script.query_async(redis).await.unwrap();
    }
}

/// Returns the median and the longest of the calls since the last time, in ms, without those below 0.1 ms. During a
/// call all other clients wait.
async fn calls(redis: &mut MultiplexedConnection) -> String {
    type Entry = (u64, u64, u64, Vec<String>, String, String);
    let entries: Vec<Entry> = redis::cmd("SLOWLOG").arg("GET").arg(-1).query_async(redis).await.unwrap();
    let () = redis::cmd("SLOWLOG").arg("RESET").query_async(redis).await.unwrap();
    let mut times: Vec<f64> = entries.iter().map(|entry| ms(Duration::from_micros(entry.2))).collect();
    times.sort_unstable_by(f64::total_cmp);
    let median = times.get(times.len() / 2).copied().unwrap_or(0.0);
    format!("{median:.1} | {:.1}", times.last().copied().unwrap_or(0.0))
}

fn ms(took: Duration) -> f64 {
    took.as_secs_f64() * 1_000.0
}

/// Requests a page as a browser does, until its last byte has arrived.
async fn page(at: &str, path: &str) -> (Duration, usize) {
    let began = Instant::now();
    let mut socket = TcpStream::connect(at).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: {at}\r\nconnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).await.unwrap();
    let is_good = answer.starts_with(b"HTTP/1.1 200") || answer.starts_with(b"HTTP/1.1 303");
    assert!(is_good, "{path}: {}", String::from_utf8_lossy(&answer[..answer.len().min(300)]));
    (began.elapsed(), answer.len())
}

async fn pages(url: &str, redis: &mut MultiplexedConnection) {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_oxmq"));
    command
        .env_clear()
        .args(["--url", url, "serve", "--listen", "127.0.0.1:0"])
        .stdout(Stdio::piped())
        .kill_on_drop(true);
    let mut serving = command.spawn().unwrap();
    let mut said = String::new();
    BufReader::new(serving.stdout.take().unwrap()).read_line(&mut said).await.unwrap();
    let at = said.trim().strip_prefix("http://").unwrap();
    println!(
        "| page | median ms | longest ms | KiB | calls of Redis: median ms | longest ms |\n| --- | --- | --- | --- | --- | --- |"
    );
    // The first visitor has the longest wait for the search for queues.
    let (first, bytes) = page(at, "/").await;
    println!("| `/`, the first of all | | {:.1} | {} | {} |", ms(first), bytes / 1024, calls(redis).await);
    for path in [
        "/",
        "/?sort=concern",
        "/?q=many-05",
        "/queue/big",
        "/queue/big?history=2w",
        "/queue/big/latest",
        "/queue/big?state=waiting",
        "/queue/big?state=failed",
        "/queue/big?state=completed&from=499000",
        "/queue/big?state=waiting&from=150000",
        "/queue/big?state=failed&name=rare",
        "/queue/big?state=completed&data=777771",
        "/queue/big/job/777771",
        "/queue/big/job/600000",
        "/queue/big/schedulers",
        "/queue/big/events",
        "/workers",
        "/server",
        "/search?q=777771",
    ] {
        let (mut times, mut size) = (Vec::new(), 0);
        for _ in 0..ROUNDS {
            // What is read for all visitors is kept for a second: each request here should read anew.
            if path.len() < 12 {
                // What was read for all who watch is kept for a second: each shall read anew.
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            let (took, bytes) = page(at, path).await;
            times.push(took);
            size = bytes;
        }
        times.sort_unstable();
        let (median, longest) = (ms(times[ROUNDS / 2]), ms(times[ROUNDS - 1]));
        println!("| `{path}` | {median:.1} | {longest:.1} | {} | {} |", size / 1024, calls(redis).await);
    }
}

async fn commands(url: &str, redis: &mut MultiplexedConnection) {
    println!("\n| command | s | calls of Redis: median ms | longest ms |\n| --- | --- | --- | --- |");
    for words in [
        "queues",
        "queues big",
        "jobs big -s failed",
        "jobs big -s waiting",
        "jobs big -s failed -n rare --count",
        "jobs big -s waiting -n rare --count",
        "jobs big -s completed --data \"n\":777771, --count",
        "show big 777771",
        "logs big 777771",
        "workers",
        "schedulers big",
        "doctor big",
        "doctor",
        "export big -s failed -o /dev/null",
        "pause big --yes",
        "resume big --yes",
        "retry big -n rare --yes",
        "remove big -s completed -n rare --yes",
        "clean big -s failed --older 0s --limit 10000 --yes",
        "drain big --yes",
        "obliterate big --yes",
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_oxmq"));
        command.env_clear().arg("--url").arg(url).args(words.split(' '));
        let began = Instant::now();
        let ran = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        let code = ran.status.code();
        assert!(matches!(code, Some(0 | 6)), "{words}: {}", String::from_utf8_lossy(&ran.stderr));
        println!("| `{words}` | {:.3} | {} |", began.elapsed().as_secs_f64(), calls(redis).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes: `make times`"]
async fn pages_and_commands_at_a_million_jobs() {
    let server = RedisServer::start_with(&["--slowlog-log-slower-than", "100", "--slowlog-max-len", "10000"]);
    let mut redis = server.connection().await;
    for n in 0..QUEUES {
        fill(&mut redis, &format!("many-{n:04}"), 20).await;
    }
    fill(&mut redis, "big", JOBS).await;
    calls(&mut redis).await;
    pages(&server.url(), &mut redis).await;
    commands(&server.url(), &mut redis).await;
}

/// Returns a number of `INFO`.
async fn info(redis: &mut MultiplexedConnection, name: &str) -> f64 {
    let text: String = redis::cmd("INFO").arg("everything").query_async(redis).await.unwrap();
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap().parse().unwrap()
}

/// Returns the processor time of a process in ms; one tick is a hundredth of a second.
fn used_by(process: &str) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    (fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()) * 10
}

#[tokio::test]
#[ignore = "half a minute: `make times`"]
async fn top_over_ten_thousand_queues() {
    let server = RedisServer::start();
    let mut redis = server.connection().await;
    for n in 0..10_000 {
        fill(&mut redis, &format!("many-{n:05}"), 10).await;
    }
    let began = Instant::now();
    let terminal = Terminal::with(160, 50, "TERM=screen-256color", &format!("--url {} top", server.url()));
    terminal.shows_within(FILLING, "many-").await;
    println!("the first queues are shown after {:.0} ms", ms(began.elapsed()));
    terminal.shows_within(FILLING, "oxmq top  10,000 queues").await;
    println!("all are read after {:.0} ms", ms(began.elapsed()));
    let process = terminal.tmux(&["list-panes", "-F", "#{pane_pid}"]).trim().to_owned();
    let (commands, ours) = (info(&mut redis, "total_commands_processed").await, used_by(&process));
    let server_time = info(&mut redis, "used_cpu_user_main_thread").await;
    let looks = 10_u32;
    tokio::time::sleep(Duration::from_secs(2) * looks).await; // time itself
    let looks = f64::from(looks);
    println!(
        "each look: {:.0} commands, {:.1} ms of the server, {:.1} ms of ours",
        (info(&mut redis, "total_commands_processed").await - commands) / looks,
        (info(&mut redis, "used_cpu_user_main_thread").await - server_time) / looks * 1_000.0,
        f64::from(u32::try_from(used_by(&process) - ours).unwrap()) / looks,
    );
}

/// How often a flow of each size is added.
const FLOWS: usize = 20;

/// A parent with all other jobs as its children; or a tree of parents with nine children each, as deep as it takes.
fn flow(jobs: usize, is_wide: bool) -> FlowNode {
    let node = || FlowNode::new("flows", "node", json!({ "to": "user@example.org", "items": ["OX-1", "OX-2"] }));
    if is_wide {
        return node().children((1..jobs).map(|_| node()));
    }
    let (mut root, mut left) = (node(), jobs - 1);
    for nth in (1..=9).rev() {
        let share = left / nth;
        left -= share;
        if share > 0 {
            root = root.child(flow(share, false));
        }
    }
    root
}

#[tokio::test]
#[ignore = "half a minute: `make times`"]
async fn a_flow_holds_the_server() {
    let server = RedisServer::start_with(&["--slowlog-log-slower-than", "0", "--slowlog-max-len", "10000"]);
    let mut redis = server.connection().await;
    let client = Client::connect(&server.url()).await.unwrap();
    let flows = client.flow_producer().max_jobs(10_000);
    println!("| jobs | shape | held, median ms | longest ms | µs a job |\n| ---: | --- | ---: | ---: | ---: |");
    for jobs in [100, 1_000, 10_000] {
        for (shape, is_wide) in [("one parent", true), ("nine children each", false)] {
            let mut held = Vec::new();
            for _ in 0..FLOWS {
                let () = redis::cmd("FLUSHALL").query_async(&mut redis).await.unwrap();
                // The first flow of a queue takes a longer way.
                flows.add(flow(3, is_wide)).await.unwrap();
                longest(&mut redis).await;
                flows.add(flow(jobs, is_wide)).await.unwrap();
                held.push(longest(&mut redis).await);
            }
            held.sort_unstable();
            let (median, most) = (held[FLOWS / 2], held[FLOWS - 1]);
            let each = median.as_secs_f64() * 1e6 / f64::from(u32::try_from(jobs).unwrap());
            println!("| {jobs} | {shape} | {:.1} | {:.1} | {each:.1} |", ms(median), ms(most));
        }
    }
}

/// The longest script that the server has run since the last question.
async fn longest(redis: &mut MultiplexedConnection) -> Duration {
    type Entry = (u64, u64, u64, Vec<String>, String, String);
    let entries: Vec<Entry> = redis::cmd("SLOWLOG").arg("GET").arg(-1).query_async(redis).await.unwrap();
    let () = redis::cmd("SLOWLOG").arg("RESET").query_async(redis).await.unwrap();
    let scripts = entries.iter().filter(|entry| entry.3.first().is_some_and(|name| name.starts_with("EVAL")));
    Duration::from_micros(scripts.map(|entry| entry.2).max().unwrap())
}
