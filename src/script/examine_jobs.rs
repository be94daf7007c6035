//! Finds out what is wrong with jobs: `lua/examine_jobs.lua`; and reads what the doctor asks the server.

use redis::Value;

use super::{Call, Resend, Script, reply, script};
use crate::keys::QueueKeys;

pub(crate) static SCRIPT: Script =
    script!("examine_jobs", Produces, uses: ["queue", "states", "whereabouts", "is_job"]);

/// A job in no list and no set.
pub(crate) const LOST: u64 = 1;
/// A lock of a job that is not active.
pub(crate) const LOCKED: u64 = 2;
/// Parts of a job that does not exist.
pub(crate) const PARTS: u64 = 4;

/// Returns the sum of what is wrong for each of these ids, as far as they were looked at.
pub(crate) fn examine_jobs(ids: &[String]) -> Call<Vec<u64>> {
    Call::to(&SCRIPT).texts(ids).resend(Resend::Reads).read_each(ids.len(), |value, most| {
        let [looked_at, answers] = reply::tuple(value)?;
        let answers = reply::counts(answers)?;
        let looked_at = usize::try_from(reply::unsigned(&looked_at)?).ok()?;
        (looked_at == answers.len() && (1..=most).contains(&looked_at)).then_some(answers)
    })
}

/// Returns whether an id is in a list or a set.
pub(crate) fn is_in(keys: &QueueKeys, state: &str, is_list: bool, id: &str) -> Call<bool> {
    let call = Call::command("doctor", if is_list { "LPOS" } else { "ZSCORE" }).text(keys.key(state)).text(id);
    call.resend(Resend::Reads).read(|value| Some(value != Value::Nil))
}

/// Returns how many bytes of memory a key takes, with all its elements: a sample could miss the one field that is
/// large. 0 if the key does not exist.
pub(crate) fn memory_of(key: &str) -> Call<u64> {
    let call = Call::command("doctor", "MEMORY").text("USAGE").text(key).text("SAMPLES").text("0");
    call.resend(Resend::Reads).read(|value| if value == Value::Nil { Some(0) } else { reply::unsigned(&value) })
}

/// Returns the job that a deduplication stands for.
pub(crate) fn owner_of(keys: &QueueKeys, deduplication_id: &str) -> Call<Option<String>> {
    let call = Call::command("doctor", "GET").text(keys.key(&format!("de:{deduplication_id}")));
    call.resend(Resend::Reads).read(reply::maybe_text)
}

/// Returns how long a deduplication still lasts, in ms; −1 without an end.
pub(crate) fn ttl_of(keys: &QueueKeys, deduplication_id: &str) -> Call<i64> {
    let call = Call::command("doctor", "PTTL").text(keys.key(&format!("de:{deduplication_id}")));
    call.resend(Resend::Reads).read(reply::int)
}

/// Returns the type of a key of the queue.
pub(crate) fn type_of(keys: &QueueKeys, name: &str) -> Call<String> {
    Call::command("doctor", "TYPE").text(keys.key(name)).resend(Resend::Reads).read(reply::text)
}

/// Counts the events in the stream.
pub(crate) fn count_events(keys: &QueueKeys) -> Call<u64> {
    Call::command("doctor", "XLEN").text(keys.events()).resend(Resend::Reads).read(reply::count)
}

/// Returns the server's time in ms.
pub(crate) fn server_time() -> Call<u64> {
    Call::command("doctor", "TIME").resend(Resend::Reads).read(|value| {
        let [seconds, micros] = reply::tuple(value)?;
        Some(reply::unsigned(&seconds)?.saturating_mul(1_000) + reply::unsigned(&micros)? / 1_000)
    })
}

/// Returns the section `memory` of `INFO`.
pub(crate) fn memory_info() -> Call<String> {
    Call::command("doctor", "INFO").text("memory").resend(Resend::Reads).read(reply::text)
}

/// Returns the name of a job.
pub(crate) fn name_of(key: &str) -> Call<Option<String>> {
    Call::command("doctor", "HGET").text(key).text("name").resend(Resend::Reads).read(reply::maybe_text)
}

/// A slow call that the server has recorded.
#[derive(Debug)]
pub(crate) struct SlowCall {
    /// When it was run, in seconds.
    pub(crate) at_s: u64,
    pub(crate) us: u64,
    /// The command and the first of its arguments.
    pub(crate) words: Vec<String>,
}

/// Returns the newest slow calls that the server has recorded.
pub(crate) fn slow_log() -> Call<Vec<SlowCall>> {
    Call::command("doctor", "SLOWLOG").text("GET").text("128").resend(Resend::Reads).read(|value| {
        let entry = |entry: Value| {
            let mut parts = reply::array(entry)?.into_iter().skip(1);
            let at_s = reply::unsigned(&parts.next()?)?;
            Some(SlowCall { at_s, us: reply::unsigned(&parts.next()?)?, words: reply::texts(parts.next()?)? })
        };
        reply::array(value)?.into_iter().map(entry).collect()
    })
}

/// A kind of latency spike that the server's latency monitor has recorded.
#[derive(Debug)]
pub(crate) struct LatencyEvent {
    pub(crate) name: String,
    /// When it happened last, in seconds.
    pub(crate) at_s: u64,
    /// The longest one, in ms.
    pub(crate) most_ms: u64,
}

/// Returns what the latency monitor has recorded; nothing if it is off.
pub(crate) fn latency_events() -> Call<Vec<LatencyEvent>> {
    Call::command("doctor", "LATENCY").text("LATEST").resend(Resend::Reads).read(|value| {
        let entry = |entry: Value| {
            let mut parts = reply::array(entry)?.into_iter();
            let (name, at_s) = (reply::text(parts.next()?)?, reply::unsigned(&parts.next()?)?);
            Some(LatencyEvent { name, at_s, most_ms: reply::unsigned(&parts.nth(1)?)? })
        };
        reply::array(value)?.into_iter().map(entry).collect()
    })
}
