//! What it costs to write and read jobs, without a server.
//!
//!     cargo bench --features bench --bench codec

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use oxmq::bench_support::{decode_job, decode_options, encode_args, encode_options};
use oxmq::{Backoff, JobOptions};

const PLAIN: &str = r#"{"attempts":0}"#;
const RICH: &str = r#"{"attempts":5,"backoff":{"type":"exponential","delay":1000,"jitter":0.5},"delay":5000,
    "removeOnComplete":{"age":3600,"count":100},"removeOnFail":true,"kl":20,"de":{"id":"x","ttl":500},"mine":[1,2,3]}"#;

fn fields(opts: &str) -> Vec<(Vec<u8>, Vec<u8>)> {
    let data = format!(r#"{{"payload":"{}"}}"#, "x".repeat(100));
    let fields = [("name", "resize"), ("data", &data), ("opts", opts), ("timestamp", "1700000000000")];
    let more = [("delay", "0"), ("priority", "0"), ("ats", "1"), ("processedOn", "1700000000001")];
    fields.iter().chain(&more).map(|(field, value)| (field.as_bytes().to_vec(), value.as_bytes().to_vec())).collect()
}

fn codec(c: &mut Criterion) {
    let rich = JobOptions::default()
        .attempts(5)
        .backoff(Backoff::exponential(Duration::from_secs(1)))
        .delay(Duration::from_secs(5))
        .remove_on_fail(true)
        .keep_logs(20);
    for (kind, options) in [("plain", JobOptions::default()), ("rich", rich)] {
        c.bench_function(&format!("encode options/{kind}"), |b| b.iter(|| encode_options(black_box(&options))));
    }
    for (kind, json) in [("plain", PLAIN), ("rich", RICH)] {
        assert!(decode_options(json));
        c.bench_function(&format!("decode options/{kind}"), |b| b.iter(|| decode_options(black_box(json))));
        let job = fields(json);
        assert!(decode_job(b"1", job.clone()).is_some());
        c.bench_function(&format!("decode job/{kind}"), |b| {
            b.iter_batched(|| job.clone(), |job| decode_job(b"1", job), criterion::BatchSize::SmallInput);
        });
    }
    let data = "x".repeat(120);
    let one = ["w", "", "resize", &data, "{}", "1700000000000"];
    let hundred: Vec<&str> = std::iter::repeat_n(one, 100).flatten().collect();
    c.bench_function("encode args/100 adds", |b| b.iter(|| encode_args(black_box(&hundred))));
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20).warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    targets = codec
}
criterion_main!(benches);
