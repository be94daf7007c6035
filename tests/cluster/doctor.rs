//! The doctor looks at every master and finds a problem on any of them.

use std::time::Duration;

use oxmq::Queue;
use oxmq::doctor::FindingKind;
use serde_json::{Value, json};

use super::{client, untagged_prefix};
use crate::common::cluster::{name_on_each, shared_cluster};

#[tokio::test]
async fn faults_on_every_master_are_reported() {
    let cluster = shared_cluster();
    let (prefix, names) = (untagged_prefix(), name_on_each("ill"));
    let client = client(cluster, &prefix).await;
    for name in &names {
        let queue: Queue<Value, Value> = client.queue(name).open().unwrap();
        let id = queue.add("job", json!({})).await.unwrap().id().to_owned();
        // With the list gone, the job can be found only by its own key.
        let key = format!("{prefix}:{name}:wait");
        let owner = cluster.owner(crate::common::cluster::slot_of(&key));
        let mut redis = cluster.nodes[owner].connection().await;
        redis::cmd("DEL").arg(&key).exec_async(&mut redis).await.unwrap();
        assert_eq!(queue.job(id).get_state().await.unwrap(), oxmq::JobState::Unknown);
    }
    let policy = async |policy: &str| {
        let mut redis = cluster.nodes[1].connection().await;
        redis::cmd("CONFIG").arg("SET").arg("maxmemory-policy").arg(policy).exec_async(&mut redis).await.unwrap();
    };
    policy("allkeys-lru").await;
    let mut doctor = client.doctor().pause(Duration::ZERO);
    for name in &names {
        doctor = doctor.queue(name);
    }
    let report = doctor.examine().await.unwrap();
    policy("noeviction").await;
    let lost = |finding: &&oxmq::doctor::Finding| finding.kind == FindingKind::LostJobs;
    let mut ill: Vec<_> = report.findings.iter().filter(lost).filter_map(|finding| finding.queue.as_deref()).collect();
    ill.sort_unstable();
    let mut all: Vec<_> = names.iter().map(String::as_str).collect();
    all.sort_unstable();
    assert_eq!(ill, all, "{report:?}");
    let evicting: Vec<_> = report.findings.iter().filter(|finding| finding.kind == FindingKind::Eviction).collect();
    let node = format!(":{}: `maxmemory-policy` is `allkeys-lru`", cluster.port(1));
    assert!(matches!(evicting[..], [finding] if finding.detail.ends_with(&node)), "{evicting:?}");
    for finding in report.findings.iter().filter(|finding| finding.kind == FindingKind::LostJobs) {
        assert_eq!(doctor.mend(finding).await.unwrap(), 1);
    }
    for name in &names {
        let queue: Queue<Value, Value> = client.queue(name).open().unwrap();
        assert_eq!(queue.get_job_counts(&[]).await.unwrap().waiting, 1, "{name}");
        queue.pause().await.unwrap();
        queue.obliterate().await.unwrap();
    }
}
