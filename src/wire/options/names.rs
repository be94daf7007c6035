//! Options under the names that Node shows.

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::value::RawValue;

use crate::wire::json::{self, Raw};

/// Writes a job's options with the long names that Node shows, and always with `attempts`. A text that holds no options
/// is written as a string.
pub(crate) struct LongNames<'a>(pub(crate) &'a str);

impl Serialize for LongNames<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (mut members, mut telemetry) = (Vec::new(), Vec::new());
        let mut has_attempts = false;
        let read = json::object(self.0, |name, value| {
            match name {
                "tm" => telemetry.push(("metadata", value)),
                "omc" => telemetry.push(("omitContext", value)),
                // It is shown beside the options.
                "repeatJobKey" => {}
                _ => {
                    has_attempts |= name == "attempts";
                    members.push((long(name).to_owned(), value));
                }
            }
            Ok(())
        });
        if read.is_err() {
            return Raw(self.0).serialize(serializer);
        }
        let mut map = serializer.serialize_map(None)?;
        if !has_attempts {
            map.serialize_entry("attempts", &0)?;
        }
        for (name, value) in &members {
            map.serialize_entry(name, value)?;
        }
        if !telemetry.is_empty() {
            map.serialize_entry("telemetry", &Members(&telemetry))?;
        }
        map.end()
    }
}

struct Members<'a>(&'a [(&'static str, &'a RawValue)]);

impl Serialize for Members<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().copied())
    }
}

fn long(name: &str) -> &str {
    match name {
        "de" => "deduplication",
        "fpof" => "failParentOnFailure",
        "cpof" => "continueParentOnFailure",
        "idof" => "ignoreDependencyOnFailure",
        "rdof" => "removeDependencyOnFailure",
        "kl" => "keepLogs",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn options_are_shown_with_long_names() {
        for (stored, shown) in [
            ("{}", json!({ "attempts": 0 })),
            ("", json!("")),
            ("[1]", json!([1])),
            (
                r#"{"attempts":3,"kl":5,"fpof":true,"de":{"id":"d"},"tm":"t","omc":true,"repeatJobKey":"s","x":1e30}"#,
                json!({
                    "attempts": 3, "keepLogs": 5, "failParentOnFailure": true, "deduplication": { "id": "d" },
                    "telemetry": { "metadata": "t", "omitContext": true }, "x": 1e30,
                }),
            ),
        ] {
            assert_eq!(json!(LongNames(stored)), shown, "{stored}");
        }
    }
}
