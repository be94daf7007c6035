//! Queues that may not be seen are not named, whatever text they stand in: keys of jobs stand in options, in fields of the
//! hash, and in what BullMQ writes of a child that has failed.

use serde_json::Value;

/// What stands in place of a job, or a queue, that may not be seen.
pub(in crate::dashboard) const UNSEEN: &str = "a job that you may not see";

/// Returns a text without the keys of queues that may not be seen; each begins with `<prefix>:`, as far as they are
/// ours.
pub(in crate::dashboard) fn without_unseen(text: String, prefix: &str, may_see: impl Fn(&str) -> bool) -> String {
    let start = format!("{prefix}:");
    let (mut shown, mut rest) = (String::new(), text.as_str());
    while let Some(at) = rest.find(&start) {
        let after = &rest[at + start.len()..];
        let is_word = rest[..at].chars().next_back().is_some_and(char::is_alphanumeric);
        let key = if is_word { None } else { hidden_key(after, &may_see) };
        match key {
            Some(length) => {
                shown.push_str(&rest[..at]);
                shown.push_str(UNSEEN);
                rest = &after[length..];
            }
            None => {
                shown.push_str(&rest[..at + start.len()]);
                rest = after;
            }
        }
    }
    if shown.is_empty() {
        return text;
    }
    shown.push_str(rest);
    if shown == text { shown } else { without_ids(shown) }
}

/// Returns JSON in which no id stands beside a queue that may not be seen, as it does in what a child stores of its
/// parent.
fn without_ids(text: String) -> String {
    match serde_json::from_str(&text) {
        Ok(mut value @ (Value::Object(_) | Value::Array(_))) => {
            if cover_ids(&mut value) {
                value.to_string()
            } else {
                text
            }
        }
        _ => text,
    }
}

/// Covers the ids; returns whether there was one.
fn cover_ids(value: &mut Value) -> bool {
    let unseen = Value::from(UNSEEN);
    match value {
        Value::Object(members) => {
            let is_unseen = ["queue", "queueKey", "queueName"].iter().any(|name| members.get(*name) == Some(&unseen));
            let id = members.get_mut("id").filter(|_| is_unseen);
            let is_covered = id.map(|id| *id = unseen).is_some();
            members.values_mut().filter_map(|value| cover_ids(value).then_some(())).count() > 0 || is_covered
        }
        Value::Array(items) => items.iter_mut().filter_map(|value| cover_ids(value).then_some(())).count() > 0,
        _ => false,
    }
}

/// Returns how long the rest of a key is that begins here, if its queue may not be seen.
fn hidden_key(after: &str, may_see: &impl Fn(&str) -> bool) -> Option<usize> {
    let end = |text: &str, ends: fn(char) -> bool| text.find(ends).unwrap_or(text.len());
    // A name may hold spaces, and in a sentence it ends at one: it has to be seen either way.
    let longest = end(after, |letter| letter == ':' || is_edge(letter));
    let shortest = end(after, |letter| letter == ':' || is_edge(letter) || letter.is_whitespace());
    let is_escaped = after[longest..].starts_with('\\');
    let is_seen = |name: &str| name.is_empty() || may_see(name);
    if !is_escaped && is_seen(&after[..longest]) && is_seen(&after[..shortest]) {
        return None;
    }
    let has_id = after[longest..].starts_with(':');
    let is_long = has_id || is_escaped || !is_seen(&after[..longest]);
    let name = if is_long { longest } else { shortest };
    Some(name + rest_of_key(&after[name..]))
}

/// Returns where the rest of a key ends; what follows a backslash belongs to it.
fn rest_of_key(rest: &str) -> usize {
    let mut letters = rest.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '\\' => drop(letters.next()),
            letter if is_edge(letter) || letter.is_whitespace() => return at,
            _ => {}
        }
    }
    rest.len()
}

/// Returns whether a letter ends a key in JSON or in a sentence.
fn is_edge(letter: char) -> bool {
    matches!(letter, '"' | '\'' | '\\' | ',' | ')' | ']' | '}' | '\n' | '\r')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_hidden_queues_are_not_shown() {
        let shown = |text: &str| {
            without_unseen(text.to_owned(), "bull", |queue| !matches!(queue, "payroll" | "pay roll"))
                .replace(UNSEEN, "–")
        };
        assert_eq!(shown("child bull:payroll:ann failed"), "child – failed");
        assert_eq!(shown(r#"{"queue":"bull:payroll","id":"boss"}"#), r#"{"id":"–","queue":"–"}"#);
        assert_eq!(shown(r#"{"queueKey":"bull:pay roll","a":["bull:payroll:x:y"]}"#), r#"{"queueKey":"–","a":["–"]}"#);
        assert_eq!(shown(r#"[{"id":"7","queueKey":"bull:mails"}]"#), r#"[{"id":"7","queueKey":"bull:mails"}]"#);
        assert_eq!(shown("bull:pay roll:ann, bull:payroll"), "–, –");
        assert_eq!(shown("bull:payroll is gone"), "– is gone");
        assert_eq!(shown(r#""bull:a\"b:c""#), r#""–""#, "a name that cannot be read is none that may be seen");
        for plain in ["bull:mails:1 failed", "redbull:payroll", "bull", "bull:", "", "payroll"] {
            assert_eq!(shown(plain), plain);
        }
    }
}
