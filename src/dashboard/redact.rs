//! Redacts what must not be seen.

use serde_json::Value;

use super::access::Hooks;

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

pub(super) type Redact = dyn Fn(&Shown<'_>, &mut Value) + Send + Sync;

/// What is shown in place of a redacted value.
pub(super) const COVER: &str = "●●●●●●";

/// Parts of names, in lower case and without separators, whose values are secrets.
const SECRET: [&str; 17] = [
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
    "jwt",
    "signature",
    "connectionstring",
];

/// Whole names whose values are secrets: as parts they are in many other names.
const SECRET_ALONE: [&str; 8] = ["pass", "pwd", "auth", "cvv", "cvc", "ssn", "pin", "otp"];

impl Hooks {
    /// Returns JSON as it may be shown, unchanged if nothing is redacted.
    pub(super) fn json(&self, shown: &Shown<'_>, text: &str) -> String {
        let Ok(mut value) = serde_json::from_str::<Value>(text) else { return self.unreadable(shown, text) };
        let before = value.clone();
        self.cover(shown, &mut value);
        if value == before { text.to_owned() } else { value.to_string() }
    }

    /// Redacts text that is not JSON, or cannot be read here, such as half a character or very deep levels. It cannot
    /// be redacted in part, so it is redacted as a whole if there is anything to redact.
    fn unreadable(&self, shown: &Shown<'_>, text: &str) -> String {
        let is_open = self.show_secrets || !sounds_secret(text);
        if is_open && self.redact.is_none() { self.text(shown, text) } else { COVER.to_owned() }
    }

    /// Returns a text as it may be shown.
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

/// Redacts the values of names that sound like secrets, at any depth.
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
        Value::String(text) => {
            if let Some(covered) = without_passwords(text) {
                *text = covered;
            }
        }
        _ => {}
    }
}

/// Returns the text with passwords in addresses redacted, such as in `redis://user:password@host`; `None` if there are
/// none.
fn without_passwords(text: &str) -> Option<String> {
    let (mut covered, mut rest) = (None::<String>, text);
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        let end = after.find(|c: char| c.is_whitespace() || matches!(c, '/' | '?' | '#' | '"' | '\'' | '<' | '>'));
        let (authority, tail) = after.split_at(end.unwrap_or(after.len()));
        let secret =
            authority.rsplit_once('@').and_then(|(user, host)| user.split_once(':').map(|(user, _)| (user, host)));
        match (secret, &mut covered) {
            (Some((user, host)), covered) => {
                let covered = covered.get_or_insert_with(|| text[..text.len() - rest.len()].to_owned());
                *covered += &format!("{before}{user}:{COVER}@{host}");
            }
            (None, Some(covered)) => *covered += &format!("{before}{authority}"),
            (None, None) => {}
        }
        rest = tail;
    }
    covered.map(|covered| covered + rest)
}

/// Returns whether a name that sounds like a secret is anywhere in a text.
fn sounds_secret(text: &str) -> bool {
    let words = || text.split(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '_' | '-'));
    is_secret(text) || words().any(is_secret)
}

fn is_secret(name: &str) -> bool {
    let plain: String = name.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
    SECRET_ALONE.contains(&&*plain) || SECRET.iter().any(|secret| plain.contains(secret))
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
        // JSON without secrets keeps its digits and its order.
        let plain = r#"{"z":1.0000000000000000000001, "a":1}"#;
        assert_eq!(hooks.json(&DATA, plain), plain);
        let open = Hooks { show_secrets: true, ..Hooks::default() };
        assert!(open.json(&DATA, r#"{"token":"t"}"#).contains("\"t\""));
    }

    #[test]
    fn what_cannot_be_read_is_covered_as_a_whole_where_it_may_hold_a_secret() {
        let hooks = Hooks::default();
        let deep = format!("{}{{\"password\":\"hunter2\"}}{}", "[".repeat(200), "]".repeat(200));
        for text in
            ["{\"half\":\"\\ud83d\",\"pass\":\"hunter2\"}", &deep, "{\"api-key\":\"hunter2", "broken auth hunter2"]
        {
            assert_eq!(hooks.json(&DATA, text), COVER, "{text}");
        }
        assert_eq!(hooks.json(&DATA, "{broken"), "{broken");
        let hooks = Hooks { redact: Some(Arc::new(|_, _| {})), ..Hooks::default() };
        assert_eq!(hooks.json(&DATA, "{broken"), COVER, "a hook sees nothing of it");
    }

    #[test]
    fn short_names_and_passwords_in_addresses_are_covered_too() {
        let hooks = Hooks::default();
        let shown = hooks.json(&DATA, r#"{"auth":{"user":"u","pass":"hunter2"},"jwt":"hunter2","compass":"north"}"#);
        assert!(!shown.contains("hunter2") && shown.contains("north"), "{shown}");
        let text = "see https://a.example/x: redis://me:hunter2@host:6379/0, pg://:hunter2@b and http://c:80/d@e";
        let shown = hooks.text(&Shown { field: Field::FailedReason, ..DATA }, text);
        assert_eq!(shown, text.replace("hunter2", COVER));
        assert_eq!(hooks.text(&DATA, "no such user ann@example.org"), "no such user ann@example.org");
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
