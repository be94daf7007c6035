//! Reads schedulers: `lua/list_schedulers.lua`.

use redis::Value;

use super::reply::{array, pairs, string};
use super::{Call, Resend, Script, script};
use crate::wire::job::Pair;

pub(crate) static SCRIPT: Script = script!("list_schedulers", Produces, uses: ["queue"]);

/// A scheduler as it is stored.
pub(crate) struct StoredScheduler {
    pub(crate) id: String,
    /// The time of its current run in ms, as stored.
    pub(crate) slot: String,
    /// Its hash; empty for a repeatable job of BullMQ 3 and older, and if somebody deleted it.
    pub(crate) hash: Vec<Pair>,
}

pub(crate) fn get_scheduler(scheduler: &str) -> Call<Option<StoredScheduler>> {
    Call::to(&SCRIPT).text("one").text(scheduler).resend(Resend::Reads).read(|value| Some(listed(value)?.1.pop()))
}

/// Returns the schedulers at these positions, and the position to go on at if there are more.
pub(crate) fn list_schedulers(ascending: bool, first: i64, last: i64) -> Call<(Option<i64>, Vec<StoredScheduler>)> {
    let order = if ascending { "asc" } else { "desc" };
    Call::to(&SCRIPT).text(order).number(first).number(last).resend(Resend::Reads).read(listed)
}

/// Reads schedulers as the scripts return them: id, slot and hash of each.
pub(super) fn schedulers(mut items: std::vec::IntoIter<Value>) -> Option<Vec<StoredScheduler>> {
    let mut found = Vec::with_capacity(items.len() / 3);
    while let Some(id) = items.next() {
        found.push(StoredScheduler { id: string(id)?, slot: string(items.next()?)?, hash: pairs(items.next()?)? });
    }
    Some(found)
}

fn listed(value: Value) -> Option<(Option<i64>, Vec<StoredScheduler>)> {
    let mut items = array(value)?.into_iter();
    let Value::Int(next) = items.next()? else { return None };
    Some((u64::try_from(next).is_ok().then_some(next), schedulers(items)?))
}
