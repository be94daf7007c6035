//! Numbers and names of the steps as types of oxmq, and back.

use super::*;

pub(super) fn whole(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).expect("not so long")
}

pub(super) fn ms(at: SystemTime) -> u64 {
    u64::try_from(at.duration_since(UNIX_EPOCH).expect("after 1970").as_millis()).expect("not so late")
}

pub(super) fn span(ms: i64) -> Result<Duration, Refusal> {
    u64::try_from(ms).map(Duration::from_millis).or_else(|_| refuse("a span of time is not negative"))
}

pub(super) fn moment(ms: i64) -> Result<SystemTime, Refusal> {
    Ok(UNIX_EPOCH + span(ms)?)
}

pub(super) fn number(n: u64) -> Result<u32, Refusal> {
    u32::try_from(n).or_else(|_| refuse("the number is too large"))
}

pub(super) fn state(name: &str) -> Result<JobState, Refusal> {
    name.parse().or_else(|error: oxmq::job::UnknownState| refuse(error.to_string()))
}

pub(super) fn order(ascending: bool) -> Order {
    if ascending { Order::Ascending } else { Order::Descending }
}

pub(super) fn states(names: &[String]) -> Result<Vec<JobState>, Refusal> {
    names.iter().map(|name| state(name)).collect()
}
