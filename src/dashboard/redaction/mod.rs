//! Redacts what must not be seen.

pub(super) mod secrets;
pub(super) mod unseen;

use std::sync::Arc;

use serde_json::Value;

use self::secrets::{COVER, cover, is_secret, read, sounds_secret};

/// The part of a job that is about to be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Field {
    /// Its data, or the data that a job scheduler gives to its jobs.
    Data,
    /// Its options.
    Options,
    /// The result of its processor, or of a child.
    ReturnValue,
    /// Its progress.
    Progress,
    /// The reason of its failure, as text.
    FailedReason,
    /// One of its stack traces, as text.
    Stacktrace,
    /// A line of its log, as text.
    Log,
    /// Any other field of its hash, as text.
    Other,
}

/// A value that is about to be shown.
///
/// ```no_run
/// # fn demo(client: oxmq::Client) {
/// use oxmq::dashboard::{Dashboard, Field};
///
/// let dashboard = Dashboard::new(client).redact(|shown, value| {
///     if shown.queue == "payments" && shown.field == Field::Data {
///         value["iban"] = "covered".into();
///     }
/// });
/// # drop(dashboard); }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Shown<'a> {
    /// The job's queue.
    pub queue: &'a str,
    /// The job's name, or the name of the field if the job could not be read.
    pub name: &'a str,
    /// The part of the job.
    pub field: Field,
}

type Redact = dyn Fn(&Shown<'_>, &mut Value) + Send + Sync;

/// What is redacted before it is shown.
#[derive(Clone, Default)]
pub(in crate::dashboard) struct Redaction {
    /// The hook of the user's app.
    pub(in crate::dashboard) hook: Option<Arc<Redact>>,
    /// Whether values whose names sound like secrets are shown.
    pub(in crate::dashboard) show_secrets: bool,
}

impl Redaction {
    /// Returns JSON as it may be shown, unchanged if nothing is redacted.
    pub(in crate::dashboard) fn json(&self, shown: &Shown<'_>, text: &str) -> String {
        let Some(mut value) = read(text) else { return self.unreadable(shown, text) };
        let before = value.clone();
        self.cover(shown, &mut value);
        if value == before { text.to_owned() } else { value.to_string() }
    }

    /// Redacts text that is not JSON, or cannot be read here, such as half a character, very deep levels or two
    /// members of one name. It cannot be redacted in part, so it is redacted as a whole if there is anything to redact.
    fn unreadable(&self, shown: &Shown<'_>, text: &str) -> String {
        let is_open = self.show_secrets || !sounds_secret(text);
        if is_open && self.hook.is_none() { self.text(shown, text) } else { COVER.to_owned() }
    }

    /// Returns whether the values of this name are redacted, whatever they are.
    pub(in crate::dashboard) fn covers(&self, name: &str) -> bool {
        !self.show_secrets && is_secret(name)
    }

    /// Returns a text as it may be shown.
    pub(in crate::dashboard) fn text(&self, shown: &Shown<'_>, text: &str) -> String {
        let mut value = Value::String(text.to_owned());
        self.cover(shown, &mut value);
        match value {
            Value::String(text) => text,
            other => other.to_string(),
        }
    }

    fn cover(&self, shown: &Shown<'_>, value: &mut Value) {
        if !self.show_secrets {
            cover(value);
        }
        if let Some(redact) = &self.hook {
            redact(shown, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATA: Shown<'_> = Shown { queue: "q", name: "n", field: Field::Data };

    #[test]
    fn secrets_are_covered_wherever_they_stand() {
        let redaction = Redaction::default();
        let shown =
            redaction.json(&DATA, r#"{"to":"me","smtp":[{"Pass-Word":"hunter2","api_key":5,"hasToken":true}]}"#);
        assert!(!shown.contains("hunter2") && !shown.contains(":5") && shown.contains("true"), "{shown}");
        assert!(redaction.json(&DATA, r#"{"tokens":{"deep":"hunter2"}}"#).contains(COVER));
        // JSON without secrets keeps its digits and its order.
        let plain = r#"{"z":1.0000000000000000000001, "a":1}"#;
        assert_eq!(redaction.json(&DATA, plain), plain);
        let open = Redaction { show_secrets: true, ..Redaction::default() };
        assert!(open.json(&DATA, r#"{"token":"t"}"#).contains("\"t\""));
    }

    #[test]
    fn what_cannot_be_read_is_covered_as_a_whole_where_it_may_hold_a_secret() {
        let redaction = Redaction::default();
        let deep = format!("{}{{\"password\":\"hunter2\"}}{}", "[".repeat(200), "]".repeat(200));
        for text in
            ["{\"half\":\"\\ud83d\",\"pass\":\"hunter2\"}", &deep, "{\"api-key\":\"hunter2", "broken auth hunter2"]
        {
            assert_eq!(redaction.json(&DATA, text), COVER, "{text}");
        }
        assert_eq!(redaction.json(&DATA, "{broken"), "{broken");
        let redaction = Redaction { hook: Some(Arc::new(|_, _| {})), ..Redaction::default() };
        assert_eq!(redaction.json(&DATA, "{broken"), COVER, "a hook sees nothing of it");
    }

    #[test]
    fn short_names_and_passwords_in_addresses_are_covered_too() {
        let redaction = Redaction::default();
        let shown =
            redaction.json(&DATA, r#"{"auth":{"user":"u","pass":"hunter2"},"jwt":"hunter2","compass":"north"}"#);
        assert!(!shown.contains("hunter2") && shown.contains("north"), "{shown}");
        let text = "see https://a.example/x: redis://me:hunter2@host:6379/0, pg://:hunter2@b and http://c:80/d@e";
        let shown = redaction.text(&Shown { field: Field::FailedReason, ..DATA }, text);
        assert_eq!(shown, text.replace("hunter2", COVER));
        assert_eq!(redaction.text(&DATA, "no such user ann@example.org"), "no such user ann@example.org");
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
        let redaction = Redaction { hook: Some(Arc::new(redact)), ..Redaction::default() };
        assert_eq!(redaction.json(&DATA, r#"{"name":"Ann"}"#), r#"{"name":"q"}"#);
        assert_eq!(redaction.text(&Shown { field: Field::Log, ..DATA }, "Ann came"), "gone");
        assert_eq!(redaction.text(&DATA, "plain"), "plain");
    }
}
