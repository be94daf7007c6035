//! Finds where two JSON values differ.

use serde_json::Value;

/// Returns the places, as JSON pointers, with what is expected and found there.
pub(super) fn differences(expected: &Value, found: &Value) -> Vec<String> {
    let mut all = Vec::new();
    compare("", Some(expected), Some(found), &mut all);
    all
}

fn compare(place: &str, expected: Option<&Value>, found: Option<&Value>, all: &mut Vec<String>) {
    match (expected, found) {
        (Some(Value::Object(expected)), Some(Value::Object(found))) => {
            for name in expected.keys().chain(found.keys().filter(|name| !expected.contains_key(*name))) {
                compare(&format!("{place}/{name}"), expected.get(name), found.get(name), all);
            }
        }
        (Some(Value::Array(expected)), Some(Value::Array(found))) => {
            for i in 0..expected.len().max(found.len()) {
                compare(&format!("{place}/{i}"), expected.get(i), found.get(i), all);
            }
        }
        (expected, found) if expected == found => {}
        (expected, found) => {
            let shown = |value: Option<&Value>| value.map_or_else(|| "nothing".to_owned(), Value::to_string);
            let place = if place.is_empty() { "data" } else { place };
            all.push(format!("{place}: {} expected, {} found", shown(expected), shown(found)));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_place_is_told() {
        let expected = json!({ "to": "ada", "lines": [1, 2], "same": true });
        let found = json!({ "to": "bob", "lines": [1], "same": true, "more": null });
        let told = [
            "/lines/1: 2 expected, nothing found",
            "/to: \"ada\" expected, \"bob\" found",
            "/more: nothing expected, null found",
        ];
        assert_eq!(differences(&expected, &found), told);
        assert_eq!(differences(&json!(1), &json!(2)), ["data: 1 expected, 2 found"]);
    }
}
