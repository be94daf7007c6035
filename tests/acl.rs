//! The users of docs/acl.md can do what the page says, and no more.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::time::Duration;

use oxmq::events::EventsFrom;
use oxmq::queue::Order;
use oxmq::{Client, ConnectOptions, Error, Job, JobState, Queue, Repeat};

use crate::common::cluster::{Cluster, name_on_each};
use crate::common::eventually::eventually;
use crate::common::fixture::PATIENCE;
use crate::common::log::Log;
use crate::common::sentinel::{MASTER, Sentinels};
use crate::common::server::{RedisServer, server_version};

/// Starts a server with the users of the page.
async fn server() -> RedisServer {
    let server = RedisServer::start();
    let mut connection = server.connection().await;
    for line in include_str!("../docs/acl.md").lines().filter(|line| line.starts_with("ACL SETUSER ")) {
        let mut words = line.split(' ');
        let mut command = redis::cmd(words.next().unwrap());
        command.arg(words.collect::<Vec<_>>()).exec_async(&mut connection).await.unwrap();
    }
    server
}

async fn client(server: &RedisServer, user: &str) -> Client {
    Client::connect(&server.url().replace("://", &format!("://{user}:secret@"))).await.unwrap()
}

const LIMIT: Duration = Duration::from_secs(10);

#[tokio::test]
async fn each_documented_acl_user_can_do_its_work() {
    let server = server().await;
    let queue: Queue<u32, u32> = client(&server, "bull-producer").await.queue("acl").open().unwrap();
    let process = |job: Job<u32, u32>| async move {
        job.update_progress(&1).await?;
        job.log("a line").await?;
        if *job.data() == 0 { Err("no") } else { Ok(*job.data()) }.map_err(oxmq::Halt::from)
    };
    let worker = client(&server, "bull-worker").await.worker("acl", process).metrics(5).start().unwrap();
    let later = queue.add("n", 7).delay(Duration::from_millis(50)).priority(3).await.unwrap();
    let failing = queue.add("n", 0).attempts(2).backoff(Duration::from_millis(10)).await.unwrap();
    assert_eq!(later.wait_until_finished(LIMIT).await.unwrap(), 7);
    assert!(matches!(failing.wait_until_finished(LIMIT).await, Err(Error::JobFailed { .. })));
    assert_eq!(worker.close().await.counts.completed, 1);
    queue.pause().await.unwrap();
    queue.resume().await.unwrap();

    let observer = client(&server, "bull-observer").await;
    let watched: Queue<u32, u32> = observer.queue("acl").open().unwrap();
    let counts = watched.get_job_counts(&[JobState::Completed, JobState::Failed]).await.unwrap();
    assert_eq!((counts.completed, counts.failed), (1, 1));
    assert_eq!(watched.get_job(later.id()).await.unwrap().unwrap().return_value().unwrap(), Some(7));
    assert_eq!(watched.job(later.id()).get_logs(0, -1, Order::Ascending).await.unwrap().logs, ["a line"]);
    let mut events = observer.queue_events("acl").from(EventsFrom::Beginning).start().unwrap();
    assert_eq!(events.recv().await.and_then(oxmq::events::Delivery::into_event).unwrap().name(), "added");
    assert_eq!(queue.clean(Duration::ZERO, 10, JobState::Completed).await.unwrap(), [later.id()]);
    queue.obliterate_by_force().await.unwrap();
    assert_eq!(watched.count().await.unwrap(), 0);
}

#[tokio::test]
async fn documented_acl_users_are_permitted_nothing_else() {
    let server = server().await;
    let observer: Queue<u32, u32> = client(&server, "bull-observer").await.queue("acl").open().unwrap();
    assert!(observer.add("n", 1).await.is_err());
    assert!(matches!(observer.get_workers().await, Err(Error::NotPermitted { command: "CLIENT LIST", .. })));
    for user in ["bull-worker", "bull-producer", "bull-observer"] {
        let url = server.url().replace("://", &format!("://{user}:secret@"));
        let mut connection = redis::Client::open(url).unwrap().get_multiplexed_async_connection().await.unwrap();
        for forbidden in ["GET other", "FLUSHALL", "KEYS *", "CONFIG GET maxmemory", "SCRIPT FLUSH"] {
            let mut words = forbidden.split(' ');
            let mut command = redis::cmd(words.next().unwrap());
            let error = command.arg(words.collect::<Vec<_>>()).exec_async(&mut connection).await.unwrap_err();
            assert_eq!(error.code(), Some("NOPERM"), "{user}: {forbidden}: {error}");
        }
    }
}

#[tokio::test]
async fn a_user_with_every_listed_command_is_refused_nothing() {
    let server = server().await;
    // Servers before 7.2 do not know this command.
    let more = ["SETUSER", "bull-exact", "+client|setinfo"];
    let _ = redis::cmd("ACL").arg(&more).exec_async(&mut server.connection().await).await;
    let client = client(&server, "bull-exact").await;
    let queue: Queue<u32, u32> = client.queue("acl").open().unwrap();
    let mut events = client.queue_events("acl").from(EventsFrom::Beginning).start().unwrap();
    let process = |job: Job<u32, u32>| async move {
        job.update_progress(&1).await?;
        job.log("a line").await?;
        if *job.data() == 0 { Err("no") } else { Ok(*job.data()) }.map_err(oxmq::Halt::from)
    };
    let worker = client.worker("acl", process).metrics(5).start().unwrap();
    let later = queue.add("n", 7).delay(Duration::from_millis(50)).priority(3).await.unwrap();
    let failing = queue.add("n", 0).attempts(2).backoff(Duration::from_millis(10)).await.unwrap();
    assert_eq!(later.wait_until_finished(LIMIT).await.unwrap(), 7);
    assert!(matches!(failing.wait_until_finished(LIMIT).await, Err(Error::JobFailed { .. })));
    let every = Repeat::every(Duration::from_secs(3600));
    queue.upsert_job_scheduler("s", every).data(1).await.unwrap();
    assert_eq!(queue.get_job_schedulers(0, -1, Order::Ascending).await.unwrap().len(), 1);
    assert!(queue.get_workers().await.is_ok() && queue.get_metrics(JobState::Completed, 0, -1).await.is_ok());
    assert_eq!(queue.retry_jobs(JobState::Failed, None).await.unwrap(), 1);
    assert!(queue.remove_job_scheduler("s").await.unwrap());
    assert!(queue.job(later.id()).remove().await.is_ok());
    assert!(events.recv().await.is_some());
    worker.close().await;
    queue.drain().await.unwrap();
    queue.obliterate_by_force().await.unwrap();
    let mut admin = server.connection().await;
    let refused: redis::Value = redis::cmd("ACL").arg("LOG").query_async(&mut admin).await.unwrap();
    assert_eq!(refused, redis::Value::Array(Vec::new()));
}

/// Collects every word that follows `before` in the source files of a folder, up to the next quotation mark.
fn words_behind(folder: &str, before: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]").next().unwrap_or_default();
            found.extend(code.split(before).skip(1).filter_map(|rest| Some(rest.split_once('"')?.0.to_owned())));
        }
    }
    found
}

#[test]
fn every_command_sent_is_listed_on_the_acl_page() {
    let page = include_str!("../docs/acl.md").to_lowercase();
    let is_named = |word: &str| page.contains(&format!("+{}", word.to_lowercase())) || word == "ROLE";
    let in_scripts = words_behind("lua", "call(\"");
    let sent = words_behind("src", "Cmd::new().arg(\"");
    let called: BTreeSet<String> = words_behind("src/script", "Call::command(\"")
        .into_iter()
        .flat_map(|op| words_behind("src/script", &format!("Call::command(\"{op}\", \"")))
        .collect();
    assert!(in_scripts.len() > 50 && sent.len() > 5 && called.len() > 10, "{in_scripts:?} {sent:?} {called:?}");
    for word in in_scripts.iter().chain(&sent).chain(&called) {
        assert!(is_named(word), "docs/acl.md does not name {word}");
    }
}

/// What a user loses who lacks a command is not known before a script stops half-way, so it is told at once.
#[tokio::test]
async fn each_command_that_scripts_write_with_is_missed_when_a_client_connects() {
    let server = RedisServer::start();
    let mut admin = server.connection().await;
    let mut writing = Vec::new();
    for command in words_behind("lua", "call(\"") {
        let info: redis::Value = redis::cmd("COMMAND").arg("INFO").arg(&command).query_async(&mut admin).await.unwrap();
        if format!("{info:?}").contains("\"write\"") {
            writing.push(command);
        }
    }
    assert!(writing.len() > 20, "{writing:?}");
    let told_to = async |rights: &str| {
        acl(&mut server.connection().await, &format!("SETUSER bull reset on >secret ~bull:* {rights}")).await;
        let log = Log::begin();
        client(&server, "bull").await;
        log.with("half-way")
    };
    for fine in ["+@all", "+@all -@write"] {
        assert_eq!(told_to(fine).await, Vec::<String>::new(), "{fine}");
    }
    for command in &writing {
        let told = told_to(&format!("+@all -{command}")).await;
        // Before version 7 nothing is checked within scripts, and nobody is asked.
        let is_told = matches!(&told[..], [line] if line.contains(&format!("[\"{command}\"]")));
        assert!(if server_version() < 7 { told.is_empty() } else { is_told }, "{command}: {told:?}");
    }
}

/// Returns what the page has in backquotes after these words.
fn quoted_behind(words: &str) -> &'static str {
    let page = include_str!("../docs/acl.md");
    page.split(words).nth(1).and_then(|rest| rest.split('`').nth(1)).unwrap_or_else(|| panic!("{words}"))
}

async fn acl(redis: &mut redis::aio::MultiplexedConnection, words: &str) -> redis::Value {
    redis::cmd("ACL").arg(words.split(' ').collect::<Vec<_>>()).query_async(redis).await.unwrap()
}

/// Adds a job, lets a worker run it, and expects that the server has refused nothing but what the page names.
async fn runs_a_job(client: &Client, name: &str) {
    let queue: Queue<u32, u32> = client.queue(name).open().unwrap();
    let double = |job: Job<u32, u32>| async move { Ok::<_, oxmq::Halt>(job.data() * 2) };
    let worker = client.worker(name, double).start().unwrap();
    let job = queue.add("n", 21).delay(Duration::from_millis(20)).await.unwrap();
    assert_eq!(job.wait_until_finished(PATIENCE).await.unwrap(), 42);
    worker.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_documented_rights_are_enough_on_a_cluster() {
    let cluster = Cluster::start();
    let more = quoted_behind("on a [cluster](servers.md#cluster): ");
    for node in &cluster.nodes {
        let mut admin = crate::common::server::connect(&format!("redis://{}", node.addr())).await;
        for line in include_str!("../docs/acl.md").lines().filter_map(|line| line.strip_prefix("ACL SETUSER ")) {
            // The queue's names need a hash tag, and no other prefix.
            acl(&mut admin, &format!("SETUSER {line} {more}")).await;
        }
    }
    for user in ["bull-worker", "bull-exact"] {
        let options = ConnectOptions::cluster(&cluster.hosts()[..1]).unwrap().username(user).password("secret");
        let client = Client::builder(options).connect().await.unwrap();
        for name in name_on_each(user) {
            runs_a_job(&client, &name).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_documented_rights_are_enough_behind_sentinels() {
    let sentinels = Sentinels::start().await;
    let at_sentinels = quoted_behind("Users of the sentinels themselves: ");
    for host in sentinels.hosts() {
        let mut admin = crate::common::server::connect(&format!("redis://{host}")).await;
        acl(&mut admin, &format!("SETUSER watcher on >s3cret resetchannels -@all {at_sentinels}")).await;
    }
    let role = quoted_behind("behind [sentinels](servers.md#sentinel): ");
    for server in &sentinels.servers {
        let mut admin = server.connection().await;
        for line in include_str!("../docs/acl.md").lines().filter_map(|line| line.strip_prefix("ACL SETUSER ")) {
            acl(&mut admin, &format!("SETUSER {line}")).await;
            let mute = line.replacen("bull-", "mute-", 1);
            acl(&mut admin, &format!("SETUSER {mute} -hello {role}")).await;
        }
    }
    let options = |user: &str| {
        let options = ConnectOptions::sentinel(sentinels.hosts(), MASTER).unwrap().username(user).password("secret");
        options.sentinel_username("watcher").sentinel_password("s3cret")
    };
    let users = ["bull-worker", "mute-worker", "mute-exact"];
    let connect = |user| Client::builder(options(user)).connect();
    let clients = futures::future::join_all(users.map(connect)).await;
    let clients: Vec<Client> = clients.into_iter().map(Result::unwrap).collect();
    for (client, user) in clients.iter().zip(users) {
        runs_a_job(client, user).await;
        // A server that the sentinels name, and that is a replica all the same, is not used.
        let replica = sentinels.servers[1].port();
        let astray = options(user).node_addresses(move |host, _| Some((host.to_owned(), replica)));
        let error = Client::builder(astray).connect().await.unwrap_err().to_string();
        let expected = format!("connect: no connection to redis://127.0.0.1:{replica}: the server is a replica");
        assert_eq!(error, expected, "{user}");
    }
    sentinels.fail_over().await;
    sentinels.until_master(1).await;
    let admin = sentinels.servers[1].connection().await;
    for (client, user) in clients.iter().zip(users) {
        // What the old master still takes is lost.
        eventually("it is at the new master", || {
            let mut admin = admin.clone();
            async move {
                let _ = client.ping().await;
                let clients: String = redis::cmd("CLIENT").arg("LIST").query_async(&mut admin).await.unwrap();
                clients.contains(&format!(" user={user} "))
            }
        })
        .await;
        runs_a_job(client, &format!("{user}-2")).await;
    }
    for host in sentinels.hosts() {
        let mut admin = crate::common::server::connect(&format!("redis://{host}")).await;
        let refused: Vec<HashMap<String, redis::Value>> =
            redis::cmd("ACL").arg("LOG").query_async(&mut admin).await.unwrap();
        // The driver says its name and version to servers that let it.
        let is_name = |entry: &HashMap<String, redis::Value>| matches!(&entry["object"], redis::Value::BulkString(object) if object.starts_with(b"client"));
        assert!(refused.iter().all(is_name), "{refused:?}");
    }
}
