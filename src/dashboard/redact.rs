//! Covering what must not be seen.

use serde_json::Value;

use super::access::Hooks;

/// Which part of a job is about to be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Field {
    /// Its data; also the data that a job scheduler gives to its jobs.
    Data,
    /// Its options.
    Options,
    /// What its processor returned; also what a child returned.
    ReturnValue,
    /// Its progress.
    Progress,
    /// Why it failed: a text.
    FailedReason,
    /// One of its stack traces: a text.
    Stacktrace,
    /// A line of its log: a text.
    Log,
    /// Any other field of its hash: a text.
    Other,
}

/// What is about to be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Shown<'a> {
    /// The job's queue.
    pub queue: &'a str,
    /// The job's name, or the name of the field where nobody has read the job.
    pub name: &'a str,
    /// Which part of it.
    pub field: Field,
}

pub(super) type Redact = dyn Fn(&Shown<'_>, &mut Value) + Send + Sync;

/// What stands in place of a value that is covered.
pub(super) const COVER: &str = "●●●●●●";

/// Parts of names, in lower case and without separators, whose values are secrets.
const SECRET: [&str; 14] = [
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "authorization",
    "apikey",
    "accesskey",
    "privatekey",
    "credential",
    "cookie",
    "creditcard",
    "cardnumber",
    "sessionid",
];

impl Hooks {
    /// JSON as it may be shown: as it was written where nothing is covered.
    pub(super) fn json(&self, shown: &Shown<'_>, text: &str) -> String {
        let Ok(mut value) = serde_json::from_str::<Value>(text) else { return self.text(shown, text) };
        let before = value.clone();
        self.cover(shown, &mut value);
        if value == before { text.to_owned() } else { value.to_string() }
    }

    /// A text as it may be shown.
    pub(super) fn text(&self, shown: &Shown<'_>, text: &str) -> String {
        let mut value = Value::String(text.to_owned());
        self.cover(shown, &mut value);
        match value {
            Value::String(text) => text,
            other => other.to_string(),
        }
    }

    fn cover(&self, shown: &Shown<'_>, value: &mut Value) {
        if !self.show_secrets {
            cover_secrets(value);
        }
        if let Some(redact) = &self.redact {
            redact(shown, value);
        }
    }
}

/// Covers the values of names that sound like secrets, at any depth.
fn cover_secrets(value: &mut Value) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                if is_secret(name) && !matches!(value, Value::Null | Value::Bool(_)) {
                    *value = Value::String(COVER.to_owned());
                } else {
                    cover_secrets(value);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(cover_secrets),
        _ => {}
    }
}

fn is_secret(name: &str) -> bool {
    let plain: String = name.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
    SECRET.iter().any(|secret| plain.contains(secret))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    const DATA: Shown<'_> = Shown { queue: "q", name: "n", field: Field::Data };

    #[test]
    fn secrets_are_covered_wherever_they_stand() {
        let hooks = Hooks::default();
        let shown = hooks.json(&DATA, r#"{"to":"me","smtp":[{"Pass-Word":"hunter2","api_key":5,"hasToken":true}]}"#);
        assert!(!shown.contains("hunter2") && !shown.contains(":5") && shown.contains("true"), "{shown}");
        assert!(hooks.json(&DATA, r#"{"tokens":{"deep":"hunter2"}}"#).contains(COVER));
        // What holds nothing of the kind keeps its digits and its order.
        let plain = r#"{"z":1.0000000000000000000001, "a":1}"#;
        assert_eq!(hooks.json(&DATA, plain), plain);
        let open = Hooks { show_secrets: true, ..Hooks::default() };
        assert!(open.json(&DATA, r#"{"token":"t"}"#).contains("\"t\""));
    }

    #[test]
    fn the_hook_sees_what_is_left() {
        let redact = |shown: &Shown<'_>, value: &mut Value| {
            if shown.field == Field::Log {
                *value = "gone".into();
            } else if let Some(name) = value.get_mut("name") {
                *name = shown.queue.into();
            }
        };
        let hooks = Hooks { redact: Some(Arc::new(redact)), ..Hooks::default() };
        assert_eq!(hooks.json(&DATA, r#"{"name":"Ann"}"#), r#"{"name":"q"}"#);
        assert_eq!(hooks.text(&Shown { field: Field::Log, ..DATA }, "Ann came"), "gone");
        assert_eq!(hooks.text(&DATA, "plain"), "plain");
    }
}
