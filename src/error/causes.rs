//! Writes an error with its causes as one text: for the log, and for those who read only a text.

use std::error::Error as StdError;
use std::fmt;

/// Writes an error and its causes as a log line has them, `error: cause: cause`, each once.
///
/// It is one line without control characters: an error may repeat the id of a job, which its producer has chosen.
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
        let mut line = String::new();
        join(&mut line, texts(self.0, text))?;
        f.write_str(&line.replace(char::is_control, " "))
    }
}

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

/// How many errors of a chain are read. An error may name itself as its cause, and such a chain has no end.
const MOST_CAUSES: usize = 64;

/// Returns an error and its causes, outermost first, at most 64.
pub(crate) fn causes<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |&error| error.source()).take(MOST_CAUSES)
}

/// Returns what serde says of an unexpected value, without the value.
pub(super) fn without_values(error: &serde_json::Error) -> String {
    let text = error.to_string();
    if !error.is_data() {
        return text;
    }
    // The path says where; the data is one line.
    let text = text.rsplit_once(" at line ").map_or(text.as_str(), |(text, _)| text);
    let expected = text.rsplit_once(", expected ").map(|(_, expected)| expected);
    let found = |found: &str| found.split(['`', '"', ',']).next().unwrap_or_default().trim_end().to_owned();
    if let (Some(met), Some(expected)) = (text.strip_prefix("invalid type: "), expected) {
        let met = found(met);
        let expected = match expected {
            "a sequence" => "an array",
            "a map" => "an object",
            other => other,
        };
        return format!("expected {expected}, found {}", json_word(&met));
    }
    let expected = expected.map(|expected| format!(", expected {expected}")).unwrap_or_default();
    if let Some(met) = text.strip_prefix("invalid value: ") {
        return format!("invalid value: {}{expected}", json_word(&found(met)));
    }
    for whole in ["missing field `", "duplicate field `", "invalid length "] {
        if text.starts_with(whole) {
            return text.to_owned();
        }
    }
    for start in ["unknown variant", "unknown field"] {
        if text.starts_with(start) {
            return format!("{start}{expected}");
        }
    }
    format!("the value breaks a rule of its type at line {} column {}", error.line(), error.column())
}

/// Returns the word of JSON for what serde calls otherwise.
fn json_word(serde: &str) -> &str {
    match serde {
        "map" => "an object",
        "sequence" => "an array",
        "string" | "character" => "a string",
        "boolean" => "a boolean",
        "integer" => "an integer",
        "floating point" => "a number with a fraction",
        "unit value" => "null",
        other => other,
    }
}
