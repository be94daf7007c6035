//! The types that Node producers are given: read by the compiler of TypeScript and by a validator of JSON Schema.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use oxmq::JobKind;
use oxmq::schema::JobKinds;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// What a producer sends to encode a film.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Encode {
    file_name: String,
    #[serde(default)]
    quality: u8,
    /// By the number of the track.
    tracks: HashMap<u32, String>,
    shifts: BTreeMap<i16, f64>,
    labels: BTreeMap<String, Vec<u64>>,
    size: [u32; 2],
    cut: Option<(f64, f64)>,
    target: Target,
    parts: Vec<Part>,
    #[serde(rename = "x-note")]
    note: Value,
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case")]
enum Target {
    Disk { path: String },
    Bucket { url: String, region: Option<String> },
}

/// Its further fields are kept as they are.
#[derive(Serialize, Deserialize, JsonSchema)]
struct Part {
    id: u64,
    #[serde(default)]
    after: Vec<Part>,
    #[serde(flatten)]
    rest: BTreeMap<String, Value>,
}

#[derive(Serialize, Deserialize, JsonSchema)]
enum Outcome {
    Done,
    Skipped { why: String },
}

impl JobKind for Encode {
    const NAME: &'static str = "encode film";
    type Output = Outcome;
}

fn kinds() -> JobKinds {
    JobKinds::new().with::<Encode>()
}

/// A program that fulfils the types. Each line of [`BAD`] breaks them.
const GOOD: &str = r#"import type { Encode, Jobs, Part } from "./jobs";
const part: Part = { id: 1, after: [{ id: 2 }], codec: "av1", frames: 5 };
export const data: Jobs["encode film"]["data"] = {
  fileName: "a.mkv", tracks: { 1: "en", "2": "de" }, shifts: { [-1]: 0.5 }, labels: { a: [1, 2] }, size: [640, 480],
  cut: null, target: { kind: "bucket", url: "s3://b" }, parts: [part], "x-note": { any: ["thing"] },
};
export const less: Encode = { ...data, quality: 3, cut: [0, 1.5], target: { kind: "disk", path: "/" } };
export const results: Jobs["encode film"]["result"][] = ["Done", { Skipped: { why: "short" } }];
"#;

const BAD: [&str; 9] = [
    r#"export const a: Encode = { ...data, fileName: 5 };"#,
    r#"export const b: Encode = { ...data, tracks: { en: "1" } };"#,
    r#"export const c: Encode = { ...data, tracks: { 1: 1 } };"#,
    r#"export const d: Encode = { ...data, size: [1, 2, 3] };"#,
    r#"export const e: Encode = { ...data, target: { kind: "tape" } };"#,
    r#"export const f: Encode = { ...data, parts: [{ after: [] }] };"#,
    r#"export const g: Encode = { ...data, unknown: 1 };"#,
    r#"export const h: Encode = { fileName: "a.mkv" };"#,
    r#"export const i: Jobs["encode film"]["result"] = { Skipped: {} };"#,
];

fn node() -> PathBuf {
    let node = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/node");
    assert!(node.join("node_modules/typescript").is_dir(), "the packages of Node are missing: run `make setup`");
    node
}

/// Returns what the compiler says of `jobs.ts` and a program beside it.
fn compile(program: &str) -> String {
    let dir = oxmq::testing::fresh_dir();
    std::fs::write(dir.join("jobs.ts"), kinds().typescript()).unwrap();
    let file = dir.join("program.ts");
    std::fs::write(&file, program).unwrap();
    let mut compiler = Command::new("node");
    compiler.arg(node().join("node_modules/typescript/bin/tsc"));
    compiler
        .args([
            "--noEmit",
            "--strict",
            "--pretty",
            "false",
            "--target",
            "es2022",
            "--module",
            "esnext",
            "--moduleResolution",
            "bundler",
        ])
        .arg(&file);
    let output = compiler.current_dir(&dir).output().unwrap();
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn the_compiler_of_typescript_accepts_good_producers_and_refuses_bad_ones() {
    assert_eq!(compile(GOOD), "");
    let bad = format!("{GOOD}{}\n", BAD.join("\n"));
    let told = compile(&bad);
    let lines = told.lines().filter_map(|line| line.strip_prefix("program.ts(")?.split(',').next()?.parse().ok());
    let first = GOOD.lines().count() + 1;
    assert_eq!(lines.collect::<BTreeSet<usize>>(), (first..first + BAD.len()).collect(), "{told}");
}

/// Returns of each value whether it is valid as data and as a result.
fn valid(jobs: &[(Value, Value)]) -> Vec<bool> {
    let instance = |(data, result): &(Value, Value)| json!({ "encode film": { "data": data, "result": result } });
    let asked = json!({
        "schema": kinds().json_schema(),
        "instances": jobs.iter().map(instance).collect::<Vec<_>>(),
    });
    let mut validator = Command::new("node");
    let validator = validator.arg(node().join("validate.mjs")).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut running = validator.spawn().unwrap();
    running.stdin.take().unwrap().write_all(asked.to_string().as_bytes()).unwrap();
    serde_json::from_slice(&running.wait_with_output().unwrap().stdout).unwrap()
}

#[test]
fn what_a_validator_accepts_can_be_read_and_what_rust_writes_is_accepted() {
    let good = json!({
        "fileName": "a.mkv", "tracks": { "1": "en" }, "shifts": { "-1": 0.5 }, "labels": { "a": [1] }, "size": [640, 480],
        "cut": null, "target": { "kind": "disk", "path": "/" }, "x-note": null,
        "parts": [{ "id": 1, "after": [{ "id": 2, "codec": "av1" }], "frames": 5 }],
    });
    let with = |name: &str, value: Value| {
        let mut data = good.clone();
        data[name] = value;
        data
    };
    let written = serde_json::from_value::<Encode>(good.clone()).unwrap();
    let mut jobs = vec![
        (good.clone(), json!("Done")),
        (with("quality", json!(3)), json!({ "Skipped": { "why": "short" } })),
        (serde_json::to_value(&written).unwrap(), serde_json::to_value(Outcome::Done).unwrap()),
    ];
    let is_good = jobs.len();
    for (name, value) in [
        ("fileName", json!(5)),
        ("tracks", json!({ "en": "1" })),
        ("tracks", json!({ "1": 1 })),
        ("shifts", json!({ "1": "x" })),
        ("size", json!([1, 2, 3])),
        ("cut", json!([1])),
        ("target", json!({ "kind": "tape" })),
        ("parts", json!([{ "after": [] }])),
        ("unknown", json!(1)),
    ] {
        jobs.push((with(name, value), json!("Done")));
    }
    let valid = valid(&jobs);
    for (number, ((data, _), valid)) in jobs.iter().zip(valid).enumerate() {
        assert_eq!(valid, number < is_good, "{data}");
        assert_eq!(serde_json::from_value::<Encode>(data.clone()).is_ok(), valid, "{data}");
    }
}
