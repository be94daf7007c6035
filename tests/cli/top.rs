//! `oxmq top` in a real terminal of tmux. The tests send keys and read the screen.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::*;
use crate::common::fixture::PATIENCE;
use crate::common::server::RedisServer;

/// A terminal that is closed when this value is dropped.
pub(crate) struct Terminal {
    socket: String,
}

impl Terminal {
    fn open(on: &Fixture, width: u32, height: u32, environment: &str) -> Self {
        let words = format!("--url {} --prefix {} top --every 150ms", shared_server().url(), on.prefix);
        Self::with(width, height, environment, &words)
    }

    /// Opens a terminal that runs the binary with these words.
    pub(crate) fn with(width: u32, height: u32, environment: &str, words: &str) -> Self {
        Self::of(width, height, &format!("env {environment} {} {words}", env!("CARGO_BIN_EXE_oxmq")))
    }

    /// Opens a terminal that runs a command.
    pub(crate) fn of(width: u32, height: u32, command: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let it = Self { socket: format!("oxmq-{}-{number}", std::process::id()) };
        let (width, height) = (width.to_string(), height.to_string());
        it.tmux(&["-f", "/dev/null", "new-session", "-d", "-x", &width, "-y", &height, command]);
        it
    }

    pub(crate) fn tmux(&self, words: &[&str]) -> String {
        let mut command = Command::new("tmux");
        command.args(["-L", &self.socket]).args(words).env_remove("TMUX");
        let output = command.output().expect("these tests need tmux on the PATH: `make tools`");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    pub(crate) fn press(&self, key: &str) {
        self.tmux(&["send-keys", key]);
    }

    pub(crate) fn screen(&self) -> String {
        self.tmux(&["capture-pane", "-p"])
    }

    /// Returns the screen with its colour sequences.
    fn coloured(&self) -> String {
        self.tmux(&["capture-pane", "-p", "-e"])
    }

    pub(crate) async fn shows(&self, what: &str) -> String {
        self.shows_within(PATIENCE, what).await
    }

    pub(crate) async fn shows_within(&self, patience: Duration, what: &str) -> String {
        let until = Instant::now() + patience;
        loop {
            let screen = self.screen();
            if screen.contains(what) {
                return screen;
            }
            assert!(Instant::now() < until, "the screen does not show '{what}':\n{screen}");
            tokio::time::sleep(Duration::from_millis(20)).await; // looks again
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.tmux(&["kill-server"]);
    }
}

#[tokio::test]
async fn a_small_screen_shows_queues_then_jobs_then_one_job() {
    let on = Fixture::new().await;
    let _node = filled_by_node(&on).await;
    let running: Queue = on.client.queue("running").open().unwrap();
    running.add("job", json!(1)).await.unwrap();
    let by_hand: oxmq::ManualWorker<Value, Value> = on.client.manual_worker("running").open().unwrap();
    let held = by_hand.get_next_job("t").await.unwrap();
    let terminal = Terminal::open(&on, 80, 24, "TERM=screen-256color");
    let screen = terminal.shows("oxmq top  4 queues  ").await;
    assert!(screen.lines().all(|line| line.chars().count() <= 80), "{screen}");
    for text in ["QUEUE", "WAITING", "FAILED", "OLDEST", "completed,", "failed,", "q quit"] {
        assert!(screen.contains(text), "{text}:\n{screen}");
    }
    let mails = screen.lines().find(|line| line.starts_with("mails")).unwrap();
    assert_eq!(mails.split_whitespace().collect::<Vec<_>>()[1..5], ["3", "0", "1", "40"], "{screen}");
    // The queue with the most waiting jobs is selected.
    terminal.press("Enter");
    terminal.shows("1* wait 2").await;
    terminal.press("5");
    let screen = terminal.shows("ECONNRESET by peer").await;
    assert!(screen.contains("40 failed") && screen.contains("receipt"), "{screen}");
    terminal.press("Down");
    terminal.press("Enter");
    terminal.shows("\"failedReason\": \"ECONNRESET by peer\"").await;
    terminal.press("Escape");
    terminal.shows("5* failed 40").await;
    terminal.press("Escape");
    // A terminal takes an Escape and what follows it at once for one key.
    terminal.shows("by waiting").await;
    let first_of = async |sort: &str| {
        terminal.press("s");
        let screen = terminal.shows(&format!("by {sort}")).await;
        screen.lines().nth(2).unwrap().split_whitespace().next().unwrap().to_owned()
    };
    assert_eq!(first_of("active").await, "running");
    assert_eq!(first_of("failed").await, "mails");
    drop(held);
    // A job that is added meanwhile is shown.
    on.queue.add("new", json!(1)).await.unwrap();
    eventually("the new job is counted", || async {
        terminal.screen().lines().any(|line| line.starts_with("q ") && line.split_whitespace().nth(1) == Some("1"))
    })
    .await;
    terminal.press("q");
    eventually("it has ended", || async { terminal.tmux(&["list-sessions"]).is_empty() }).await;
}

#[tokio::test]
async fn a_large_screen_shows_times_and_colours_unless_they_are_not_wanted() {
    let on = Fixture::new().await;
    let _node = filled_by_node(&on).await;
    let terminal = Terminal::open(&on, 160, 50, "TERM=screen-256color");
    let screen = terminal.shows("bullmq:6.7.0").await;
    assert!(screen.contains("COMPLETED") && screen.contains("VERSION"), "{screen}");
    let red = "\u{1b}[38;5;1m";
    assert!(terminal.coloured().contains(red), "{:?}", terminal.coloured());
    drop(terminal);
    let plain = Terminal::open(&on, 161, 50, "TERM=screen-256color NO_COLOR=1");
    plain.shows("bullmq:6.7.0").await;
    assert!(!plain.coloured().contains(red), "{:?}", plain.coloured());
}

#[tokio::test]
async fn hundreds_of_queues_are_paged_through() {
    let on = Fixture::new().await;
    for n in 0..700 {
        let queue: Queue = on.client.queue(format!("many-{n:03}")).open().unwrap();
        queue.add("job", json!(n)).await.unwrap();
    }
    let terminal = Terminal::open(&on, 90, 24, "TERM=screen-256color");
    terminal.shows("oxmq top  701 queues  ").await;
    terminal.press("End");
    let screen = terminal.shows("q  ").await;
    assert!(screen.contains("many-"), "{screen}");
    let ran = command().args(["--url", &shared_server().url(), "--prefix", &on.prefix, "top"]).output().unwrap();
    assert_eq!(ran.status.code(), Some(1), "without a terminal it says so");
}

#[tokio::test]
async fn a_tiny_screen_shows_what_fits() {
    let on = Fixture::new().await;
    let _node = filled_by_node(&on).await;
    let terminal = Terminal::open(&on, 20, 5, "TERM=screen-256color");
    terminal.shows("mails").await;
    terminal.press("Enter");
    terminal.shows("1* w").await;
    terminal.press("5");
    terminal.shows("40 failed").await;
    terminal.tmux(&["resize-window", "-x", "100", "-y", "30"]);
    terminal.shows("ECONNRESET by peer").await;
    terminal.tmux(&["resize-window", "-x", "4", "-y", "2"]);
    terminal.press("Enter");
    terminal.tmux(&["resize-window", "-x", "100", "-y", "30"]);
    // A key that comes while tmux resizes may be lost; on the page of a job it does nothing.
    eventually("the job is shown", || async {
        let is_shown = terminal.screen().contains("\"failedReason\": \"ECONNRESET by peer\"");
        if !is_shown {
            terminal.press("Enter");
        }
        is_shown
    })
    .await;
}

#[tokio::test]
async fn ten_thousand_queues_are_shown_before_all_of_them_are_read() {
    let server = RedisServer::start();
    let fill = "for n = 1, 10000 do
                  local base = 'bull:' .. string.format('many-%05d', n) .. ':'
                  redis.call('HSET', base .. 'meta', 'opts.maxLenEvents', '10000')
                  redis.call('HSET', base .. '1', 'name', 'job', 'data', '{}', 'opts', '{}', 'timestamp', '1')
                  redis.call('LPUSH', base .. 'wait', '1')
                end";
    let () = redis::cmd("EVAL").arg(fill).arg(0).query_async(&mut server.connection().await).await.unwrap();
    let words = format!("--url {} top --every 150ms", server.url());
    let terminal = Terminal::with(80, 24, "TERM=screen-256color NO_COLOR=1", &words);
    let screen = terminal.shows("many-").await;
    assert!(screen.lines().all(|line| line.chars().count() <= 80), "{screen}");
    terminal.shows("10,000").await;
    for _ in 0..3 {
        terminal.press("PageDown");
    }
    terminal.press("Enter");
    terminal.shows("1* wait 1").await;
    terminal.press("Escape");
    terminal.shows("s sort").await;
    // During a search for a name all letters are text, `q` too.
    terminal.press("/");
    for letter in ["0", "9", "9", "q"] {
        terminal.press(letter);
    }
    terminal.shows("/099q_").await;
    terminal.press("BSpace");
    let screen = terminal.shows("/099_").await;
    assert!(screen.lines().filter(|line| line.starts_with("many-")).all(|line| line.contains("099")), "{screen}");
    terminal.press("Enter");
    terminal.shows("? help").await;
    // One that was chosen before stays chosen, and a list longer than the screen is shown around it.
    eventually("the first of the list is on the screen", || async {
        terminal.press("Home");
        terminal.screen().contains("many-00099")
    })
    .await;
    terminal.press("Home");
    terminal.press("Enter");
    terminal.shows("many-00099  1 waiting").await;
    terminal.press("Escape");
    terminal.shows("/099").await;
    terminal.press("Escape");
    eventually("all queues are shown again", || async { !terminal.screen().contains("/099") }).await;
    terminal.press("?");
    terminal.shows("WAITING    jobs that could run now").await;
    terminal.press("Escape");
    terminal.shows("s sort").await;
    // It ends at once, even if it has not read all data.
    terminal.press("q");
    eventually("it has ended", || async { terminal.tmux(&["list-sessions"]).is_empty() }).await;
}
