//! Describes the kinds of jobs of a program for producers in other languages. Feature `schema`.
//!
//! [`JobKinds`] writes TypeScript types and JSON Schema of all kinds that it was given.

mod typescript;

use std::collections::{BTreeMap, BTreeSet};

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

use crate::kind::JobKind;

/// The kinds of jobs of a program, to be described for programs that add or read them.
///
/// ```
/// use oxmq::schema::JobKinds;
/// use oxmq::JobKind;
/// use schemars::JsonSchema;
///
/// #[derive(serde::Serialize, serde::Deserialize, JsonSchema)]
/// struct BuildIndex {
///     index: String,
///     full: Option<bool>,
/// }
/// #[derive(serde::Serialize, serde::Deserialize, JsonSchema)]
/// struct Built {
///     documents: u64,
/// }
/// impl JobKind for BuildIndex {
///     const NAME: &'static str = "build-index";
///     type Output = Built;
/// }
///
/// let kinds = JobKinds::new().with::<BuildIndex>();
/// let typescript = kinds.typescript();
/// assert!(typescript.contains(r#""build-index": { data: BuildIndex; result: Built };"#));
/// assert_eq!(kinds.json_schema()["properties"]["build-index"]["properties"]["data"]["$ref"], "#/$defs/BuildIndex");
/// ```
///
/// Data is described as Rust reads it and results as Rust writes them: what has `#[serde(default)]`, or is an `Option`, may
/// be left out of data, and stands in each result. A type that is both has two definitions then, and that of results is
/// named with `Result` behind it.
///
/// A Node producer then says, and is checked by its compiler:
///
/// ```ts
/// import type { Jobs } from "./jobs";
/// type Build = Jobs["build-index"];
/// const queue = new Queue<Build["data"], Build["result"], "build-index">("indexes", { connection });
/// await queue.add("build-index", { index: "products" });
/// ```
#[derive(Debug)]
#[must_use]
pub struct JobKinds {
    /// Data is described as Rust reads it, since others write it.
    data: SchemaGenerator,
    /// Results are described as Rust writes them, since others read them.
    results: SchemaGenerator,
    kinds: Kinds,
}

impl Default for JobKinds {
    fn default() -> Self {
        let settings = SchemaSettings::draft2020_12;
        let (data, results) = (settings().for_deserialize(), settings().for_serialize());
        Self { data: data.into_generator(), results: results.into_generator(), kinds: BTreeMap::new() }
    }
}

impl JobKinds {
    /// Creates a list without kinds.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a kind.
    pub fn with<K>(mut self) -> Self
    where
        K: JobKind + JsonSchema,
        K::Output: JsonSchema,
    {
        let data = self.data.subschema_for::<K>().to_value();
        let result = self.results.subschema_for::<K::Output>().to_value();
        self.kinds.insert(K::NAME, (data, result));
        self
    }

    /// Returns the JSON Schema, draft 2020-12, of an object with a property for each kind, by its name, which has the
    /// properties `data` and `result`. What they are made of is in `$defs`.
    #[must_use]
    pub fn json_schema(&self) -> Value {
        let property = |(name, (data, result)): (&&str, &(Value, Value))| {
            let both = json!({ "data": data, "result": result });
            let schema = json!({ "type": "object", "properties": both, "required": ["data", "result"] });
            ((*name).to_owned(), schema)
        };
        let names: Vec<&str> = self.kinds.keys().copied().collect();
        let (kinds, definitions) = self.merged();
        json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "title": "Jobs",
            "type": "object",
            "properties": kinds.iter().map(property).collect::<Map<_, _>>(),
            "required": names,
            "$defs": definitions,
        })
    }

    /// Returns a TypeScript module that exports `Jobs`, from names to data and results, and the types that these are made
    /// of.
    ///
    /// Integers are `number`, which is exact up to 2^53. What a JSON Schema can say and a type cannot, such as a range or a
    /// pattern, is left out.
    #[must_use]
    pub fn typescript(&self) -> String {
        let (kinds, definitions) = self.merged();
        typescript::module(&kinds, &definitions)
    }

    /// Collects the kinds and all that they are made of. What is read otherwise than it is written, as an option that
    /// may be left out and never is, has two definitions; that of results has `Result` behind its name.
    fn merged(&self) -> (Kinds, Map<String, Value>) {
        let (read, written) = (self.data.definitions(), self.results.definitions());
        let differs = |(name, schema): &(&String, &Value)| read.get(*name).is_some_and(|other| other != *schema);
        let mut twofold: BTreeSet<&str> = written.iter().filter(differs).map(|(name, _)| name.as_str()).collect();
        // What is made of something twofold is so itself.
        loop {
            let is_new = |name: &String, schema: &Value| {
                read.contains_key(name) && !twofold.contains(name.as_str()) && refers_to(schema, &twofold)
            };
            let more: Vec<&str> =
                written.iter().filter(|(name, schema)| is_new(name, schema)).map(|(name, _)| name.as_str()).collect();
            if more.is_empty() {
                break;
            }
            twofold.extend(more);
        }
        let mut names = BTreeMap::new();
        for name in twofold {
            let mut own = format!("{name}Result");
            while read.contains_key(&own) || written.contains_key(&own) {
                own.push('_');
            }
            names.insert(name, own);
        }
        let renamed = |schema: &Value| {
            let mut schema = schema.clone();
            each_reference(&mut schema, &mut |name| names.get(name).cloned());
            schema
        };
        let mut definitions = read.clone();
        for (name, schema) in written {
            definitions.insert(names.get(name.as_str()).unwrap_or(name).clone(), renamed(schema));
        }
        let kinds = self.kinds.iter().map(|(name, (data, result))| (*name, (data.clone(), renamed(result))));
        (kinds.collect(), definitions)
    }
}

/// Name → the schemas of data and result.
type Kinds = BTreeMap<&'static str, (Value, Value)>;

/// What stands in front of the name of a definition in a reference to it.
const DEFINITION: &str = "#/$defs/";

/// Gives references of a schema other names, where there is one.
fn each_reference(schema: &mut Value, rename: &mut impl FnMut(&str) -> Option<String>) {
    match schema {
        Value::Object(fields) => {
            for (field, value) in fields {
                let name = value.as_str().filter(|_| field == "$ref").and_then(|text| text.strip_prefix(DEFINITION));
                match name.map(&mut *rename) {
                    Some(Some(other)) => *value = Value::String(format!("{DEFINITION}{other}")),
                    Some(None) => {}
                    None => each_reference(value, rename),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| each_reference(item, rename)),
        _ => {}
    }
}

fn refers_to(schema: &Value, names: &BTreeSet<&str>) -> bool {
    let mut is_one = false;
    each_reference(&mut schema.clone(), &mut |name| {
        is_one |= names.contains(name);
        None
    });
    is_one
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashMap};

    use serde::{Deserialize, Serialize};

    use super::*;

    /// What to build.
    #[derive(Serialize, Deserialize, JsonSchema)]
    #[serde(rename_all = "camelCase")]
    struct Build {
        /// Its name.
        index_name: String,
        #[serde(default)]
        full: bool,
        shards: Vec<Shard>,
        labels: HashMap<String, u64>,
        range: (u32, f64),
        codes: HashMap<u32, String>,
        offsets: BTreeMap<i8, Vec<Level>>,
        color: [u8; 3],
        after: Option<Box<Build>>,
        #[serde(rename = "with-dash")]
        dash: serde_json::Value,
    }

    #[derive(Serialize, Deserialize, JsonSchema)]
    #[serde(tag = "kind", rename_all = "kebab-case")]
    enum Shard {
        Local { path: String },
        Remote { url: String, weight: Option<f32> },
    }

    #[derive(Serialize, Deserialize, JsonSchema)]
    enum Level {
        Low,
        High,
    }

    /// Whatever else it has is kept.
    #[derive(Serialize, Deserialize, JsonSchema)]
    struct Open {
        id: u64,
        #[serde(flatten)]
        rest: BTreeMap<String, serde_json::Value>,
    }

    impl JobKind for Open {
        const NAME: &'static str = "open";
        type Output = ();
    }

    impl JobKind for Build {
        const NAME: &'static str = "build";
        type Output = Level;
    }

    #[derive(Serialize, Deserialize, JsonSchema)]
    struct Ping;

    impl JobKind for Ping {
        const NAME: &'static str = "ping";
        type Output = ();
    }

    #[test]
    fn the_types_of_kinds_are_written_for_node() {
        let written = JobKinds::new().with::<Build>().with::<Open>().with::<Ping>().typescript();
        let expected = r#"// Written by oxmq from the kinds of jobs of a Rust program.

/** From the names of jobs to their data and results. */
export interface Jobs {
  "build": { data: Build; result: Level };
  "open": { data: Open; result: null };
  "ping": { data: Ping; result: null };
}

/** What to build. */
export interface Build {
  after?: Build | null;
  codes: { [key: number]: string };
  color: [number, number, number];
  /** Its name. */
  indexName: string;
  full?: boolean;
  labels: { [key: string]: number };
  offsets: { [key: number]: Level[] };
  range: [number, number];
  shards: Shard[];
  "with-dash": unknown;
}

export type Level = "Low" | "High";

/** Whatever else it has is kept. */
export interface Open {
  id: number;
  [key: string]: unknown;
}

export type Ping = null;

export type Shard = { kind: "local"; path: string } | { kind: "remote"; url: string; weight?: number | null };
"#;
        let lines = |text: &str| {
            let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
            lines.sort();
            lines
        };
        assert_eq!(lines(&written), lines(expected), "{written}");
    }

    /// Read by some kinds, written by others.
    #[derive(Serialize, Deserialize, JsonSchema)]
    struct Page {
        #[serde(default)]
        words: u64,
        next: Option<Box<Page>>,
    }

    #[derive(Serialize, Deserialize, JsonSchema)]
    struct Both {
        page: Page,
        level: Level,
    }

    impl JobKind for Both {
        const NAME: &'static str = "both";
        type Output = Both;
    }

    /// Who adds a job may leave out what Rust has a default for; who reads a result finds all that Rust writes.
    #[test]
    fn data_is_described_as_it_is_read_and_results_as_they_are_written() {
        let kinds = JobKinds::new().with::<Both>();
        let written = kinds.typescript();
        for line in [
            r#"  "both": { data: Both; result: BothResult };"#,
            "export interface Page {\n  next?: Page | null;\n  words?: number;\n}",
            "export interface PageResult {\n  next: PageResult | null;\n  words: number;\n}",
            "export interface BothResult {\n  level: Level;\n  page: PageResult;\n}",
        ] {
            assert!(written.contains(line), "{line} in {written}");
        }
        assert!(!written.contains("LevelResult"), "{written}");
        let schema = kinds.json_schema();
        assert_eq!(schema["properties"]["both"]["properties"]["result"]["$ref"], "#/$defs/BothResult");
    }

    #[test]
    fn every_reference_has_its_definition() {
        let schema = JobKinds::new().with::<Build>().with::<Ping>().json_schema();
        let text = schema.to_string();
        for reference in text.split("\"#/$defs/").skip(1).map(|rest| rest.split('"').next().unwrap()) {
            assert!(schema["$defs"][reference].is_object(), "{reference} in {schema:#}");
        }
        assert_eq!(schema["required"], json!(["build", "ping"]));
    }
}
