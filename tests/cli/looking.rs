use oxmq::options::ParentRef;

use super::*;
use crate::common::server::RedisServer;

#[tokio::test]
async fn queues_of_node_are_listed_with_their_counts() {
    let on = Fixture::new().await;
    let _node = filled_by_node(&on).await;
    let out = oxmq(&on, "queues").await.ok();
    let mails = out.lines().find(|line| line.starts_with("mails")).unwrap_or_else(|| panic!("{out}"));
    let cells: Vec<&str> = mails.split_whitespace().collect();
    // Waiting, active, delayed, children, failed, completed.
    assert_eq!(cells[1..7], ["3", "0", "1", "0", "40", "80"], "{out}");
    let queues = oxmq(&on, "queues --json --sort failed").await.json();
    assert_eq!(queues[0]["name"], "mails");
    assert_eq!(queues[0]["counts"]["failed"], 40);
    assert_eq!(queues[0]["version"], "bullmq:6.7.0");
    assert_eq!(queues.iter().find(|queue| queue["name"] == "reports").unwrap()["counts"]["waiting-children"], 1);
    let ran = command().args(["--url", &shared_server().url(), "--prefix", "nobody", "queues"]).output().unwrap();
    assert_eq!(ran.status.code(), Some(3));
}

#[tokio::test]
async fn jobs_are_found_by_state_name_id_age_data_and_reason() {
    let on = Fixture::new().await;
    let _node = filled_by_node(&on).await;
    let count = async |words: &str| oxmq(&on, &format!("jobs mails --count {words}")).await.ok().trim().to_owned();
    assert_eq!(count("-s failed").await, "40");
    assert_eq!(count("-s all -n w*").await, "42");
    assert_eq!(count("-s all --data \"n\":11,").await, "1");
    assert_eq!(count("-s failed --reason ECONNRESET").await, "40");
    assert_eq!(count("-s failed --older 1h").await, "0");
    assert_eq!(count("-s all --id odd").await, "1");

    let ran = oxmq(&on, "jobs mails -s failed -l 7 --json").await;
    let cursor = ran.err.trim().rsplit(' ').next().unwrap().to_owned();
    let first = ran.json();
    assert_eq!(
        (first.len(), &first[0]["state"], &first[0]["failedReason"]),
        (7, &json!("failed"), &json!("ECONNRESET by peer"))
    );
    let rest = oxmq(&on, &format!("jobs mails -s failed -l 100 --json --after {cursor}")).await.json();
    assert_eq!(rest.len(), 33);
    assert!(rest.iter().all(|job| job["id"] != first[0]["id"]));

    let shown = oxmq(&on, "jobs mails").await.ok();
    // Control sequences in a name do not reach the terminal.
    assert!(shown.contains("\\x1b[31mred") && !shown.contains('\u{1b}'), "{shown}");
    assert!(shown.contains("prioritized") && shown.contains("delayed"), "{shown}");
}

#[tokio::test]
async fn a_job_is_shown_with_all_that_is_known() {
    let on = Fixture::new().await;
    let _node = filled_by_node(&on).await;
    let failed = oxmq(&on, "jobs mails -s failed -l 1 --json").await.json().remove(0);
    let id = failed["id"].as_str().unwrap();
    let mails: Queue = on.client.queue("mails").open().unwrap();
    mails.job(id).add_log("a line of its log", 0).await.unwrap();
    let shown = oxmq(&on, &format!("show mails {id}")).await.ok();
    for text in ["failed", "ECONNRESET by peer", "\"to\": \"ada\"", "a line of its log", "1 of 1", "ran for"] {
        assert!(shown.contains(text), "{text}: {shown}");
    }
    let shown = oxmq(&on, &format!("show mails {id} --json")).await.json().remove(0);
    assert_eq!((&shown["state"], &shown["logs"]["count"]), (&json!("failed"), &json!(1)));
    assert_eq!(oxmq(&on, &format!("logs mails {id}")).await.ok(), "a line of its log\n");
    assert_eq!(oxmq(&on, "show mails nobody").await.code, 3);
    assert_eq!(oxmq(&on, "logs mails nobody").await.code, 3);
    assert_eq!(oxmq(&on, "show nowhere 1").await.code, 3);
}

#[tokio::test]
async fn what_cannot_be_read_is_shown_as_it_is_stored_and_hides_nothing() {
    let on = Fixture::new().await;
    on.queue.add("good", json!(1)).job_id("good").await.unwrap();
    on.queue.add("bad", json!(1)).job_id("bad").await.unwrap();
    let mut redis = on.redis.clone();
    let () = redis::cmd("HSET").arg(on.key("bad")).arg("data").arg("{broken").query_async(&mut redis).await.unwrap();
    let ran = oxmq(&on, "jobs q").await;
    assert!(
        ran.code == 5
            && ran.out.contains("good")
            && ran.out.contains("cannot be read: the data of job bad of q is not JSON"),
        "{ran:?}"
    );
    let ran = oxmq(&on, "jobs q --json").await;
    let lines: Vec<Value> = ran.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.len() == 2 && lines.iter().any(|job| job["id"] == "bad" && job["problem"].is_string()), "{ran:?}");
    let ran = oxmq(&on, "show q bad").await;
    assert!(ran.code == 5 && ran.out.contains("bad of q: waiting") && ran.out.contains("{broken"), "{ran:?}");
    let ran = oxmq(&on, "show q bad --json").await;
    assert_eq!(serde_json::from_str::<Value>(&ran.out).unwrap()["hash"]["data"], "{broken");
    // A queue that has keys of the wrong type does not stop it either.
    let other: Queue = on.client.queue("other").open().unwrap();
    other.add("job", json!(1)).await.unwrap();
    let () = redis::cmd("SET").arg(on.key("active")).arg("odd").query_async(&mut redis).await.unwrap();
    let ran = oxmq(&on, "queues").await;
    assert!(ran.code == 5 && ran.out.contains("other") && ran.err.contains("1 of 2 queues"), "{ran:?}");
    let ran = oxmq(&on, "doctor q other --keys 0 --json").await;
    let report: Value = serde_json::from_str(&ran.out).unwrap();
    let findings = report["findings"].as_array().unwrap();
    let found: Vec<_> = findings.iter().filter(|finding| finding["queue"].is_string()).collect();
    assert!(found.len() == 1 && found[0]["kind"] == "wrong-type", "{report}");
    assert!(found[0]["detail"].as_str().unwrap().contains(&format!("{} is a string", on.key("active"))), "{report}");
    assert_eq!(oxmq(&on, "doctor other nosuch --keys 0").await.code, 3);
    let ran = oxmq(&on, "queues other nosuch").await;
    assert!(ran.code == 3 && ran.out.contains("other") && ran.err.contains("'nosuch'"), "{ran:?}");
}

#[tokio::test]
async fn tail_without_permission_to_read_ends_with_an_error() {
    let server = RedisServer::start();
    let on = Fixture::on(&server).await;
    on.add_many(3).await;
    let mut admin = server.connection().await;
    let user = ["SETUSER", "blind", "on", ">pass", "~*", "&*", "+@all", "-xread", "-xrevrange"];
    redis::cmd("ACL").arg(&user).exec_async(&mut admin).await.unwrap();
    let url = server.url().replace("://", "://blind:pass@");
    for words in ["tail q", "tail q --no-follow", "tail q --from 0", "tail q --from 0 --no-follow"] {
        let ran = oxmq_at(&url, &on, words).await;
        assert!(ran.code == 1 && ran.out.is_empty() && ran.err.contains("no permissions"), "{words}: {ran:?}");
    }
    // So it is where the key holds something else.
    redis::cmd("SET").arg(on.key("events")).arg("odd").exec_async(&mut admin).await.unwrap();
    let ran = oxmq_at(&server.url(), &on, "tail q --from 0 --no-follow").await;
    assert!(ran.code == 1 && ran.out.is_empty() && ran.err.contains("wrong kind of value"), "{ran:?}");
}

#[tokio::test]
async fn a_reader_that_ends_early_is_no_error() {
    let on = Fixture::new().await;
    on.add_many(5_000).await;
    for words in [
        "completions bash",
        "man",
        "export q",
        "jobs q -l 5000 --json",
        "jobs q -l 5000",
        "tail q --from 0 --no-follow",
    ] {
        let mut command = command();
        command.args(["--url", &shared_server().url(), "--prefix", &on.prefix]).args(words.split(' '));
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let ended = tokio::task::spawn_blocking({
            let mut child = child.spawn().unwrap();
            move || {
                drop(child.stdout.take());
                child.wait_with_output().unwrap()
            }
        });
        let ended = ended.await.unwrap();
        let err = String::from_utf8_lossy(&ended.stderr);
        assert!(ended.status.code() == Some(0) && !err.contains("panicked") && !err.contains("pipe"), "{words}: {err}");
    }
}

/// Before, all but `export` ended as if everything had been written.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn what_cannot_be_written_is_an_error() {
    let on = Fixture::new().await;
    on.add_many(3).await;
    for words in ["queues", "jobs q", "jobs q --json", "show q 1", "export q", "tail q --from 0 --no-follow", "man"] {
        let mut command = command();
        command.args(["--url", &shared_server().url(), "--prefix", &on.prefix]).args(words.split(' '));
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let ended = tokio::task::spawn_blocking(move || command.stdout(full).output().unwrap()).await.unwrap();
        let err = String::from_utf8_lossy(&ended.stderr);
        assert!(ended.status.code() == Some(1) && err.contains("No space left"), "{words}: {ended:?}");
    }
}

#[tokio::test]
async fn a_flow_is_a_tree_and_says_why_it_waits() {
    let on = Fixture::new().await;
    let _node = filled_by_node(&on).await;
    let shown = oxmq(&on, "flow reports m").await.ok();
    assert!(shown.contains("reports:m 'monthly'") && shown.contains("└─ "), "{shown}");
    assert!(shown.contains("mails:part-1 'part'  pending"), "{shown}");
    assert!(shown.contains("waits for") && shown.contains("which is waiting"), "{shown}");
    let tree = oxmq(&on, "flow reports m --json").await.json().remove(0);
    assert_eq!((&tree["children"][0]["id"], &tree["stuck"]), (&json!("part-1"), &json!(false)));
    oxmq(&on, "remove mails part-1 --yes").await.ok();
    assert_eq!(oxmq(&on, "flow reports gone").await.code, 3);
}

/// A child can be added to a parent that has completed, which is never told of its end.
#[tokio::test]
async fn a_parent_that_has_ended_does_not_wait() {
    let on = Fixture::new().await;
    let report = on.queue.add("report", json!(0)).job_id("r").await.unwrap();
    let worker = on.worker(|_: Job<Value, ()>| async { Ok::<_, oxmq::Halt>(()) }).start().unwrap();
    on.until(oxmq::JobState::Completed, 1).await;
    worker.close().await;
    let parts: Queue = on.client.queue("parts").open().unwrap();
    parts.add("part", json!(1)).job_id("p").parent(ParentRef::of(&report)).await.unwrap();
    let shown = oxmq(&on, "flow q r").await.ok();
    assert!(shown.contains("q:r 'report'  completed\n") && shown.contains("parts:p 'part'  pending\n"), "{shown}");
    assert!(!shown.contains("  waits for") && shown.contains("has ended without waiting for"), "{shown}");
}

#[tokio::test]
async fn events_workers_and_schedulers_are_listed() {
    let on = Fixture::new().await;
    let _node = filled_by_node(&on).await;
    let failed = oxmq(&on, "tail mails --from 0 --no-follow -e failed --json").await.json();
    assert_eq!((failed.len(), &failed[0]["failedReason"]), (40, &json!("ECONNRESET by peer")));
    let some = oxmq(&on, "tail mails --from beginning -l 3").await.ok();
    assert_eq!(some.lines().count(), 3);
    let after = failed[38]["id"].as_str().unwrap();
    let last = oxmq(&on, &format!("tail mails --from {after} --no-follow -e failed --json")).await.json();
    assert_eq!(last.len(), 1);

    let process = async |_: Job<Value, ()>| Ok::<(), oxmq::Error>(());
    let worker = on.client.worker("idle", process).name("night-1").start().unwrap();
    eventually("the worker is listed", || async { oxmq(&on, "workers").await.ok().contains("night-1") }).await;
    worker.close().await;

    let every = oxmq::Repeat::every(std::time::Duration::from_secs(90));
    on.queue.upsert_job_scheduler("often", every).name("tick").data(json!({})).await.unwrap();
    let shown = oxmq(&on, "schedulers q").await.ok();
    assert!(shown.contains("often") && shown.contains("every 1m 30s"), "{shown}");
    assert_eq!(oxmq(&on, "schedulers q --remove often").await.code, 4);
    let shown = oxmq(&on, "schedulers").await.ok();
    assert!(shown.starts_with("QUEUE") && shown.contains("often"), "{shown}");
    let listed = oxmq(&on, "schedulers --json").await.json();
    assert!(listed.iter().all(|scheduler| scheduler["queue"] == "q"), "{listed:?}");
    assert_eq!(oxmq(&on, "schedulers --remove often --yes").await.code, 2, "of which queue?");
    oxmq(&on, "schedulers q --remove often --yes").await.ok();
    assert!(on.queue.get_job_scheduler("often").await.unwrap().is_none());
    assert_eq!(oxmq(&on, "schedulers q --remove often --yes").await.code, 3);
}

/// Other libraries take ids, names and events with line breaks and escape sequences.
#[tokio::test]
async fn what_others_write_makes_no_lines_and_no_colours() {
    let mut on = Fixture::new().await;
    let id = "1\n  result        all is well\u{1b}[2J";
    let fields = ["name", "n\n  forged", "data", "1", "opts", "{}", "timestamp", "1", "failedReason", "a\n  forged"];
    redis::cmd("HSET").arg(on.key(id)).arg(&fields).query_async::<()>(&mut on.redis).await.unwrap();
    redis::cmd("LPUSH").arg(on.key("wait")).arg(id).query_async::<()>(&mut on.redis).await.unwrap();
    let event = ["*", "event", "odd\u{1b}[31m\nforged", "jobId", id];
    redis::cmd("XADD").arg(on.key("events")).arg(&event).query_async::<()>(&mut on.redis).await.unwrap();

    let shown = call(&on, &["show", "q", id], "").await.ok();
    assert!(!shown.lines().any(|line| line.starts_with("  result") || line.starts_with("  forged")), "{shown}");
    let told = oxmq(&on, "tail q --from 0 --limit 1").await.ok();
    assert!(told.contains("odd\\x1b[31m forged"), "{told}");
    for text in [shown, told] {
        assert!(!text.contains('\u{1b}'), "{text}");
    }
}

#[tokio::test]
async fn who_may_not_search_for_queues_is_told_to_name_them() {
    let server = RedisServer::start();
    let on = Fixture::on(&server).await;
    on.add_many(3).await;
    let user = ["SETUSER", "narrow", "on", ">pass", "~*", "&*", "+@all", "-scan"];
    redis::cmd("ACL").arg(&user).exec_async(&mut server.connection().await).await.unwrap();
    let url = server.url().replace("://", "://narrow:pass@");
    let ran = oxmq_at(&url, &on, "queues").await;
    assert!(ran.code == 1 && ran.err.contains("name the queues, as in `oxmq queues mails photos`"), "{ran:?}");
    assert!(oxmq_at(&url, &on, "queues q").await.ok().contains('3'));
    let ran = oxmq_at(&url, &on, "doctor").await;
    assert!(ran.code == 1 && ran.err.contains("name the queues"), "{ran:?}");
    let ran = oxmq_at(&url, &on, "doctor q").await;
    assert!(ran.code == 0 && ran.err.contains("does not permit SCAN): jobs in no list"), "{ran:?}");
}

/// Long and wide things stay within a narrow terminal and keep their columns, and what is huge does not flood it.
#[tokio::test]
async fn strange_jobs_are_shown_in_order() {
    let on = Fixture::new().await;
    let members: serde_json::Map<String, Value> = (0..5_000).map(|n| (format!("m{n}"), json!(n))).collect();
    on.queue.add("漢字の名前", json!(members)).job_id("wide").await.unwrap();
    on.queue.add("turned\u{202e}name", json!({})).job_id("turned").await.unwrap();
    let table = oxmq(&on, "jobs q").await.ok();
    let columns: Vec<usize> = table
        .lines()
        .map(|line| {
            let before = &line[..line.find("STATE").or_else(|| line.find("waiting")).unwrap()];
            before.chars().map(|letter| if letter.is_ascii() || letter == '\\' { 1 } else { 2 }).sum()
        })
        .collect();
    assert!(columns.iter().all(|column| *column == columns[0]), "{columns:?}\n{table}");
    assert!(table.contains("turned\\u{202e}name"), "{table}");
    let shown = oxmq(&on, "show q wide").await.ok();
    assert!(shown.contains("lines, which --json shows"), "{shown}");
    assert!(shown.lines().count() < 400, "{}", shown.lines().count());
    let whole = oxmq(&on, "show q wide --json").await.json().remove(0);
    assert_eq!(whole["data"].as_object().unwrap().len(), 5_000);
    // What is so already is said, and nothing is asked.
    oxmq(&on, "pause q --yes").await.ok();
    assert!(oxmq(&on, "pause q").await.ok().contains("q is paused already"));
    oxmq(&on, "resume q --yes").await.ok();
    assert!(oxmq(&on, "resume q").await.ok().contains("q is not paused"));
    assert_eq!(oxmq(&on, "clean q").await.code, 2);
}

/// Before, each row of a table took two lines of a terminal of 80 columns, and `top` cut the first digits of numbers.
#[tokio::test]
async fn narrow_terminals_show_whole_rows_and_whole_numbers() {
    let on = Fixture::new().await;
    let fill = "redis.call('HSET', KEYS[1] .. 'meta', 'opts.maxLenEvents', '10000')
                for n = 1, 12345 do redis.call('ZADD', KEYS[1] .. 'delayed', n, 'd' .. n) end
                redis.call('HSET', KEYS[1] .. 'd1', 'name', 'a name that is long enough to be cut', 'data', ARGV[1],
                  'opts', '{}', 'timestamp', ARGV[2])";
    let mut eval = redis::cmd("EVAL");
    let an_hour_ago = crate::common::time::now_ms() - 3_700_000;
    eval.arg(fill).arg(1).arg(on.key("")).arg(format!("\"{}\"", "x".repeat(100))).arg(an_hour_ago);
    eval.exec_async(&mut on.redis.clone()).await.unwrap();
    for (width, words) in [(80, "jobs q --id d1"), (60, "jobs q --id d1"), (60, "queues"), (50, "queues")] {
        let url = shared_server().url();
        let command = format!("--url {url} --prefix {} {words}; echo ended; exec cat", on.prefix);
        let terminal = top::Terminal::with(width, 20, "TERM=screen-256color", &command);
        let screen = terminal.shows("ended").await;
        let rows: Vec<&str> = screen.lines().take_while(|line| *line != "ended").collect();
        assert_eq!(rows.len(), 2, "{width} {words}:\n{screen}");
        assert!(rows[1].starts_with(if words == "queues" { "q " } else { "d1 " }), "{width} {words}:\n{screen}");
    }
    let words = format!("--url {} --prefix {} top", shared_server().url(), on.prefix);
    for (width, is_shown) in [(80, true), (60, false), (30, false)] {
        let terminal = top::Terminal::with(width, 20, "TERM=screen-256color", &words);
        let screen = terminal.shows("\nq ").await;
        assert_eq!(screen.contains("12,345"), is_shown, "{width}:\n{screen}");
        let head: Vec<&str> = screen.lines().nth(1).unwrap().split_whitespace().collect();
        let known = ["QUEUE", "WAITING", "ACTIVE", "DELAYED", "FAILED", "DONE/MIN", "OLDEST", "WORKERS"];
        assert!(head.iter().all(|name| known.contains(name)), "{width}:\n{screen}");
        assert!(head.contains(&"WAITING") && head.contains(&"DELAYED") == is_shown, "{width}:\n{screen}");
    }
    let terminal = top::Terminal::with(60, 20, "TERM=screen-256color", &words);
    terminal.shows("\nq ").await;
    terminal.press("Enter");
    terminal.shows("7 k 0").await;
}
