//! The shape of JSON values, derived from samples. It keeps names and types, and no values.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

/// Below this depth the type is not described.
const DEPTH: usize = 12;

/// An object with more names than this is a map: its names are data.
const MOST_NAMES: usize = 60;

/// The values seen at one place.
#[derive(Debug, Default, Clone, PartialEq)]
pub(crate) struct Shape {
    /// How many values were seen.
    pub(crate) seen: u64,
    nulls: u64,
    booleans: u64,
    integers: u64,
    numbers: u64,
    strings: u64,
    /// How many were arrays, and their items.
    lists: u64,
    items: Option<Box<Shape>>,
    /// How many were objects, and their members by name.
    objects: u64,
    members: BTreeMap<String, Shape>,
    /// The members of objects that are maps.
    entries: Option<Box<Shape>>,
    /// How many were too deep to be looked at.
    deep: u64,
}

impl Shape {
    /// Adds one more value.
    pub(crate) fn meet(&mut self, value: &Value) {
        self.meet_at(value, 0);
    }

    fn meet_at(&mut self, value: &Value, depth: usize) {
        self.seen += 1;
        if depth >= DEPTH {
            self.deep += 1;
            return;
        }
        match value {
            Value::Null => self.nulls += 1,
            Value::Bool(_) => self.booleans += 1,
            Value::Number(number) if number.is_f64() => self.numbers += 1,
            Value::Number(_) => self.integers += 1,
            Value::String(_) => self.strings += 1,
            Value::Array(items) => {
                self.lists += 1;
                let shape = self.items.get_or_insert_default();
                items.iter().for_each(|item| shape.meet_at(item, depth + 1));
            }
            Value::Object(members) => {
                self.objects += 1;
                for (name, value) in members {
                    match &mut self.entries {
                        Some(entries) => entries.meet_at(value, depth + 1),
                        None => self.members.entry(name.clone()).or_default().meet_at(value, depth + 1),
                    }
                }
                if self.members.len() > MOST_NAMES {
                    let mut all = Self::default();
                    std::mem::take(&mut self.members).into_values().for_each(|member| all.join(member));
                    self.entries = Some(Box::new(all));
                }
            }
        }
    }

    /// Adds what another shape has seen.
    fn join(&mut self, other: Self) {
        self.seen += other.seen;
        self.nulls += other.nulls;
        self.booleans += other.booleans;
        self.integers += other.integers;
        self.numbers += other.numbers;
        self.strings += other.strings;
        self.lists += other.lists;
        self.objects += other.objects;
        self.deep += other.deep;
        for (mine, theirs) in [(&mut self.items, other.items), (&mut self.entries, other.entries)] {
            if let Some(theirs) = theirs {
                mine.get_or_insert_default().join(*theirs);
            }
        }
        for (name, member) in other.members {
            self.members.entry(name).or_default().join(member);
        }
        if let Some(entries) = &mut self.entries {
            std::mem::take(&mut self.members).into_values().for_each(|member| entries.join(member));
        }
    }

    fn is_optional(&self, objects: u64) -> bool {
        self.seen < objects
    }

    /// Writes the TypeScript type.
    pub(crate) fn typescript(&self, indent: usize) -> String {
        let mut types = Vec::new();
        if self.objects > 0 {
            types.push(self.object(indent));
        }
        if self.lists > 0 {
            let items = self.items.as_ref().filter(|items| items.seen > 0);
            types.push(format!(
                "Array<{}>",
                items.map_or_else(|| "unknown".to_owned(), |items| items.typescript(indent))
            ));
        }
        for (count, name) in [
            (self.strings, "string"),
            (self.integers + self.numbers, "number"),
            (self.booleans, "boolean"),
            (self.deep, "unknown"),
            (self.nulls, "null"),
        ] {
            if count > 0 {
                types.push(name.to_owned());
            }
        }
        if types.is_empty() { "unknown".to_owned() } else { types.join(" | ") }
    }

    fn object(&self, indent: usize) -> String {
        if let Some(entries) = &self.entries {
            return format!("Record<string, {}>", entries.typescript(indent));
        }
        if self.members.is_empty() {
            return "Record<string, never>".to_owned();
        }
        let pad = "  ".repeat(indent + 1);
        let member = |(name, member): (&String, &Self)| {
            let mark = if member.is_optional(self.objects) { "?" } else { "" };
            format!("{pad}{}{mark}: {};\n", property(name), member.typescript(indent + 1))
        };
        let members: String = self.members.iter().map(member).collect();
        format!("{{\n{members}{}}}", "  ".repeat(indent))
    }

    /// Writes the JSON Schema.
    pub(crate) fn schema(&self) -> Value {
        if self.deep > 0 {
            return json!({});
        }
        let mut kinds = Vec::new();
        let mut schema = Map::new();
        if self.objects > 0 {
            kinds.push("object");
            if let Some(entries) = &self.entries {
                schema.insert("additionalProperties".to_owned(), entries.schema());
            } else {
                let members = self.members.iter().map(|(name, member)| (name.clone(), member.schema()));
                schema.insert("properties".to_owned(), Value::Object(members.collect()));
                let always = self.members.iter().filter(|(_, member)| !member.is_optional(self.objects));
                schema.insert("required".to_owned(), always.map(|(name, _)| json!(name)).collect());
            }
        }
        if self.lists > 0 {
            kinds.push("array");
            if let Some(items) = self.items.as_ref().filter(|items| items.seen > 0) {
                schema.insert("items".to_owned(), items.schema());
            }
        }
        for (count, name) in [(self.strings, "string"), (self.booleans, "boolean"), (self.nulls, "null")] {
            if count > 0 {
                kinds.push(name);
            }
        }
        if self.numbers > 0 {
            kinds.push("number");
        } else if self.integers > 0 {
            kinds.push("integer");
        }
        match kinds[..] {
            [] => return json!({}),
            [kind] => schema.insert("type".to_owned(), json!(kind)),
            _ => schema.insert("type".to_owned(), json!(kinds)),
        };
        Value::Object(schema)
    }
}

/// Writes a name as a member of a type.
pub(crate) fn property(name: &str) -> String {
    let is_plain = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '$')
        && name.chars().next().is_some_and(|first| !first.is_ascii_digit());
    if is_plain { name.to_owned() } else { crate::say::escaped(&Value::from(name).to_string()).into_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(values: &[Value]) -> Shape {
        let mut shape = Shape::default();
        values.iter().for_each(|value| shape.meet(value));
        shape
    }

    #[test]
    fn what_is_not_always_there_is_optional() {
        let seen = shape(&[json!({ "to": "a", "n": 1 }), json!({ "to": null, "n": 1.5, "x-y": [true] })]);
        assert_eq!(seen.typescript(0), "{\n  n: number;\n  to: string | null;\n  \"x-y\"?: Array<boolean>;\n}");
        let schema = seen.schema();
        assert_eq!(schema["required"], json!(["n", "to"]));
        assert_eq!(schema["properties"]["to"], json!({ "type": ["string", "null"] }));
        assert_eq!(schema["properties"]["n"], json!({ "type": "number" }));
        assert_eq!(schema["properties"]["x-y"], json!({ "type": "array", "items": { "type": "boolean" } }));
    }

    #[test]
    fn objects_with_very_many_names_are_maps() {
        let map: Map<String, Value> = (0..100).map(|n| (format!("user-{n}"), json!({ "n": n }))).collect();
        let seen = shape(&[Value::Object(map), json!({ "other": {} })]);
        assert_eq!(seen.typescript(0), "Record<string, {\n  n?: number;\n}>");
        assert_eq!(seen.schema()["additionalProperties"]["properties"]["n"], json!({ "type": "integer" }));
    }

    #[test]
    fn values_never_show() {
        let seen = shape(&[json!({ "password": "hunter2", "list": ["hunter2"], "n": 4711 })]);
        let all = format!("{}{}{seen:?}", seen.typescript(0), seen.schema());
        assert!(!all.contains("hunter2") && !all.contains("4711"), "{all}");
    }

    #[test]
    fn depth_and_emptiness_are_unknown() {
        let mut deep = json!(1);
        for _ in 0..40 {
            deep = json!([deep]);
        }
        let seen = shape(&[deep]);
        assert!(seen.typescript(0).ends_with(&format!("unknown{}", ">".repeat(DEPTH))), "{}", seen.typescript(0));
        assert_eq!(shape(&[]).typescript(0), "unknown");
        assert_eq!(shape(&[json!([])]).typescript(0), "Array<unknown>");
        assert_eq!(shape(&[json!({})]).typescript(0), "Record<string, never>");
    }
}
