//! A key that holds another Redis type than it should: a script either does without it, or it fails before it has
//! written anything. Tried for every script, with every key of a busy queue and of its jobs.

use std::collections::{BTreeMap, BTreeSet};

use redis::Value;

use super::super::{ALL, Args, Script, settle};
use crate::connection::CallFailure;
use crate::engine::Engine;
use crate::engine::testing::{NOW, in_database};

/// A queue with a job in every state, and a parent in another queue. `@` stands for the base key, `%` for the other
/// queue's, `now` for the time.
const FIXTURE: &str = r"
HSET @meta opts.maxLenEvents 10000
SET @id 20
SET @pc 7
HSET @oxmq:cursors cursor:mine 4-0
HSET @oxmq:partitions count 4
SET @limiter 1 PX 60000
XADD @events 1-1 event waiting jobId w1
ZADD @marker 0 0
LPUSH @wait w1 w2
LPUSH @paused x1
LPUSH @active a1 a2 a3 a4 a5
SADD @stalled a2
ZADD @delayed 0 d1 9000000000000000 d2
ZADD @prioritized 8589934598 p1
ZADD @completed now c1 now c2
ZADD @failed now f1
ZADD @waiting-children now par
ZADD @repeat 1800000000000 s1
HSET @repeat:s1 ic 1
ZADD @repeat 1800000000000 s2
HSET @repeat:s2 name n
ZADD @delayed 9000000000000000 repeat:s2:1800000000000
ZADD @repeat 1800000000000 s3
HSET @repeat:s3 ic 2 name n running repeat:s3:1700000000000
job @repeat:s3:1700000000000
ZADD @delayed 9000000000000000 repeat:s3:1700000000000
job @repeat:s3:1800000000000
LPUSH @active repeat:s3:1800000000000
SET @repeat:s3:1800000000000:lock t
job @repeat:s2:1800000000000 deid two
HSET @metrics:completed count 3 prevTS 1600000000000 prevCount 1
LPUSH @metrics:completed:data 1
HSET @metrics:failed count 3 prevTS 1600000000000 prevCount 1
LPUSH @metrics:failed:data 1
job @w1
job @w2
job @x1
job @a1 atm 0 ats 1 deid one parentKey @par parent {'id':'par','queueKey':'$','fpof':true}
SET @a1:lock t
RPUSH @a1:logs line
SET @de:one a1
HSET @dn:one name n data {} opts {} jid next
job @a2 ats 1 stc 0
job @a3 ats 1 parentKey %mum parent {'id':'mum','queueKey':'&','cpof':true}
SET @a3:lock t
job @a4 ats 1
SET @a4:lock t
SADD @a4:dependencies @w1
job @a5 ats 1
SET @a5:lock t
job @d1
job @d2 deid two
SET @de:two d2
job @p1 priority 2
job @c1 returnvalue 1 finishedOn now parentKey @par
job @c2 returnvalue 1 finishedOn now
job @f1 failedReason no finishedOn now parentKey @par deid three
SET @de:three f1
job @par
SADD @par:dependencies @a1
HSET @par:processed @c1 1
HSET @par:failed @f1 no
ZADD @par:unsuccessful 5 @gone
HSET %meta opts.maxLenEvents 10000
ZADD %waiting-children now mum now dad
job %dad
job %mum priority 3
SADD %mum:dependencies @a3
";

const QUEUE_KEYS: &str = "wait active prioritized delayed marker meta events pc id limiter paused completed failed \
    oxmq:partitions waiting-children stalled stalled-check repeat de:one de:two de:new dn:one dn:two dn:new repeat:s1 repeat:s2 \
    repeat:s2:1800000000000 metrics:completed metrics:completed:data metrics:failed metrics:failed:data";
const JOBS: &str = "@w1 @w2 @x1 @a1 @a2 @a3 @a4 @a5 @d1 @d2 @p1 @c1 @f1 @par @new @next %mum %dad";
const JOB_KEYS: [&str; 7] = ["", ":lock", ":logs", ":dependencies", ":processed", ":failed", ":unsuccessful"];

/// One call of every script for each way through it: its name and arguments, separated by spaces; `''` is empty. `~` in
/// front: nothing is delayed or prioritized, so that the short ways are taken.
const CALLS: &str = r#"
add_jobs w '' n {} {} now p '' n {} {} now 0 3 d '' n {} {} now 50 0 c new n {} {} now 0 0
add_jobs w '' n {} {} now
add_jobs l new n {} {} now
add_jobs wP '' n {} {} now 0 0 @par {}
add_jobs wP w1 n {} {} now 0 0 @par {}
add_jobs wP c1 n {} {} now 0 0 %mum {}
add_jobs wP c1 n {} {} now 0 0 %dad {}
add_jobs wP new n {} {} now 0 0 %mum {}
add_jobs wD '' n {} {} now 0 0 new 500 ''
add_jobs wD '' n {} {} now 0 0 one '' k
add_jobs dD '' n {} {} now 50 0 two '' r
add_jobs dD '' n {} {} now 50 0 two 500 es
add_flow now 2 @ % 1 1 '' '' c root n {} {} now 0 0 2 1 @root {} w kid n {} {} now 0 0 1 1 @root {} d late n {} {} now 50 0
add_flow now 2 @ % 1 1 %mum {} c root n {} {} now 0 0 2 1 @root {} p kid n {} {} now 0 3 1 1 @root {} w c1 n {} {} now 0 0
add_flow now 1 @ 1 1 %dad {} w c2 n {} {} now 0 0
add_flow now 1 @ 1 2 '' '' wD lone n {} {} now 0 0 new 500 '' dD late n {} {} now 50 0 two '' r
add_flow now 2 @ % 1 2 '' '' c new n {} {} now 0 0 l lone n {} {} now 0 0 2 1 @new {} w next n {} {} now 0 0
trace_flow w1 1000 100
trace_flow gone 1000 100
settle now 10 u 30000 me 5 1000 15
~settle now 1 u 30000 '' '' '' ''
~settle now 1 u 30000 me '' '' '' completed a5 t 1 -1
settle now 1 u 30000 me '' '' '' completed a5 t 1 -1
~settle now 1 u 30000 me '' '' '' done t 1 1 a5 1
~settle now 0 u 30000 me '' '' '' done t 1 1 a5 1
~settle now 3 u 30000 me '' '' '' done t 1 1 a5 1
settle now 10 u 30000 me '' '' '' done t 1 1 a5 1
settle now 10 u 30000 me '' '' '' done t 1 4 a1 1 a3 1 a4 1 a5 1 waiting a1 t
settle now 10 u 30000 me '' '' '' ruled t 1 2 0 a1 1 a5 1 ruled t 1 1 1,0,100 a3 1
~settle now 0 u 30000 me '' '' '' ruled t 1 1 0 a5 1
settle now 1 u 30000 '' 5 1000 15 completed a5 t 1 0
settle now 10 u 30000 '' '' '' '' completed a1 t 1 -1
settle now 0 u 30000 '' '' '' 15 completed a1 t 1 0 completed a3 t 1 1,0,100
settle now 0 u 30000 '' '' '' 15 failed a1 t no [] -1 1 '' failed a3 t no [] 0 1 ''
settle now 0 u 30000 '' '' '' '' failed a3 t no [] 1,0,100 1 ''
settle now 1 u 30000 '' '' '' '' retry a1 t no [] 0 ''
settle now 0 u 30000 '' '' '' '' delayed a1 t no [] 500 1 ''
settle now 0 u 30000 '' '' '' '' waiting a1 t
settle now 0 u 30000 '' '' '' '' children a4 t ''
adopt_jobs t 30000 0 a3
adopt_jobs t 30000 1 a3
trace_outcomes a1 t 1 a2 t 1
extend_locks 30000 a1 t a2 t
recover_stalled now 30000 1 ''
recover_stalled now 30000 1 marked
recover_stalled now 30000 1 2000
wake_workers
advance_scheduler s1 repeat:s1:1800000000000 now '' 60000 '' {"a":1} 3 0 new 0
advance_scheduler s1 repeat:s1:1800000000000 now now '' '' {"a":1} 0 1 '' 0
advance_scheduler s2 repeat:s2:1800000000000 now '' 5000 '' {"a":1} 0 0 '' 0
upsert_scheduler s1 now '' 60000 '' '' n {} {"a":1} 0 0 '' 0 name n every 60000
upsert_scheduler s2 now now '' '' '' n {} {"a":1} 3 0 new 5 name n pattern p
upsert_scheduler s3 now '' 5000 '' '' n {} {"a":1} 0 1 '' 0 name n every 5000
remove_scheduler s2
list_schedulers asc 0 -1
list_schedulers one s1
find_stopped_schedulers 1900000000000 1000 0
find_ready a 5
advance_scheduler s1 repeat:s1:1800000000000 now '' 60000 '' {"a":1} 3 0 new 0 1
advance_scheduler s1 repeat:s1:1800000000000 now '' 60000 '' {"a":1} 3 0 new 0 2
advance_scheduler s3 repeat:s3:1800000000000 now '' 60000 '' {"a":1} 0 0 '' 0 0 3 t 0
advance_scheduler s3 repeat:s3:1800000000000 now '' '' '' {} 0 0 '' 0 0 0 t 1
save_progress a1 50 w1 60
update_data a1 5 w1 6
add_log a1 3 more
list_jobs jobs asc 1000 wait 0 -1 '' completed 0 -1 '' delayed 0 -1 5
list_jobs ids desc 1000 paused 0 -1 '' prioritized 0 -1 ''
scan_jobs jobs wait desc '' '' 100 100 '' '' '' n '' '' ''
scan_jobs ids paused asc '' '' 100 100 '' '' '' '' '' '' ''
scan_jobs count failed asc '' '' 100 100 '' '' now '' * {} no
scan_jobs ids prioritized desc '' '' 100 100 '' '' '' '' p1 '' ''
summarize_queue 60 10 now
count_jobs wait paused active delayed completed
count_priorities 0 2
get_state a1
get_state par
get_status a1
get_status par
is_maxed
get_rate_limit_ttl 0
get_metrics completed 0 -1
get_job_logs a1 0 -1
count_children par
waits_for par 10 100 ''
waits_for par 10 100 0
open_queue bullmq:1 ''
pause
resume
tune_queue concurrency 5 max ''
remove_rate_limit_key
cancel_job a1 why
cancel_job d1 why
cancel_job par why
promote_job d1
change_delay d2 500 now
change_priority w1 4 0
change_priority p1 0 1
retry_job f1 failed 1 1
retry_job c1 completed 0 0
requeue_jobs failed +inf 100
requeue_jobs completed +inf 100
requeue_jobs delayed +inf 100
requeue_jobs failed +inf 100 1
requeue_jobs delayed +inf 100 1
remove_job f1 alone 1
remove_job d2 alone 1
remove_job c1 tree 1
remove_job par tree 1
remove_job par unprocessed 1
remove_jobs '' failed asc '' '' 100 100 '' '' now '' '' '' ''
remove_jobs '' wait desc '' '' 100 100 '' '' '' '' '' '' ''
remove_jobs '' active desc '' '' 100 100 '' '' '' '' '' '' ''
remove_jobs '' delayed asc '' '' 100 100 '' '' '' '' '' '' ''
remove_jobs % wait desc '' '' 100 100 '' '' '' '' w2 '' ''
remove_jobs % delayed asc '' '' 100 100 '' '' '' '' d1 '' ''
remove_jobs % prioritized asc '' '' 100 100 '' '' '' '' '' '' ''
remove_jobs % completed asc '' '' 100 100 '' '' '' '' c2 '' ''
remove_child a3 %mum
remove_child a1 @par
drain 0 wait paused delayed prioritized
clean completed now 100 0 0
clean failed now 100 0 0
clean wait now 100 0 0
clean active now 100 0 0
clean delayed now 100 0 0
obliterate 100 1
free_deduplication a1 one
remove_orphans next new w1
examine_jobs next new w1 a1 f1
probe_jobs w1 gone a1
mend_job id gone wait now
mend_job id gone failed now
mend_job lock w1 '' now
mend_job parts new '' now
mend_job owner one '' now
mend_job active a2 '' now
mend_job lost next '' now
mend_job paused '' '' now
mend_job parent par '' now
read_finished c1 f1 w1
find_finish + 500 c1 f1 w1
publish_event mine a b
save_cursor mine 5 0
grow_partitions 8 0
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_of_a_wrong_type_is_met_before_anything_is_written() {
    let engine = in_database(1, "types", "q").await;
    let fixture: Vec<Vec<String>> = FIXTURE.trim().lines().map(command).collect();
    let fixture = serde_json::to_string(&fixture).unwrap();
    let keys: Vec<String> = QUEUE_KEYS
        .split_whitespace()
        .flat_map(|key| [format!("@{key}"), format!("%{key}")])
        .chain(JOBS.split(' ').flat_map(|job| JOB_KEYS.map(|part| format!("{job}{part}"))))
        .collect();
    let mut violations = Vec::new();
    let mut called = BTreeSet::new();
    for call in CALLS.trim().lines() {
        let (script, arguments) = parse(call);
        let name = script.name;
        called.insert(name);
        reset(&engine, &fixture, call, "").await;
        if let Err(failure) = script.run(&engine.link, &engine.keys, &arguments).await {
            panic!("{call}: fails without a wrong type: {}", failure.to_error(script.name));
        }
        for key in &keys {
            // What does not reach the other queue need not be tried with its keys.
            if key.starts_with('%') && !["a3", "%", "obliterate"].iter().any(|word| call.contains(word)) {
                continue;
            }
            let bad = expand(key);
            reset(&engine, &fixture, call, &bad).await;
            let wrong = engine.redis_words(&["DUMP", &bad]).await;
            match script.run(&engine.link, &engine.keys, &arguments).await {
                Ok(_) => {
                    // Deleting a job takes all of its keys along, whatever they hold; a lock is written by whoever
                    // takes the job, whatever stood there.
                    let left = engine.redis_words(&["DUMP", &bad]).await;
                    if left != wrong && left != Value::Nil && !(name == "settle" && key.ends_with(":lock")) {
                        violations.push(format!("{call}\n    {key}: written anew"));
                    }
                }
                Err(CallFailure::Server(error)) => {
                    let after = dump(&engine).await;
                    reset(&engine, &fixture, call, &bad).await;
                    let before = dump(&engine).await;
                    let all = before.keys().chain(after.keys());
                    let changed: BTreeSet<&str> =
                        all.filter(|key| before.get(*key) != after.get(*key)).map(String::as_str).collect();
                    if !changed.is_empty() {
                        violations.push(format!("{call}\n    {key}: {changed:?} changed, then {error}"));
                    }
                }
                Err(failure) => panic!("{call}: {}", failure.to_error(script.name)),
            }
        }
    }
    for script in ALL {
        assert!(called.contains(script.name), "{} is not called", script.name);
    }
    assert!(violations.is_empty(), "{} violations:\n{}", violations.len(), violations.join("\n"));
}

/// What is a number where all is as it should be: strings, then fields of hashes.
const NUMBERS: &str = "@id %id @pc @limiter @stalled-check %pc
    @meta/opts.maxLenEvents @meta/concurrency @meta/max @meta/duration %meta/opts.maxLenEvents %meta/concurrency
    @metrics:completed/count @metrics:completed/prevTS @metrics:completed/prevCount @metrics:failed/prevTS
    @repeat:s1/ic @repeat:s1/every @repeat:s1/offset @w1/priority @w1/ats @w1/delay @a1/atm @a1/ats @a1/priority @a2/stc
    @a2/ats @a3/atm @d1/priority @d1/timestamp @p1/priority @par/priority @par/delay %mum/priority %mum/delay @f1/priority
    @c1/priority @f1/timestamp @f1/finishedOn @dn:one/opts %dad/priority %dad/delay";
/// What may stand there all the same. Lua reads most of them as numbers.
const ODD: [&str; 7] = ["x", "nan", "-inf", "1e300", "0.5", "99999999999999999999", "9223372036854775807"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn text_in_place_of_a_number_is_met_before_anything_is_written() {
    let engine = in_database(3, "types", "q").await;
    let fixture: Vec<Vec<String>> = FIXTURE.trim().lines().map(command).collect();
    let fixture = serde_json::to_string(&fixture).unwrap();
    let mut violations = Vec::new();
    for call in CALLS.trim().lines() {
        let (script, arguments) = parse(call);
        for place in NUMBERS.split_whitespace() {
            for odd in ODD {
                // A follower's options are JSON; the others are texts.
                let value = if place.ends_with("opts") {
                    format!(r#"{{"delay":{odd},"priority":{odd},"de":{{"ttl":{odd}}}}}"#)
                } else {
                    odd.to_owned()
                };
                let (key, field) = place.split_once('/').unwrap_or((place, ""));
                let spoil = async || {
                    reset(&engine, &fixture, call, "").await;
                    let key = expand(key);
                    let words: &[&str] = if field.is_empty() {
                        &["SET", &key, &value, "PX", "60000"]
                    } else {
                        &["HSET", &key, field, &value]
                    };
                    engine.redis_words(words).await;
                };
                spoil().await;
                let error = match script.run(&engine.link, &engine.keys, &arguments).await {
                    Ok(reply) => {
                        if script.name == "settle" && settle::settled(reply, 0).is_none() {
                            violations.push(format!("{call}\n    {place} = {value}: the reply cannot be read"));
                        }
                        continue;
                    }
                    Err(failure) => failure.to_error(script.name),
                };
                let after = dump(&engine).await;
                spoil().await;
                let before = dump(&engine).await;
                let all = before.keys().chain(after.keys());
                let changed: BTreeSet<&str> =
                    all.filter(|key| before.get(*key) != after.get(*key)).map(String::as_str).collect();
                if !changed.is_empty() {
                    violations.push(format!("{call}\n    {place} = {value}: {changed:?} changed, then {error}"));
                }
            }
        }
    }
    assert!(violations.is_empty(), "{} violations:\n{}", violations.len(), violations.join("\n"));
}

/// A call: the script and its arguments.
fn parse(call: &str) -> (&'static Script, Args) {
    let (name, args) = call.split_once(' ').unwrap_or((call, ""));
    let name = name.trim_start_matches('~');
    let script = ALL.iter().find(|script| script.name == name).unwrap_or_else(|| panic!("{name}: no such script"));
    let mut arguments = Args::default();
    for word in args.split_whitespace() {
        arguments.text(expand(if word == "''" { "" } else { word }));
    }
    (script, arguments)
}

/// The words of one line of the fixture, ready to be sent.
fn command(line: &str) -> Vec<String> {
    let mut words: Vec<String> = line.split(' ').map(|word| expand(word).replace('\'', "\"")).collect();
    if words[0] == "job" {
        words[0] = "HSET".to_owned();
        for (field, value) in
            [("name", "n"), ("data", "{}"), ("opts", "{}"), ("timestamp", "1600000000000"), ("delay", "0")]
        {
            words.extend([field.to_owned(), value.to_owned()]);
        }
        if !words.iter().any(|word| word == "priority") {
            words.extend(["priority".to_owned(), "0".to_owned()]);
        }
    }
    words
}

fn expand(word: &str) -> String {
    let word = word.replace('@', "types:q:").replace('%', "types:other:");
    let word = word.replace('$', "types:q").replace('&', "types:other");
    if word == "now" { NOW.to_string() } else { word }
}

/// The queue as the fixture says and as the script expects it, with a wrong type at the key `bad`, if it is not empty.
async fn reset(engine: &Engine, fixture: &str, call: &str, bad: &str) {
    const TEXT: &str = r"
        local fixture, line, bad = cjson.decode(ARGV[1]), ARGV[2], ARGV[3]
        redis.call('FLUSHDB')
        for _, words in ipairs(fixture) do redis.call(unpack(words)) end
        if line:find('^obliterate') then redis.call('HSET', 'types:q:meta', 'paused', '1') end
        if line:find('^~') then redis.call('DEL', 'types:q:delayed', 'types:q:prioritized') end
        if bad == '' then return end
        local kind = redis.call('TYPE', bad).ok
        local is_text = kind == 'string' or bad:find(':de:') or bad:find(':lock$') or bad:find('^[^:]*:[^:]*:id$')
            or bad:find(':pc$') or bad:find(':limiter$') or bad:find(':stalled%-check$')
        redis.call('DEL', bad)
        redis.call(is_text and 'RPUSH' or 'SET', bad, 'x')";
    engine.redis_words(&["EVAL", TEXT, "0", fixture, call, bad]).await;
}

/// Everything in the database, byte for byte.
async fn dump(engine: &Engine) -> BTreeMap<String, Vec<u8>> {
    const TEXT: &str = "local all = {} for i, key in ipairs(redis.call('KEYS', '*')) do \
        all[2 * i - 1] = key all[2 * i] = redis.call('DUMP', key) end return all";
    let pairs = crate::script::reply::pairs(engine.redis_words(&["EVAL", TEXT, "0"]).await).unwrap();
    pairs.into_iter().map(|(key, dump)| (String::from_utf8(key).unwrap(), dump)).collect()
}
