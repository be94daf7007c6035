//! Writing to a job that exists: `lua/save_progress.lua`, `lua/update_data.lua`, `lua/add_log.lua`.

use redis::Value;

use super::{Args, Script, script};
use crate::error::Reason;

pub(crate) static PROGRESS: Script = script!("save_progress", Produces, uses: ["codes", "queue", "settings", "is_job"]);
pub(crate) static DATA: Script = script!("update_data", Produces, uses: ["codes", "queue", "is_job"]);
pub(crate) static LOG: Script = script!("add_log", Produces, uses: ["codes", "queue", "is_job"]);

/// Pairs of a job's id and a text.
pub(crate) fn pairs(items: &[(&str, &str)]) -> Args {
    let mut args = Args::with_capacity(items.len() * 2, items.iter().map(|(id, text)| id.len() + text.len()).sum());
    for (id, text) in items {
        args.text(id).text(text);
    }
    args
}

pub(crate) fn log_args(id: &str, keep: u32, lines: &[&str]) -> Args {
    let mut args = Args::default();
    args.text(id).number(keep);
    for line in lines {
        args.text(line);
    }
    args
}

/// One code per item, in order.
pub(crate) fn codes(value: Value) -> Option<Vec<Result<i64, Reason>>> {
    let Value::Array(items) = value else { return None };
    items.into_iter().map(code).collect()
}

/// A number, or the refusal that a negative one stands for.
pub(crate) fn code(value: Value) -> Option<Result<i64, Reason>> {
    match value {
        Value::Int(code) => Some(Reason::from_code(code).map(|()| code)),
        _ => None,
    }
}
