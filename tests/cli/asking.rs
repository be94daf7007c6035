//! Questions in a terminal, and how Ctrl-C stops work. The tests send keys and read the screen.

use super::top::Terminal;
use super::*;
use crate::common::server::RedisServer;

/// Runs the binary in a terminal that stays open afterwards and shows the exit code.
fn terminal(url: &str, prefix: &str, words: &str) -> Terminal {
    let words = format!("--url {url} --prefix {prefix} {words}; echo \"ended with $?\"; exec cat");
    // The shell must outlive what Ctrl-C ends.
    Terminal::with(200, 24, "TERM=screen-256color", &words)
}

async fn asked(on: &Fixture, words: &str) -> Terminal {
    let terminal = terminal(&shared_server().url(), &on.prefix, words);
    terminal.shows("Go on? [y/N]").await;
    terminal
}

#[tokio::test]
async fn any_answer_but_yes_stops_the_command() {
    let on = Fixture::new().await;
    on.add_many(5).await;
    for (answer, words) in [("n", "drain q"), ("", "remove q --all"), ("yess", "pause q"), ("C-d", "obliterate q")] {
        let terminal = asked(&on, words).await;
        if !answer.is_empty() {
            terminal.press(answer);
        }
        terminal.press("Enter");
        let screen = terminal.shows("ended with 4").await;
        assert!(screen.contains("nothing was changed"), "{answer}: {screen}");
    }
    assert!(!on.queue.is_paused().await.unwrap());
    assert_eq!(on.count(oxmq::JobState::Waiting).await, 5);
    let terminal = asked(&on, "remove q --all").await;
    terminal.press("y");
    terminal.press("Enter");
    let screen = terminal.shows("ended with 0").await;
    assert!(screen.contains("5 jobs removed"), "{screen}");
    assert_eq!(on.count(oxmq::JobState::Waiting).await, 0);
}

#[tokio::test]
async fn ctrl_c_at_a_question_is_a_no() {
    let on = Fixture::new().await;
    on.add_many(5).await;
    // `remove` counts its jobs in steps, between which Ctrl-C is heard; `drain` counts nothing in steps.
    for words in ["remove q --all", "drain q"] {
        let terminal = asked(&on, words).await;
        terminal.press("C-c");
        let screen = terminal.shows("ended with 130").await;
        assert!(screen.contains("nothing was changed"), "{words}: {screen}");
    }
    assert_eq!(on.count(oxmq::JobState::Waiting).await, 5);
}

#[tokio::test]
async fn ctrl_c_stops_long_work_after_a_step_and_says_how_to_go_on() {
    const JOBS: usize = 30_000;
    let server = RedisServer::start();
    let on = Fixture::on(&server).await;
    let fill = "for n = 1, tonumber(ARGV[1]) do
                  redis.call('HSET', KEYS[1] .. n, 'name', 'job', 'data', '{}', 'opts', '{}', 'timestamp', '1')
                  redis.call('ZADD', KEYS[1] .. 'failed', n, n)
                end";
    let () =
        redis::cmd("EVAL").arg(fill).arg(1).arg(on.key("")).arg(JOBS).query_async(&mut on.redis.clone()).await.unwrap();
    let terminal = terminal(&server.url(), &on.prefix, "remove q -s failed --all --yes");
    let left = async || on.count(oxmq::JobState::Failed).await;
    eventually("some are removed", || async { left().await < JOBS }).await;
    // While the server is paused no command can finish.
    server.pause();
    terminal.press("C-c");
    server.resume();
    let screen = terminal.shows("ended with 130").await;
    let after =
        screen.split("--after ").nth(1).unwrap_or_else(|| panic!("{screen}")).split_whitespace().next().unwrap();
    let left = left().await;
    assert!(left > 0 && screen.contains(" removed"), "{left} left: {screen}");
    let mut command = command();
    command.args(["--url", &server.url(), "--prefix", &on.prefix, "remove", "q", "-s", "failed", "--all", "--yes"]);
    command.args(["--after", after]);
    let rest = tokio::task::spawn_blocking(move || ran(&mut command, "")).await.unwrap().ok();
    let number: String = rest.chars().filter(char::is_ascii_digit).collect();
    assert_eq!((number.parse::<usize>().unwrap(), on.count(oxmq::JobState::Failed).await), (left, 0), "{rest}");
}
