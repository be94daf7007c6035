//! Deleting jobs that are nowhere: `lua/remove_orphans.lua`, and the search for them.

use redis::Value;

use super::{Call, Repeat, Script, reply, script};
use crate::keys::QueueKeys;

pub(crate) static SCRIPT: Script = script!("remove_orphans", Consumes, uses: ["queue", "states", "delete"]);

/// Answers how many of these jobs were looked at, and how many were deleted.
pub(crate) fn remove_orphans(ids: &[String]) -> Call<(u64, u64)> {
    Call::to(&SCRIPT).texts(ids).repeat(Repeat::Safe).read_each(ids.len(), |value, most| {
        reply::two_counts(value).filter(|(seen, _)| (1..=most as u64).contains(seen))
    })
}

/// Looks at some keys of the server, and answers those of this queue and the cursor of the next step.
pub(crate) fn scan_keys(keys: &QueueKeys, cursor: &str, count: u32) -> Call<(String, Vec<String>)> {
    let call = Call::command("remove_orphaned_jobs", "SCAN").text(cursor).text("MATCH").text(glob(keys.base()));
    call.text("COUNT").number(count).repeat(Repeat::Reads).read(scanned)
}

/// A `MATCH` pattern for every key that begins with `base`.
fn glob(base: &str) -> String {
    let mut pattern = String::with_capacity(base.len() + 8);
    for letter in base.chars() {
        if matches!(letter, '*' | '?' | '[' | ']' | '\\') {
            pattern.push('\\');
        }
        pattern.push(letter);
    }
    pattern + "*"
}

/// Keys that are not UTF-8 are none of ours.
fn scanned(value: Value) -> Option<(String, Vec<String>)> {
    let [cursor, keys] = reply::tuple(value)?;
    let keys = reply::array(keys)?.into_iter().filter_map(reply::string).collect();
    Some((reply::string(cursor)?, keys))
}
