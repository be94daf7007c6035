//! What an operation answered, in a form that two implementations can be compared by.

use serde_json::Value as Json;

use crate::common::dump::{canonical_json, trace_message};

/// What an operation answered.
#[derive(Clone, Debug)]
pub enum Reply {
    /// It was done.
    Ok(Json),
    /// It was refused.
    Err {
        /// The code of the script; none for a refusal by the client.
        code: Option<i64>,
        /// Its text; not compared, each implementation has its own.
        message: String,
    },
}

impl Reply {
    /// A success, with the prefix cut out of all texts, and numbers and stack traces in one form.
    pub fn ok(value: &Json, prefix: &str) -> Self {
        let mut value = canonical_json(value.clone());
        strip(&mut value, &format!("{prefix}:"));
        Self::Ok(value)
    }

    /// A refusal.
    pub fn err(code: Option<i64>, message: impl Into<String>) -> Self {
        Self::Err { code, message: message.into() }
    }

    /// The id of a job that this reply hands to a worker.
    pub fn fetched(&self) -> Option<String> {
        let Self::Ok(value) = self else { return None };
        let id = value.pointer("/job/id").or_else(|| value.get("next"));
        id.and_then(Json::as_str).map(str::to_owned)
    }
}

/// Two refusals are the same if their codes are.
impl PartialEq for Reply {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Ok(a), Self::Ok(b)) => a == b,
            (Self::Err { code: a, .. }, Self::Err { code: b, .. }) => a == b,
            _ => false,
        }
    }
}

fn strip(value: &mut Json, prefix: &str) {
    match value {
        Json::String(text) => *text = text.replace(prefix, ""),
        Json::Array(items) => items.iter_mut().for_each(|item| strip(item, prefix)),
        Json::Object(fields) => {
            for (name, mut value) in std::mem::take(fields) {
                strip(&mut value, prefix);
                if name == "stacktrace"
                    && let Json::Array(traces) = &mut value
                {
                    for trace in traces {
                        *trace = Json::from(trace_message(trace.as_str().unwrap_or_default()));
                    }
                }
                fields.insert(name.replace(prefix, ""), value);
            }
        }
        _ => {}
    }
}
