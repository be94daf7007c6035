//! Turns JSON Schema into TypeScript types.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Map, Value};

/// Up to how many items an array of a fixed length is written item by item.
const LONGEST_TUPLE: u64 = 16;

/// Writes the module with all kinds, and the definitions that they refer to.
pub(super) fn module(kinds: &BTreeMap<&'static str, (Value, Value)>, definitions: &Map<String, Value>) -> String {
    let mut text = "// Written by oxmq from the kinds of jobs of a Rust program.\n\n\
        /** From the names of jobs to their data and results. */\nexport interface Jobs {\n"
        .to_owned();
    for (name, (data, result)) in kinds {
        line(&mut text, format_args!("  {}: {{ data: {}; result: {} }};", quoted(name), of(data), of(result)));
    }
    text.push_str("}\n");
    for (name, schema) in definitions {
        text.push('\n');
        definition(&mut text, name, schema);
    }
    text
}

fn definition(text: &mut String, name: &str, schema: &Value) {
    comment(text, "", schema);
    let name = identifier(name);
    match schema.get("properties").and_then(Value::as_object) {
        Some(properties) if !has_alternatives(schema) => {
            line(text, format_args!("export interface {name} {{"));
            for (property, of_property) in properties {
                comment(text, "  ", of_property);
                line(text, format_args!("  {};", member(schema, property, of_property)));
            }
            if let Some(others) = others(schema) {
                line(text, format_args!("  {others};"));
            }
            text.push_str("}\n");
        }
        _ => line(text, format_args!("export type {name} = {};", of(schema))),
    }
}

/// Writes the type of a schema.
fn of(schema: &Value) -> String {
    let Some(fields) = schema.as_object() else {
        return if schema == &Value::Bool(false) { "never" } else { "unknown" }.to_owned();
    };
    let list = |name: &str| fields.get(name).and_then(Value::as_array);
    let mut parts = Vec::new();
    if let Some(reference) = fields.get("$ref").and_then(Value::as_str) {
        parts.push(identifier(reference.rsplit('/').next().unwrap_or(reference)));
    }
    if let Some(value) = fields.get("const") {
        return value.to_string();
    }
    if let Some(values) = list("enum") {
        return union(values.iter().map(Value::to_string));
    }
    for alternatives in ["oneOf", "anyOf"].iter().filter_map(|name| list(name)) {
        parts.push(union(alternatives.iter().map(of)));
    }
    if let Some(all) = list("allOf") {
        parts.extend(all.iter().map(of));
    }
    match fields.get("type") {
        Some(Value::String(kind)) => parts.extend(plain(kind, schema)),
        Some(Value::Array(kinds)) => {
            let kinds = kinds.iter().filter_map(Value::as_str);
            parts.push(union(kinds.map(|kind| plain(kind, schema).unwrap_or_else(|| "object".to_owned()))));
        }
        _ => {}
    }
    match parts.len() {
        0 => "unknown".to_owned(),
        1 => parts.remove(0),
        _ => parts.iter().map(|part| grouped(part)).collect::<Vec<_>>().join(" & "),
    }
}

/// Writes the type of one of JSON's own types; `None` for an object that only its alternatives describe.
fn plain(kind: &str, schema: &Value) -> Option<String> {
    Some(match kind {
        "integer" => "number".to_owned(),
        "array" => array(schema),
        "object" => return object(schema),
        other => other.to_owned(),
    })
}

fn array(schema: &Value) -> String {
    if let Some(places) = schema.get("prefixItems").and_then(Value::as_array) {
        return format!("[{}]", places.iter().map(of).collect::<Vec<_>>().join(", "));
    }
    let item = schema.get("items").map_or_else(|| "unknown".to_owned(), of);
    let length = |name: &str| schema.get(name).and_then(Value::as_u64);
    match length("maxItems").filter(|most| *most <= LONGEST_TUPLE && length("minItems") == Some(*most)) {
        Some(exactly) => format!("[{}]", (0..exactly).map(|_| item.as_str()).collect::<Vec<_>>().join(", ")),
        None => format!("{}[]", grouped(&item)),
    }
}

fn object(schema: &Value) -> Option<String> {
    if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
        let members = properties.iter().map(|(name, property)| member(schema, name, property));
        let members: Vec<_> = members.chain(others(schema)).collect();
        return Some(format!("{{ {} }}", members.join("; ")));
    }
    if let Some(patterns) = schema.get("patternProperties").and_then(Value::as_object).filter(|all| !all.is_empty()) {
        let key = if patterns.keys().all(|pattern| is_of_numbers(pattern)) { "number" } else { "string" };
        return Some(format!("{{ [key: {key}]: {} }}", union(patterns.values().map(of))));
    }
    match schema.get("additionalProperties") {
        Some(Value::Bool(false)) => Some("Record<string, never>".to_owned()),
        Some(values) => Some(format!("{{ [key: string]: {} }}", of(values))),
        None if has_alternatives(schema) => None,
        None => Some("{ [key: string]: unknown }".to_owned()),
    }
}

/// Returns the member for the properties that have no name of their own. It does not tell their type: in TypeScript the
/// named ones would have to be of the same type.
fn others(schema: &Value) -> Option<String> {
    let has_others = schema.get("additionalProperties").is_some_and(|values| values != &Value::Bool(false));
    (has_others || schema.get("patternProperties").is_some()).then(|| "[key: string]: unknown".to_owned())
}

/// Returns whether only numbers match this pattern, as the keys of a `HashMap<u32, _>`.
fn is_of_numbers(pattern: &str) -> bool {
    matches!(pattern, r"^\d+$" | r"^-?\d+$")
}

fn member(schema: &Value, name: &str, property: &Value) -> String {
    let required = schema.get("required").and_then(Value::as_array);
    let is_required = required.is_some_and(|required| required.iter().any(|other| other == name));
    let key = if is_identifier(name) { name.to_owned() } else { quoted(name) };
    format!("{key}{}: {}", if is_required { "" } else { "?" }, of(property))
}

fn has_alternatives(schema: &Value) -> bool {
    ["oneOf", "anyOf", "allOf", "$ref"].iter().any(|name| schema.get(name).is_some())
}

fn union(types: impl Iterator<Item = String>) -> String {
    let mut distinct = Vec::new();
    for part in types {
        if !distinct.contains(&part) {
            distinct.push(part);
        }
    }
    distinct.join(" | ")
}

fn grouped(part: &str) -> String {
    if part.contains(" | ") || part.contains(" & ") { format!("({part})") } else { part.to_owned() }
}

fn comment(text: &mut String, indent: &str, schema: &Value) {
    if let Some(description) = schema.get("description").and_then(Value::as_str) {
        // The text must not end the comment.
        let description = description.replace("*/", "*\u{200b}/").replace('\n', &format!("\n{indent} * "));
        line(text, format_args!("{indent}/** {description} */"));
    }
}

fn is_identifier(name: &str) -> bool {
    !name.starts_with(|c: char| c.is_ascii_digit()) && identifier(name) == name
}

fn identifier(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' || c == '$' { c } else { '_' }).collect()
}

fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing into a `String` cannot fail.
    let _ = writeln!(text, "{line}");
}
