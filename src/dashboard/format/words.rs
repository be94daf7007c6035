//! Describes the options of a job in sentences.

use std::time::Duration;

use serde_json::Value;

use super::moment::{count, many, span};

/// Returns what a job's options say, each with a name and a sentence; short stored names are spelt out.
pub(in crate::dashboard) fn options(json: &str) -> Vec<(String, String)> {
    let Ok(Value::Object(options)) = serde_json::from_str(json) else { return Vec::new() };
    options.iter().filter_map(|(name, value)| say(name, value)).collect()
}

fn ms(value: &Value) -> Option<String> {
    let ms = value.as_u64().or_else(|| {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a float saturates")]
        value.as_f64().map(|ms| ms as u64)
    })?;
    Some(span(Duration::from_millis(ms)))
}

fn say(name: &str, value: &Value) -> Option<(String, String)> {
    let plain = || match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let is_on = value.as_bool() == Some(true);
    let (name, sentence) = match name {
        "attempts" => match value.as_u64() {
            Some(0 | 1) => ("Attempts", "one only".to_owned()),
            Some(most) => ("Attempts", format!("up to {most}")),
            None => ("Attempts", plain()),
        },
        "backoff" => ("Backoff", backoff(value)),
        "delay" if value.as_u64() == Some(0) => return None,
        "delay" => ("Delay", ms(value).unwrap_or_else(plain)),
        "priority" if value.as_u64() == Some(0) => return None,
        "priority" => ("Priority", plain()),
        "lifo" if is_on => ("Order", "before the others that wait".to_owned()),
        "removeOnComplete" => ("Once completed", keep(value)),
        "removeOnFail" => ("Once failed", keep(value)),
        "kl" | "keepLogs" => ("Log", format!("the last {} are kept", many(value.as_u64().unwrap_or(0), "line"))),
        "sizeLimit" => ("Size limit", many(value.as_u64().unwrap_or(0), "byte")),
        "stackTraceLimit" => ("Stack traces", format!("the last {} are kept", value)),
        "de" | "deduplication" => ("Deduplication", deduplication(value)),
        "fpof" if is_on => ("If it fails", "its parent fails".to_owned()),
        "cpof" if is_on => ("If it fails", "its parent runs at once".to_owned()),
        "idof" if is_on => ("If it fails", "its parent waits no longer for it, and can ask why".to_owned()),
        "rdof" if is_on => ("If it fails", "its parent forgets it".to_owned()),
        "timeout" => ("Timeout", ms(value).unwrap_or_else(plain)),
        "tm" => ("Trace", plain()),
        "omc" if is_on => ("Trace", "its context is not handed on".to_owned()),
        "repeat" => ("Repeats", repeat(value)),
        "jobId" => ("Id", plain()),
        "parent" => ("Parent", plain()),
        "timestamp" => return None,
        "lifo" | "fpof" | "cpof" | "idof" | "rdof" | "omc" => return None,
        other => return Some((other.to_owned(), plain())),
    };
    Some((name.to_owned(), sentence))
}

fn backoff(value: &Value) -> String {
    let kind = value.get("type").and_then(Value::as_str).unwrap_or("fixed");
    let delay = if value.is_number() { ms(value) } else { value.get("delay").and_then(ms) };
    let mut text = match (kind, delay) {
        ("exponential", Some(delay)) => format!("{delay}, doubled with each attempt"),
        ("fixed", Some(delay)) => format!("{delay} between attempts"),
        (kind, Some(delay)) => format!("by the strategy “{kind}”, from {delay}"),
        (kind, None) => format!("by the strategy “{kind}”"),
    };
    if let Some(jitter) = value.get("jitter").and_then(Value::as_f64).filter(|jitter| *jitter > 0.0) {
        text += &format!(", with a jitter of {} %", (jitter * 100.0).round());
    }
    text
}

fn keep(value: &Value) -> String {
    match value {
        Value::Bool(true) => "removed at once".to_owned(),
        Value::Bool(false) => "kept".to_owned(),
        Value::Number(number) => match number.as_u64() {
            Some(0) => "removed at once".to_owned(),
            Some(kept) => format!("kept among the last {}", count(kept)),
            None => "kept".to_owned(),
        },
        other => {
            let kept = other.get("count").and_then(Value::as_u64).map(|kept| format!("among the last {}", count(kept)));
            let age =
                other.get("age").and_then(Value::as_u64).map(|age| format!("for {}", span(Duration::from_secs(age))));
            let both: Vec<String> = kept.into_iter().chain(age).collect();
            if both.is_empty() { "kept".to_owned() } else { format!("kept {}", both.join(" and ")) }
        }
    }
}

fn deduplication(value: &Value) -> String {
    let id = value.get("id").and_then(Value::as_str).unwrap_or_default();
    let is_on = |name| value.get(name).and_then(Value::as_bool) == Some(true);
    let mut text = match value.get("ttl").and_then(ms) {
        Some(ttl) => format!("one of “{id}” within {ttl}"),
        None => format!("one of “{id}” until it finishes"),
    };
    for (name, words) in [
        ("extend", ", each further add extends it"),
        ("replace", ", the last add replaces the waiting one"),
        ("keepLastIfActive", ", the last add while it runs comes after it"),
    ] {
        if is_on(name) {
            text += words;
        }
    }
    text
}

/// Describes the schedule in the options of a scheduler's job.
fn repeat(value: &Value) -> String {
    let mut text = if let Some(pattern) = value.get("pattern").and_then(Value::as_str) {
        format!("by the pattern “{pattern}”")
    } else if let Some(every) = value.get("every").and_then(ms) {
        format!("every {every}")
    } else {
        value.to_string()
    };
    if let Some(zone) = value.get("tz").and_then(Value::as_str) {
        text += &format!(" in {zone}");
    }
    if let Some(limit) = value.get("limit").and_then(Value::as_u64) {
        text += &format!(", {limit} times at most");
    }
    if let Some(run) = value.get("count").and_then(Value::as_u64) {
        text += &format!("; this is run {run}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_in_words() {
        let said = options(
            r#"{"attempts":5,"backoff":{"type":"exponential","delay":1000,"jitter":0.5},"removeOnComplete":{"count":10,"age":3600},
                "removeOnFail":false,"delay":0,"de":{"id":"x","ttl":5000,"extend":true},"fpof":true,"mine":{"a":1},"lifo":false}"#,
        );
        let said: Vec<String> = said.into_iter().map(|(name, sentence)| format!("{name}: {sentence}")).collect();
        for sentence in [
            "Attempts: up to 5",
            "Backoff: 1 s, doubled with each attempt, with a jitter of 50 %",
            "Once completed: kept among the last 10 and for 1 h",
            "Once failed: kept",
            "Deduplication: one of “x” within 5 s, each further add extends it",
            "If it fails: its parent fails",
            "mine: {\"a\":1}",
        ] {
            assert!(said.iter().any(|found| found == sentence), "{sentence}: {said:#?}");
        }
        assert_eq!(said.len(), 7);
        assert!(options("").is_empty() && options("[]").is_empty());
    }
}
