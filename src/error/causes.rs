//! Writes an error with its causes as one text: for the log, and for those who read only a text.

use std::error::Error as StdError;
use std::fmt;

/// Writes an error and its causes as a log line has them, `error: cause: cause`, each once.
///
/// Errors about JSON are written without the JSON's values, which may be a job's data, even if another error repeats
/// the text of its cause.
pub(crate) struct WithCauses<'a>(pub(crate) &'a (dyn StdError + 'static));

impl fmt::Display for WithCauses<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let with_values: Vec<(String, String)> = causes(self.0)
            .filter_map(|error| error.downcast_ref::<serde_json::Error>())
            .map(|error| (error.to_string(), without_values(error)))
            .collect();
        let text = |error: &(dyn StdError + 'static)| {
            with_values.iter().fold(error.to_string(), |text, (with, without)| text.replace(with, without))
        };
        join(f, texts(self.0, text))
    }
}

/// Returns the text of an error for those who see nothing else of it, such as BullMQ's `failedReason`.
///
/// It is the error's own text. Only our own errors leave details to their causes, so for these the causes follow; this
/// also holds if the error of a user, or `anyhow`, ends with the text of our error.
pub(crate) fn whole_text(error: &(dyn StdError + 'static)) -> String {
    let own = error.to_string();
    if KINDS.iter().any(|kind| own.ends_with(kind)) {
        let mut whole = String::new();
        // Writing into a `String` cannot fail.
        let _ = join(&mut whole, texts(error, ToString::to_string));
        return whole;
    }
    own
}

/// How the texts of our own errors with a cause end.
const KINDS: [&str; 3] = [": redis", ": json", " partitions failed"];

fn join(to: &mut impl fmt::Write, texts: impl Iterator<Item = String>) -> fmt::Result {
    for (i, text) in texts.enumerate() {
        if i > 0 {
            to.write_str(": ")?;
        }
        to.write_str(&text)?;
    }
    Ok(())
}

/// Returns the texts of an error and its causes, without those that the text before repeats: many errors end with the
/// text of their cause.
fn texts(
    error: &(dyn StdError + 'static),
    text: impl Fn(&(dyn StdError + 'static)) -> String,
) -> impl Iterator<Item = String> {
    let mut said = String::new();
    causes(error).filter_map(move |error| {
        let text = text(error);
        let is_new = said.is_empty() || !said.ends_with(&text);
        is_new.then(|| text.clone_into(&mut said))?;
        Some(text)
    })
}

/// Returns the texts of the causes of an error, outermost first, without those that `said` contains already.
pub(crate) fn causes_beyond(error: &(dyn StdError + 'static), said: &str) -> Vec<String> {
    texts(error, ToString::to_string).skip(1).filter(|cause| !said.ends_with(cause)).collect()
}

/// Returns an error and its causes, outermost first.
pub(crate) fn causes<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

/// Returns what serde says of an unexpected value, without the value.
fn without_values(error: &serde_json::Error) -> String {
    let text = error.to_string();
    if !error.is_data() {
        return text;
    }
    let expected = text.rsplit_once(", expected ").map(|(_, expected)| format!(", expected {expected}"));
    for start in ["invalid type: ", "invalid value: "] {
        if let Some(found) = text.strip_prefix(start) {
            let kind = found.split(['`', '"', ',']).next().unwrap_or_default().trim_end();
            return format!("{start}{kind}{}", expected.unwrap_or_default());
        }
    }
    for whole in ["missing field `", "duplicate field `", "invalid length "] {
        if text.starts_with(whole) {
            return text;
        }
    }
    for start in ["unknown variant", "unknown field"] {
        if text.starts_with(start) {
            return format!("{start}{}", expected.unwrap_or_default());
        }
    }
    format!("the value breaks a rule of its type at line {} column {}", error.line(), error.column())
}
