//! Describes the kinds of jobs of a program for producers in other languages.

mod typescript;

use std::collections::BTreeMap;

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
    generator: SchemaGenerator,
    /// Name → the schemas of data and result.
    kinds: BTreeMap<&'static str, (Value, Value)>,
}

impl Default for JobKinds {
    fn default() -> Self {
        Self { generator: SchemaSettings::draft2020_12().into_generator(), kinds: BTreeMap::new() }
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
        let data = self.generator.subschema_for::<K>().to_value();
        let result = self.generator.subschema_for::<K::Output>().to_value();
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
        json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "title": "Jobs",
            "type": "object",
            "properties": self.kinds.iter().map(property).collect::<Map<_, _>>(),
            "required": names,
            "$defs": self.generator.definitions(),
        })
    }

    /// Returns a TypeScript module that exports `Jobs`, from names to data and results, and the types that these are made
    /// of.
    ///
    /// Integers are `number`, which is exact up to 2^53. What a JSON Schema can say and a type cannot, such as a range or a
    /// pattern, is left out.
    #[must_use]
    pub fn typescript(&self) -> String {
        typescript::module(&self.kinds, self.generator.definitions())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

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
        let written = JobKinds::new().with::<Build>().with::<Ping>().typescript();
        let expected = r#"// Written by oxmq from the kinds of jobs of a Rust program.

/** From the names of jobs to their data and results. */
export interface Jobs {
  "build": { data: Build; result: Level };
  "ping": { data: Ping; result: null };
}

/** What to build. */
export interface Build {
  after?: Build | null;
  /** Its name. */
  indexName: string;
  full?: boolean;
  labels: { [key: string]: number };
  range: [number, number];
  shards: Shard[];
  "with-dash": unknown;
}

export type Level = "Low" | "High";

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
