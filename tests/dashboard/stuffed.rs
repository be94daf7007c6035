//! A queue whose every field holds something of the test's own, as anybody who can write to Redis may put there.

use crate::common::fixture::Fixture;

/// What stands in the fields.
pub(crate) struct Stuffing<'a> {
    /// What the ids of the jobs end with.
    pub(crate) tag: &'a str,
    /// In each field that holds JSON.
    pub(crate) json: &'a str,
    /// In each field that holds a text, and as each line of the logs.
    pub(crate) text: &'a str,
    /// As the name of the jobs.
    pub(crate) name: &'a str,
}

/// The lists and sets of a queue, each with the name of its state.
pub(crate) const STATES: [(&str, &str); 7] = [
    ("wait", "waiting"),
    ("active", "active"),
    ("delayed", "delayed"),
    ("prioritized", "prioritized"),
    ("completed", "completed"),
    ("failed", "failed"),
    ("waiting-children", "waiting-children"),
];

/// The fields of a job, and one that no library knows.
pub(crate) const FIELDS: [&str; 18] = [
    "name",
    "data",
    "opts",
    "progress",
    "returnvalue",
    "failedReason",
    "defa",
    "stacktrace",
    "deid",
    "pb",
    "rjk",
    "nrjid",
    "theirs",
    "password",
    "timestamp",
    "delay",
    "priority",
    "attemptsMade",
];

impl Stuffing<'_> {
    /// Adds a job in each state, `<list>-<tag>`: a family, a log and the settings of the queue among them.
    pub(crate) async fn fill(&self, fixture: &Fixture) {
        let Self { tag, json, text, name } = *self;
        let mut pipe = redis::pipe();
        for (list, _) in STATES {
            let id = format!("{list}-{tag}");
            let job = fixture.key(&id);
            let opts =
                serde_json::json!({ "attempts": 3, "telemetry": { "metadata": text }, "mine": { "pass": text } });
            let (opts, traces) = (opts.to_string(), serde_json::json!([text]).to_string());
            for field in FIELDS {
                let value = match field {
                    "name" => name,
                    "data" | "progress" | "returnvalue" => json,
                    "opts" => &opts,
                    "stacktrace" => &traces,
                    "timestamp" => "1700000000000",
                    "delay" | "priority" | "attemptsMade" => "0",
                    _ => text,
                };
                pipe.hset(&job, field, value);
            }
            pipe.hset(&job, "processedOn", "1700000000000").hset(&job, "finishedOn", "1700000000001");
            pipe.rpush(format!("{job}:logs"), text);
            match list {
                "wait" | "active" => pipe.rpush(fixture.key(list), &id),
                _ => pipe.zadd(fixture.key(list), &id, 1),
            };
        }
        let parent = fixture.key(&format!("waiting-children-{tag}"));
        pipe.sadd(format!("{parent}:dependencies"), fixture.key(&format!("wait-{tag}")));
        pipe.hset(format!("{parent}:processed"), fixture.key(&format!("completed-{tag}")), json);
        pipe.hset(format!("{parent}:failed"), fixture.key(&format!("failed-{tag}")), text);
        pipe.hset(fixture.key("meta"), "version", text).hset(fixture.key("meta"), "theirs", text);
        let scheduler = fixture.key(&format!("repeat:often-{tag}"));
        let template = serde_json::json!({ "telemetry": { "metadata": text } }).to_string();
        let fields =
            [("name", name), ("data", json), ("opts", &template), ("pattern", "0 3 1 1 *"), ("tz", text), ("ic", "1")];
        pipe.hset_multiple(&scheduler, &fields);
        pipe.zadd(fixture.key("repeat"), format!("often-{tag}"), "4000000000000");
        pipe.exec_async(&mut fixture.redis.clone()).await.unwrap();
    }
}
