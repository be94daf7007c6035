//! Whatever makes work possible writes the marker: every transition of a job, and what workers that wait find after it.

use std::collections::BTreeSet;

use super::super::reply::string;
use super::super::{ALL, Args};
use crate::engine::Engine;
use crate::engine::testing::{NOW, in_database};

/// What happens; what stands in the queue before; the call; and what the marker holds then, `%` in front for the one of the
/// other queue. `@` stands for the base key, `%` for the other queue's, `job` for HSET of a job, `now` for the time,
/// `soon` for 500 ms later, `''` for nothing. No marker is there before, as where a worker waits.
type Row = (&'static str, &'static str, &'static str, &'static str);

const ADDS: &[Row] = &[
    ("a job is added", "", "add_jobs w '' n {} {} now", "0 0"),
    ("the same in a batch", "", "add_jobs w '' n {} {} now w '' n {} {} now", "0 0"),
    ("last in, first out", "", "add_jobs l '' n {} {} now", "0 0"),
    ("with a priority", "", "add_jobs p '' n {} {} now 0 3", "0 0"),
    ("with a delay", "", "add_jobs d '' n {} {} now 500 0", "1 soon"),
    ("a parent that waits for its children", "", "add_jobs c '' n {} {} now 0 0", ""),
    ("in a paused queue", "HSET @meta paused 1", "add_jobs w '' n {} {} now", ""),
    ("where all places are taken", "HSET @meta concurrency 1;LPUSH @active a", "add_jobs w '' n {} {} now", ""),
    ("a duplicate", "job @a;SET @de:x a", "add_jobs wD '' n {} {} now 0 0 x '' ''", ""),
    (
        "a delayed job is replaced",
        "job @a delay 900;ZADD @delayed 9000000000000000 a;SET @de:x a",
        "add_jobs dD '' n {} {} now 500 0 x '' r",
        "1 soon",
    ),
    (
        "a delayed duplicate is due at another time",
        "job @a delay 900;ZADD @delayed 9000000000000000 a;SET @de:x a",
        "add_jobs dD '' n {} {} now 500 0 x '' s",
        "1 soon",
    ),
    (
        "a completed job becomes the last child of a waiting parent",
        "job @a returnvalue 1;ZADD @completed 1 a;job @p;ZADD @waiting-children 1 p",
        "add_jobs wP a n {} {} now 0 0 @p {}",
        "0 0",
    ),
];

const FLOWS: &[Row] = &[
    (
        "a flow whose children can run",
        "",
        "add_flow now 2 @ % 1 1 '' '' c r n {} {} now 0 0 1 1 @r {} w k n {} {} now 0 0 2 1 '' '' c s n {} {} now 0 0",
        "0 0",
    ),
    (
        "children in another queue",
        "",
        "add_flow now 2 @ % 1 1 '' '' c r n {} {} now 0 0 2 1 @r {} w k n {} {} now 0 0",
        "%0 0",
    ),
    (
        "and not in the parent's",
        "",
        "add_flow now 2 @ % 1 1 '' '' c r n {} {} now 0 0 2 1 @r {} w k n {} {} now 0 0",
        "",
    ),
    (
        "a flow in a paused queue",
        "HSET @meta paused 1",
        "add_flow now 1 @ 1 1 '' '' c r n {} {} now 0 0 1 1 @r {} w k n {} {} now 0 0",
        "",
    ),
    (
        "a flow where all places are taken",
        "HSET @meta concurrency 1;LPUSH @active a",
        "add_flow now 1 @ 1 1 '' '' c r n {} {} now 0 0 1 1 @r {} w k n {} {} now 0 0",
        "",
    ),
    (
        "a child with a delay",
        "",
        "add_flow now 1 @ 1 1 '' '' c r n {} {} now 0 0 1 1 @r {} d k n {} {} now 500 0",
        "1 soon",
    ),
    (
        "children that were all done before",
        "job @a returnvalue 1;ZADD @completed 1 a",
        "add_flow now 1 @ 1 1 '' '' c r n {} {} now 0 0 1 1 @r {} w a n {} {} now 0 0",
        "0 0",
    ),
];

/// `run` is active and locked with `t`, `next` waits, and one place is all there is.
const ONE_PLACE: &str =
    "HSET @meta concurrency 1;job @run ats 1;SET @run:lock t;LPUSH @active run;job @next;LPUSH @wait next";
const RANKED: &str =
    "HSET @meta concurrency 1;job @run ats 1;SET @run:lock t;LPUSH @active run;ZADD @prioritized 1 next";
const RUNS: &str = "job @run ats 1;SET @run:lock t;LPUSH @active run";
const RUNS_RANKED: &str = "job @run ats 1 priority 2;SET @run:lock t;LPUSH @active run";

const ENDS: &[Row] = &[
    ("a place gets free: completed", ONE_PLACE, "settle now 0 u 9 '' '' '' '' done t 1 1 run 1", "0 0"),
    ("for a job with a priority", RANKED, "settle now 0 u 9 '' '' '' '' done t 1 1 run 1", "0 0"),
    ("completed and dropped", ONE_PLACE, "settle now 0 u 9 '' '' '' '' completed run t 1 0", "0 0"),
    ("failed", ONE_PLACE, "settle now 0 u 9 '' '' '' '' failed run t no [] -1 1 ''", "0 0"),
    ("to be retried", ONE_PLACE, "settle now 0 u 9 '' '' '' '' retry run t no [] 0 ''", "0 0"),
    ("delayed", ONE_PLACE, "settle now 0 u 9 '' '' '' '' delayed run t '' '' 500 0 ''", "0 0 1 soon"),
    ("handed back", ONE_PLACE, "settle now 0 u 9 '' '' '' '' waiting run t", "0 0"),
    (
        "waiting for a child",
        "HSET @meta concurrency 1;job @run ats 1;SET @run:lock t;LPUSH @active run;LPUSH @wait c;SADD @run:dependencies @c",
        "settle now 0 u 9 '' '' '' '' children run t ''",
        "0 0",
    ),
    (
        "whoever ends it is limited himself",
        "HSET @meta concurrency 1;job @run ats 1;SET @run:lock t;LPUSH @active run;LPUSH @wait next;SET @limiter 5 PX 9000",
        "settle now 1 u 9 '' 5 1000 '' done t 1 1 run 1",
        "0 0",
    ),
    (
        "a place gets free, and nothing waits",
        "HSET @meta concurrency 1;job @run ats 1;SET @run:lock t;LPUSH @active run",
        "settle now 0 u 9 '' '' '' '' done t 1 1 run 1",
        "",
    ),
    (
        "one of too many ends",
        "HSET @meta concurrency 1;job @run ats 1;SET @run:lock t;LPUSH @active run more;LPUSH @wait next",
        "settle now 0 u 9 '' '' '' '' done t 1 1 run 1",
        "",
    ),
    ("it ends in vain", ONE_PLACE, "settle now 0 u 9 '' '' '' '' done other 1 1 run 1", ""),
    (
        "a place gets free in a paused queue",
        "HSET @meta concurrency 1 paused 1;job @run ats 1;SET @run:lock t;LPUSH @active run;LPUSH @wait next",
        "settle now 0 u 9 '' '' '' '' done t 1 1 run 1",
        "",
    ),
    (
        "there was a place before",
        "job @run ats 1;SET @run:lock t;LPUSH @active run;LPUSH @wait next",
        "settle now 0 u 9 '' '' '' '' done t 1 1 run 1",
        "",
    ),
    ("a retry", RUNS, "settle now 0 u 9 '' '' '' '' retry run t no [] 0 ''", "0 0"),
    ("a retry with a priority", RUNS_RANKED, "settle now 0 u 9 '' '' '' '' retry run t no [] 0 ''", "0 0"),
    ("a retry after a delay", RUNS, "settle now 0 u 9 '' '' '' '' delayed run t no [] 500 1 ''", "1 soon"),
    (
        "the same, and the next job is fetched",
        "job @run ats 1;SET @run:lock t;LPUSH @active run;job @next;LPUSH @wait next",
        "settle now 1 u 9 '' '' '' '' delayed run t no [] 500 1 ''",
        "0 0 1 soon",
    ),
    ("going back", RUNS, "settle now 0 u 9 '' '' '' '' waiting run t", "0 0"),
    ("going back with a priority", RUNS_RANKED, "settle now 0 u 9 '' '' '' '' waiting run t", "0 0"),
    ("a fetch", "job @a;job @b;LPUSH @wait b a", "settle now 1 u 9 '' '' '' ''", "0 0"),
    ("a fetch of the last one", "job @a;LPUSH @wait a", "settle now 2 u 9 '' '' '' ''", "0 0"),
    ("a fetch of what is due", "job @a;ZADD @delayed 0 a", "settle now 1 u 9 '' '' '' ''", "0 0"),
    (
        "a fetch of a limited worker finds due jobs",
        "job @a;ZADD @delayed 0 a;SET @limiter 5 PX 9000",
        "settle now 1 u 9 '' 5 1000 ''",
        "0 0",
    ),
    ("a fetch finds nothing", "job @a;ZADD @delayed 9000000000000000 a", "settle now 1 u 9 '' '' '' ''", ""),
    (
        "a deduplication ends with a job set aside",
        "job @run ats 1 deid x;SET @run:lock t;LPUSH @active run;SET @de:x run;HSET @dn:x name n data {} opts {} jid b",
        "settle now 0 u 9 '' '' '' '' completed run t 1 -1",
        "0 0",
    ),
    (
        "the same with a delay",
        "job @run ats 1 deid x;SET @run:lock t;LPUSH @active run;SET @de:x run;HSET @dn:x name n data {} opts {'delay':500} jid b",
        "settle now 0 u 9 '' '' '' '' completed run t 1 -1",
        "1 soon",
    ),
];

/// `run` is the last child of `p`, of the own or the other queue.
const CHILD: &str = "job @run ats 1 parentKey @p parent {'id':'p','queueKey':'&','fpof':true};SET @run:lock t;\
    LPUSH @active run;SADD @p:dependencies @run;ZADD @waiting-children 1 p";
const CHILD_DONE: &str = "settle now 0 u 9 '' '' '' '' completed run t 1 -1";
const CHILD_FAILED: &str = "settle now 0 u 9 '' '' '' '' failed run t no [] -1 1 ''";
/// `run` is pending in `p`, a job of the other queue.
const ELSEWHERE: &str =
    "job @run timestamp 1 parentKey %p;job %p;SADD %p:dependencies @run;ZADD %waiting-children 1 p;LPUSH @wait run";

const PARENTS: &[Row] = &[
    ("the last child completes", "CHILD;job @p", CHILD_DONE, "0 0"),
    ("of a parent with a priority", "CHILD;job @p priority 2", CHILD_DONE, "0 0"),
    ("of a parent with a delay", "CHILD;job @p delay 500", CHILD_DONE, "1 soon"),
    ("a child fails its parent", "CHILD;job @p", CHILD_FAILED, "0 0"),
    (
        "a child fails its delayed parent",
        "CHILD;job @p delay 500;ZREM @waiting-children p;ZADD @delayed 9000000000000000 p",
        CHILD_FAILED,
        "0 0",
    ),
    (
        "a parent goes on without a failed child",
        "CHILD;job @p;HSET @run parent {'id':'p','queueKey':'&','cpof':true}",
        CHILD_FAILED,
        "0 0",
    ),
    (
        "a failed child is ignored",
        "CHILD;job @p;HSET @run parent {'id':'p','queueKey':'&','idof':true}",
        CHILD_FAILED,
        "0 0",
    ),
    (
        "a failed child is taken out",
        "CHILD;job @p;HSET @run parent {'id':'p','queueKey':'&','rdof':true}",
        CHILD_FAILED,
        "0 0",
    ),
    (
        "the parent is in another queue",
        "job @run ats 1 parentKey %p parent {'id':'p','queueKey':'$','fpof':true};SET @run:lock t;LPUSH @active run;\
         job %p;SADD %p:dependencies @run;ZADD %waiting-children 1 p",
        CHILD_DONE,
        "%0 0",
    ),
    (
        "the parent's queue is paused",
        "job @run ats 1 parentKey %p parent {'id':'p','queueKey':'$','fpof':true};SET @run:lock t;LPUSH @active run;\
         job %p;SADD %p:dependencies @run;ZADD %waiting-children 1 p;HSET %meta paused 1",
        CHILD_DONE,
        "%",
    ),
    ("the last child is removed", ELSEWHERE, "remove_job run alone 1", "%0 0"),
    ("the last child is taken away", ELSEWHERE, "remove_child run %p", "%0 0"),
    ("the last child is drained", ELSEWHERE, "drain 0 wait paused delayed prioritized", "%0 0"),
    ("the last child is cleaned", ELSEWHERE, "clean wait now 100 0 0", "%0 0"),
    (
        "the last child's queue is obliterated",
        "job @run timestamp 1 parentKey %p;job %p;SADD %p:dependencies @run;\
        ZADD %waiting-children 1 p;LPUSH @wait run;HSET @meta paused 1",
        "obliterate 100 1",
        "%0 0",
    ),
    (
        "a pending child is dropped by retention",
        "job @run ats 1;SET @run:lock t;LPUSH @active run;job @old parentKey %p;ZADD @completed 1 old;job %p;\
         SADD %p:dependencies @old;ZADD %waiting-children 1 p",
        "settle now 0 u 9 '' '' '' '' completed run t 1 1",
        "%0 0",
    ),
];

const ADMIN: &[Row] = &[
    (
        "a stalled job is put back",
        "job @a ats 1;LPUSH @active a;SADD @stalled a",
        "recover_stalled now 30000 1 ''",
        "0 0",
    ),
    (
        "an id without a job leaves its place",
        "HSET @meta concurrency 1;LPUSH @active a;SADD @stalled a;LPUSH @wait b",
        "recover_stalled now 30000 1 ''",
        "0 0",
    ),
    (
        "a scheduler's next run",
        "ZADD @repeat now s;HSET @repeat:s ic 1 name n every 500;job @repeat:s:now",
        "advance_scheduler s repeat:s:now now '' 500 '' {'a':1} 0 0 '' 0",
        "1 soon",
    ),
    (
        "a scheduler's next run is now",
        "ZADD @repeat now s;HSET @repeat:s ic 1 name n",
        "advance_scheduler s repeat:s:now soon soon '' '' {'a':1} 0 0 '' 0",
        "0 0",
    ),
    (
        "a scheduler's run is skipped",
        "HSET @meta concurrency 2;ZADD @repeat now s;HSET @repeat:s ic 2 name n every 500;job @repeat:s:now;SET @repeat:s:now:lock t;\
         LPUSH @active repeat:s:1 repeat:s:now;LPUSH @wait b",
        "advance_scheduler s repeat:s:now now '' 500 '' {'a':1} 0 0 '' 0 0 0 t 0",
        "0 0 1 soon",
    ),
    ("a scheduler's first run", "", "upsert_scheduler s now '' 500 '' '' n {} {'a':1} 0 0 '' 0 every 500", "0 0"),
    (
        "a scheduler's run with a priority",
        "",
        "upsert_scheduler s now '' 500 '' '' n {} {'a':1} 3 0 '' 0 every 500",
        "0 0",
    ),
    ("a scheduler's run by cron", "", "upsert_scheduler s now soon '' '' '' n {} {'a':1} 0 0 '' 0 pattern p", "1 soon"),
    ("another delay", "job @a;ZADD @delayed 9000000000000000 a", "change_delay a 500 now", "1 soon"),
    ("another priority", "job @a;LPUSH @wait a", "change_priority a 3 0", "0 0"),
    ("no priority any more", "job @a priority 3;ZADD @prioritized 3 a", "change_priority a 0 0", "0 0"),
    ("a delayed job is cancelled", "job @a delay 9;ZADD @delayed 9000000000000000 a", "cancel_job a why", "0 0"),
    ("a parent that waits is cancelled", "job @a;ZADD @waiting-children 1 a", "cancel_job a why", "0 0"),
    ("promoted", "job @a delay 9;ZADD @delayed 9000000000000000 a", "promote_job a", "0 0"),
    ("promoted with a priority", "job @a delay 9 priority 3;ZADD @delayed 9000000000000000 a", "promote_job a", "0 0"),
    ("retried", "job @a;ZADD @failed 1 a", "retry_job a failed 0 0", "0 0"),
    ("retried with a priority", "job @a priority 3;ZADD @completed 1 a", "retry_job a completed 0 0", "0 0"),
    ("all failed jobs are retried", "job @a;ZADD @failed 1 a", "requeue_jobs failed +inf 100", "0 0"),
    ("all by their priority", "job @a priority 3;ZADD @failed 1 a", "requeue_jobs failed +inf 100 1", "0 0"),
    ("all completed jobs are retried", "job @a;ZADD @completed 1 a", "requeue_jobs completed +inf 100", "0 0"),
    (
        "all delayed jobs are promoted",
        "job @a;ZADD @delayed 9000000000000000 a",
        "requeue_jobs delayed +inf 100",
        "0 0",
    ),
    ("resumed", "HSET @meta paused 1;LPUSH @wait a", "resume", "0 0"),
    ("resumed with priorities", "HSET @meta paused 1;ZADD @prioritized 1 a", "resume", "0 0"),
    ("resumed with a list of version 5", "HSET @meta paused 1;LPUSH @paused a", "resume", "0 0"),
    ("resumed with delayed jobs", "HSET @meta paused 1;job @a;ZADD @delayed 6963200002048000 a", "resume", "1 soon"),
    ("resumed with nothing", "HSET @meta paused 1", "resume", ""),
    ("paused", "ZADD @marker 0 0;LPUSH @wait a", "pause", ""),
    (
        "a higher global concurrency",
        "HSET @meta concurrency 1;LPUSH @active a;LPUSH @wait b",
        "tune_queue concurrency 2",
        "0 0",
    ),
    (
        "no global concurrency",
        "HSET @meta concurrency 1;LPUSH @active a;ZADD @prioritized 1 b",
        "tune_queue concurrency ''",
        "0 0",
    ),
    ("a global concurrency that is used up", "LPUSH @active a;LPUSH @wait b", "tune_queue concurrency 1", ""),
    ("no global rate limit", "HSET @meta max 1 duration 9;LPUSH @wait b", "tune_queue max '' duration ''", "0 0"),
    ("the window of a rate limit is ended", "SET @limiter 9 PX 9000;LPUSH @wait b", "remove_rate_limit_key", "0 0"),
    ("there was no window", "LPUSH @wait b", "remove_rate_limit_key", ""),
    (
        "an active job is removed",
        "HSET @meta concurrency 1;job @a;LPUSH @active a;LPUSH @wait b",
        "remove_job a alone 1",
        "0 0",
    ),
    (
        "an active child is removed with its parent",
        "HSET %meta concurrency 1;job @a;SADD @a:dependencies %c;job %c;LPUSH %active c;LPUSH %wait b;ZADD @waiting-children 1 a",
        "remove_job a tree 1",
        "%0 0",
    ),
    (
        "an active job is cleaned",
        "HSET @meta concurrency 1;job @a;LPUSH @active a;LPUSH @wait b",
        "clean active now 9 0 0",
        "0 0",
    ),
    (
        "an active job is removed by a filter",
        "HSET @meta concurrency 1;job @a;LPUSH @active a;LPUSH @wait b",
        "remove_jobs '' active desc '' '' 9 9 '' '' '' '' '' '' ''",
        "0 0",
    ),
    (
        "a waiting job is moved to another queue",
        "job @a;LPUSH @wait a",
        "remove_jobs % wait desc '' '' 9 9 '' '' '' '' '' '' ''",
        "%0 0",
    ),
    (
        "a delayed job is moved to another queue",
        "job @a;ZADD @delayed 6963200002048000 a",
        "remove_jobs % delayed asc '' '' 9 9 '' '' '' '' '' '' ''",
        "%1 soon",
    ),
    (
        "a job with a priority is moved to another queue",
        "job @a priority 3;ZADD @prioritized 1 a",
        "remove_jobs % prioritized asc '' '' 9 9 '' '' '' '' '' '' ''",
        "%0 0",
    ),
    ("a job that was active without a lock", "job @a;LPUSH @active a", "mend_job active a '' now", "0 0"),
    ("a job that was nowhere", "job @a", "mend_job lost a '' now", "0 0"),
    ("what version 5 had set aside", "job @a;LPUSH @paused a", "mend_job paused '' '' now", "0 0"),
    (
        "a parent whose children are gone",
        "job @a;SADD @a:dependencies x;ZADD @waiting-children 1 a",
        "mend_job parent a '' now",
        "0 0",
    ),
    ("a parent that has no children left", "job @a;ZADD @waiting-children 1 a", "mend_job parent a '' now", "0 0"),
    ("a job that was nowhere and is not yet due", "job @a delay 500 timestamp now", "mend_job lost a '' now", "1 soon"),
    ("a job that was nowhere and has ended", "job @a finishedOn 5", "mend_job lost a '' now", ""),
    ("a marker is given back", "LPUSH @wait a;ZADD @delayed 6963200002048000 b", "wake_workers", "0 0 1 soon"),
];

/// What no worker waits for: these read, or change nothing that can be fetched.
const NOTHING_TO_FETCH: &str = "waits_for adopt_jobs trace_outcomes trace_flow extend_locks save_progress update_data add_log list_jobs scan_jobs summarize_queue \
    list_schedulers remove_scheduler find_stopped_schedulers \
    count_jobs count_priorities get_state get_status is_maxed get_rate_limit_ttl get_metrics get_job_logs count_children \
    open_queue free_deduplication remove_orphans examine_jobs probe_jobs find_finish find_ready read_finished publish_event save_cursor \
    grow_partitions";

#[tokio::test]
async fn whatever_makes_work_possible_writes_the_marker() {
    let engine = in_database(2, "markers", "q").await;
    let mut called: BTreeSet<&str> = NOTHING_TO_FETCH.split_whitespace().collect();
    let mut wrong = Vec::new();
    for (what, before, call, expected) in [ADDS, FLOWS, ENDS, PARENTS, ADMIN].concat() {
        let (name, arguments) = call.split_once(' ').unwrap_or((call, ""));
        let script = ALL.iter().find(|script| script.name == name).unwrap_or_else(|| panic!("{name}: no such script"));
        called.insert(name);
        engine.redis("FLUSHDB").await;
        // Both ways of one job: settings that are there allow the short one.
        engine.redis("HSET @meta opts.maxLenEvents 10000").await;
        for line in before.replace("CHILD", CHILD).split(';').map(str::trim).filter(|line| !line.is_empty()) {
            set_up(&engine, line).await;
        }
        let mut args = Args::default();
        for word in arguments.split_whitespace() {
            args.text(expand(if word == "''" { "" } else { word }));
        }
        script.run(&engine.link, &engine.keys, &args).await.unwrap_or_else(|failure| panic!("{what}: {failure:?}"));
        let (key, expected) = match expected.strip_prefix('%') {
            Some(expected) => ("markers:other:marker", expected),
            None => ("markers:q:marker", expected),
        };
        let marker = engine.says(&format!("ZRANGE {key} 0 -1 WITHSCORES")).await;
        if marker != expected.replace("soon", &(NOW + 500).to_string()) {
            wrong.push(format!("{what}: {call}: {marker:?} in place of {expected:?}"));
        }
    }
    assert!(wrong.is_empty(), "{} transitions:\n{}", wrong.len(), wrong.join("\n"));
    let all: BTreeSet<&str> = ALL.iter().map(|script| script.name).collect();
    assert_eq!(called, all, "each script stands in the table, or is said to make nothing possible");
}

async fn set_up(engine: &Engine, line: &str) {
    let mut words: Vec<String> = line.split(' ').map(expand).collect();
    if words[0] == "job" {
        "HSET".clone_into(&mut words[0]);
        for (field, value) in
            [("name", "n"), ("data", "{}"), ("opts", "{}"), ("timestamp", "1"), ("delay", "0"), ("priority", "0")]
        {
            if !words.iter().any(|word| word == field) {
                words.extend([field.to_owned(), value.to_owned()]);
            }
        }
    }
    string(engine.redis_words(&words).await);
}

fn expand(word: &str) -> String {
    let word = word.replace('@', "markers:q:").replace('%', "markers:other:").replace('\'', "\"");
    let word = word.replace('$', "markers:other").replace('&', "markers:q");
    word.replace("now", &NOW.to_string()).replace("soon", &(NOW + 500).to_string())
}
