//! What the server does not permit, or cannot do with what is stored there: one line says so, and what to do.

use redis::Value as Reply;

use super::*;
use crate::common::server::RedisServer;

/// How often the server refused a user something since this was asked last.
async fn refusals(redis: &mut redis::aio::MultiplexedConnection) -> i64 {
    let log: Vec<Vec<Reply>> = redis::cmd("ACL").arg("LOG").query_async(redis).await.unwrap();
    redis::cmd("ACL").arg("LOG").arg("RESET").exec_async(redis).await.unwrap();
    let count = |entry: &Vec<Reply>| match entry[1] {
        Reply::Int(count) => count,
        ref other => panic!("{other:?}"),
    };
    log.iter().map(count).sum()
}

#[tokio::test]
async fn who_may_only_read_is_told_so_at_the_first_attempt() {
    let server = RedisServer::start();
    let on = Fixture::on(&server).await;
    on.add_many(1).await;
    let mut admin = server.connection().await;
    let user = ["SETUSER", "reader", "on", ">pass", "~*", "&*", "+@all", "-@write"];
    redis::cmd("ACL").arg(&user).exec_async(&mut admin).await.unwrap();
    let url = server.url().replace("://", "://reader:pass@");
    for words in [
        "add q job",
        "remove q --all --yes",
        "move q --all --to other --yes",
        "priority q --all --to 3 --yes",
        "pause q --yes",
        "drain q --yes",
        "obliterate q --yes",
    ] {
        refusals(&mut admin).await;
        let ran = oxmq_at(&url, &on, words).await;
        assert!(
            ran.code == 1 && ran.err.contains("NOPERM") && ran.err.contains(". docs/acl.md says"),
            "{words}: {ran:?}"
        );
        assert!(ran.err.lines().count() == 1 && !ran.err.contains("user_script"), "{words}: {ran:?}");
        assert!(!ran.err.contains("half-way") && !ran.err.contains("--after"), "{words}: {ran:?}");
        // Trying again for some seconds would not change it.
        assert!(refusals(&mut admin).await <= 2, "{words}: with EVALSHA, and with EVAL where the script is new");
    }
    assert_eq!(on.count(oxmq::JobState::Waiting).await, 1);
}

#[tokio::test]
async fn a_key_of_another_type_is_named_as_the_reason() {
    let on = Fixture::new().await;
    on.add_many(3).await;
    redis::cmd("SET").arg(on.key("active")).arg("odd").exec_async(&mut on.redis.clone()).await.unwrap();
    for words in ["jobs q", "queues q", "drain q --yes"] {
        let ran = oxmq(&on, words).await;
        assert!(ran.code == 1 && ran.err.contains("WRONGTYPE"), "{words}: {ran:?}");
        assert!(ran.err.contains(" value. A key of the queue holds"), "{words}: {ran:?}");
        assert!(ran.err.contains("`oxmq doctor` says which") && !ran.err.contains("user_script"), "{words}: {ran:?}");
    }
}
