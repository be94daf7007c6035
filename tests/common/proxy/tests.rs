use super::*;
use crate::common::eventually::eventually;
use crate::common::server::{self, RedisServer, fresh_prefix, shared_server};

async fn proxy() -> Proxy {
    Proxy::start(shared_server().addr()).await
}

async fn incr(connection: &mut redis::aio::MultiplexedConnection, key: &str) -> Option<i64> {
    let command = redis::cmd("INCR").arg(key).to_owned();
    let call = command.query_async(connection);
    tokio::time::timeout(Duration::from_millis(200), call).await.ok()?.ok()
}

async fn value(key: &str) -> Option<i64> {
    let mut connection = shared_server().connection().await;
    redis::cmd("GET").arg(key).query_async(&mut connection).await.unwrap()
}

#[tokio::test]
async fn a_lost_reply_leaves_its_effect() {
    let (proxy, key) = (proxy().await, fresh_prefix());
    let mut connection = server::connect(&proxy.url()).await;
    assert_eq!(incr(&mut connection, &key).await, Some(1));
    proxy.cut_after_request(Matcher::command("incr").skip(1));
    assert_eq!(incr(&mut connection, &key).await, Some(2));
    assert_eq!(incr(&mut connection, &key).await, None);
    assert_eq!(value(&key).await, Some(3));
    assert_eq!(incr(&mut server::connect(&proxy.url()).await, &key).await, Some(4));
    assert_eq!((proxy.counters().lost_replies, proxy.counters().connections), (1, 2));
}

#[tokio::test]
async fn a_lost_request_leaves_nothing() {
    let (proxy, key) = (proxy().await, fresh_prefix());
    let mut connection = server::connect(&proxy.url()).await;
    proxy.drop_request(Matcher::mentions(key.as_bytes()).times(2));
    assert_eq!(incr(&mut connection, &key).await, None);
    let mut connection = server::connect(&proxy.url()).await;
    assert_eq!(incr(&mut connection, &key).await, None);
    assert_eq!(value(&key).await, None);
    assert_eq!(proxy.counters().lost_requests, 2);
}

#[tokio::test]
async fn a_cut_ends_all_connections() {
    let (proxy, key) = (proxy().await, fresh_prefix());
    let mut connection = server::connect(&proxy.url()).await;
    proxy.cut_now();
    eventually("no connection is open", || async { proxy.open_connections() == 0 }).await;
    assert_eq!(incr(&mut connection, &key).await, None);
    assert_eq!(incr(&mut server::connect(&proxy.url()).await, &key).await, Some(1));
}

#[tokio::test]
async fn a_black_hole_keeps_connections_open_and_sends_nothing_on() {
    let (proxy, key) = (proxy().await, fresh_prefix());
    let mut old = server::connect(&proxy.url()).await;
    proxy.blackhole_existing();
    assert_eq!(incr(&mut old, &key).await, None);
    assert_eq!(proxy.open_connections(), 1);
    let mut new = server::connect(&proxy.url()).await;
    assert_eq!(incr(&mut new, &key).await, Some(1));
    proxy.blackhole_all();
    assert_eq!(incr(&mut new, &key).await, None);
    assert_eq!(value(&key).await, Some(1));
    proxy.heal();
    // Held bytes are sent on.
    eventually("the held request is done", || async { value(&key).await == Some(2) }).await;
    assert_eq!(incr(&mut new, &key).await, Some(3));
    assert_eq!(incr(&mut old, &key).await, None);
}

#[tokio::test]
async fn a_narrow_line_delays_both_directions() {
    let (proxy, key) = (proxy().await, fresh_prefix());
    let mut connection = server::connect(&proxy.url()).await;
    proxy.throttle(1_000_000);
    let value = vec![b'x'; 300_000];
    for (command, lane) in
        [(redis::cmd("SET").arg(&key).arg(&value).to_owned(), "up"), (redis::cmd("GET").arg(&key).to_owned(), "down")]
    {
        let start = Instant::now();
        let _: redis::Value = command.query_async(&mut connection).await.unwrap();
        assert!(start.elapsed() >= Duration::from_millis(290), "{lane}: {:?}", start.elapsed());
    }
    let Counters { up, down, .. } = proxy.counters();
    assert!(up > 300_000 && down > 300_000 && up + down < 610_000, "{up} {down}");
}

#[tokio::test]
async fn a_stall_ends_by_itself_and_new_connections_go_elsewhere() {
    let other = RedisServer::start();
    let (proxy, key) = (proxy().await, fresh_prefix());
    let mut old = server::connect(&proxy.url()).await;
    proxy.stall(Duration::from_millis(50));
    let start = Instant::now();
    assert_eq!(incr(&mut old, &key).await, Some(1));
    assert!(start.elapsed() >= Duration::from_millis(40));
    proxy.retarget(other.addr());
    let mut new = server::connect(&proxy.url()).await;
    assert_eq!(incr(&mut new, &key).await, Some(1));
    assert_eq!(incr(&mut old, &key).await, Some(2));
}
