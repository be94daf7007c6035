//! Whatever others have stored moves no cursor and changes no colour of a terminal.

use std::collections::BTreeSet;

use super::*;
use crate::dashboard::stuffed::Stuffing;

/// Clears the screen, and is a title for a window.
const EVIL: &str = "\u{1b}[2J\u{1b}]0;x\u{7}\u{9b}31m";

/// What is asked with each command; those that take over the screen or the process have tests of their own.
const CALLS: &[&[&str]] = &[
    &["queues"],
    &["jobs", "q", "-s", "all"],
    &["show", "q", "failed-EVIL"],
    &["show", "q", "waiting-children-EVIL"],
    &["logs", "q", "failed-EVIL"],
    &["flow", "q", "waiting-children-EVIL"],
    &["schedulers", "q"],
    &["workers"],
    &["tail", "q", "--from", "0", "--no-follow"],
    &["export", "q"],
    &["types", "q"],
    &["types", "q", "--schema"],
    &["doctor", "q", "--memory", "--pause", "1ms", "--keys", "0"],
    &["retry", "q", "failed-EVIL", "--dry-run"],
    &["promote", "q", "wait-EVIL", "--yes"],
    &["priority", "q", "--to", "1", "--id", "wait-EVIL", "--dry-run"],
    &["delay", "q", "delayed-EVIL", "--to", "1h", "--dry-run"],
    &["move", "q", "-n", "EVIL", "--to", "EVIL", "--dry-run"],
    &["remove", "q", "-n", "EVIL", "--reason", "EVIL", "--dry-run"],
    &["clean", "q", "--older", "1s", "--data", "EVIL", "--dry-run"],
    &["add", "EVIL", "EVIL", "EVIL"],
    &["add", "q", "EVIL", "{}", "--dry-run"],
    &["cancel", "q", "wait-EVIL", "none-EVIL", "--dry-run"],
    &["cancel", "q", "wait-EVIL", "completed-EVIL", "--yes", "--reason", "EVIL"],
    &["pause", "EVIL", "--dry-run"],
    &["resume", "q", "--dry-run"],
    &["drain", "q", "--dry-run"],
    &["obliterate", "q", "--dry-run"],
    &["import", "EVIL", "EVIL"],
    &["frobnicate", "EVIL"],
];

const ELSEWHERE: [&str; 5] = ["serve", "top", "completions", "man", "help"];

#[tokio::test]
async fn whatever_others_write_stays_text() {
    let on = Fixture::new().await;
    let json = json!({ EVIL: [EVIL] }).to_string();
    Stuffing { tag: EVIL, json: &json, text: EVIL, name: EVIL }.fill(&on).await;
    for event in ["completed", "failed", EVIL] {
        let mut add = redis::cmd("XADD");
        add.arg(on.key("events")).arg("*").arg(&["event", event, "jobId", EVIL, "failedReason", EVIL, EVIL, EVIL]);
        add.exec_async(&mut on.redis.clone()).await.unwrap();
    }
    let calls = CALLS.iter().flat_map(|words| [words.to_vec(), [words, &["--json"][..]].concat()]);
    for words in calls {
        let words: Vec<String> = words.iter().map(|word| word.replace("EVIL", EVIL)).collect();
        let ran = call(&on, &words.iter().map(String::as_str).collect::<Vec<_>>(), "").await;
        // An export keeps what JSON may contain as it is, since it is for files.
        let is_kept = |letter| words[0] == "export" && letter > '\u{7f}';
        let odd = |letter: char| letter.is_control() && !matches!(letter, '\n' | '\t') && !is_kept(letter);
        assert!(!ran.out.contains(odd) && !ran.err.contains(odd), "{words:?}: {ran:?}");
        assert!(ran.code != 101 && !ran.err.contains("panicked"), "{words:?}: {ran:?}");
    }
}

#[test]
fn every_command_is_called() {
    let help = ran(command().arg("help"), "").ok();
    let list = help.split("Commands:").nth(1).unwrap().split("\n\n").next().unwrap();
    let commands: BTreeSet<&str> = list.lines().filter_map(|line| line.split_whitespace().next()).collect();
    let called = CALLS.iter().map(|words| words[0]).chain(ELSEWHERE).collect();
    assert_eq!(commands.difference(&called).collect::<Vec<_>>(), [&""; 0]);
}
