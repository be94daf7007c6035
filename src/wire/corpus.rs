//! Keys that real releases of BullMQ wrote to a real server; `tests/corpus/make.mjs` creates the files.

use std::collections::BTreeMap;

use serde::Deserialize;

#[derive(Deserialize)]
pub(crate) struct Release {
    pub(crate) version: String,
    pub(crate) jobs: Vec<Hash>,
    /// Per event: field, value, field, value …
    pub(crate) events: Vec<Vec<String>>,
}

#[derive(Deserialize)]
pub(crate) struct Hash {
    pub(crate) key: String,
    pub(crate) fields: BTreeMap<String, String>,
}

impl Hash {
    /// Returns the job's id: queue names in the corpus have no colon, and the prefix is `bull`.
    pub(crate) fn id(&self) -> &str {
        self.key.splitn(3, ':').nth(2).expect("a key of three parts")
    }

    pub(crate) fn pairs(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        self.fields.iter().map(|(field, value)| (field.clone().into(), value.clone().into())).collect()
    }
}

macro_rules! releases {
    ($($version:literal)*) => {
        [$(include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corpus/", $version, ".json"))),*]
    };
}

pub(crate) fn load() -> Vec<Release> {
    let texts = releases!["5.12.0" "5.34.0" "5.58.0" "5.81.5" "6.7.0"];
    texts.into_iter().map(|text| serde_json::from_str(text).expect("a file that make.mjs wrote")).collect()
}
