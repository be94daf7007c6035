//! Credentials, rights and versions.

use std::time::Duration;

use oxmq::queue::Order;
use oxmq::worker::WorkerEvent;
use oxmq::{Client, ConnectOptions, Error, Halt, Job, JobState, Queue};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::common::check::check;
use crate::common::eventually::eventually;
use crate::common::fixture::{Fixture, PATIENCE, listen};
use crate::common::log::Log;
use crate::common::server::{RedisServer, server_version};

const SECRET: &str = "correct-horse-battery";

/// Returns the error's text, its `Debug` form and all of its causes.
fn everything(error: &Error) -> String {
    let mut text = format!("{error} {error:?}");
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text.push_str(&format!(" {cause} {cause:?}"));
        source = cause.source();
    }
    text
}

#[tokio::test]
async fn the_error_of_a_wrong_password_does_not_show_it() {
    let server = RedisServer::start_with(&["--requirepass", "right"]);
    let with = |url: &str| ConnectOptions::from_url(url).unwrap();
    let host = server.addr();
    let wrong = with(&format!("redis://:{SECRET}@{host}"));
    let error = Client::builder(wrong).connect().await.unwrap_err();
    assert!(matches!(error, Error::Redis { .. }), "{error:?}");
    let text = everything(&error);
    assert!(!text.contains(SECRET), "{text}");
    // Waiting for the server does not include waiting for the right password.
    let patient = with(&format!("redis://joe:{SECRET}@{host}")).wait_for_server(true);
    let answer = tokio::time::timeout(PATIENCE, Client::builder(patient).connect()).await;
    let text = everything(&answer.expect("an answer").unwrap_err());
    assert!(!text.contains(SECRET) && !text.contains("joe"), "{text}");
    // No password, where the server wants one.
    let none = Client::builder(with(&format!("redis://{host}"))).connect().await.unwrap_err();
    let text = everything(&none);
    assert!(text.to_lowercase().contains("auth"), "{text}");
}

#[tokio::test]
async fn a_password_that_changes_is_an_error_until_it_is_right_again() {
    let server = RedisServer::start_with(&["--requirepass", "right"]);
    let admin = redis::Client::open(format!("redis://:right@{}", server.addr())).unwrap();
    let mut admin = admin.get_multiplexed_async_connection().await.unwrap();
    let options = ConnectOptions::from_url(&format!("redis://:right@{}", server.addr())).unwrap();
    let client =
        Client::builder(options.command_timeout(Duration::from_secs(1))).prefix("auth").connect().await.unwrap();
    let queue = client.queue::<Value, ()>("q").open().unwrap();
    let worker = client.worker("q", |_: Job<Value, ()>| async { Ok::<_, Halt>(()) }).start().unwrap();
    queue.add("job", json!(1)).await.unwrap().wait_until_finished(PATIENCE).await.unwrap();
    let set = |password: &str| redis::cmd("CONFIG").arg("SET").arg("requirepass").arg(password).to_owned();
    let () = set("other").query_async(&mut admin).await.unwrap();
    let kill = redis::cmd("CLIENT").arg("KILL").arg("TYPE").arg("normal").to_owned();
    let _: usize = kill.query_async(&mut admin).await.unwrap();
    let error = eventually("it is noticed", || async { queue.add("job", json!(2)).await.err() }).await;
    let text = everything(&error);
    assert!(!text.contains("right") || !text.contains(":right"), "{text}");
    let () = set("right").query_async(&mut admin).await.unwrap();
    let job = eventually("it works again", || async { queue.add("job", json!(3)).await.ok() }).await;
    job.wait_until_finished(PATIENCE).await.unwrap();
    worker.close().await;
}

/// The rights that the documentation asks for.
const RIGHTS: &str = "resetchannels -@all +@read +@write +@blocking +@scripting +@connection +@transaction \
    -@dangerous -@admin -script +script|load -function -fcall -fcall_ro -flushdb -flushall -swapdb -keys +info \
    +client|list";

async fn works_with_rights(more: &str) {
    let server = RedisServer::start();
    let mut admin = server.connection().await;
    let mut set = redis::cmd("ACL");
    set.arg("SETUSER").arg("bull").arg("on").arg(">pass").arg("~t*").arg("~{t*");
    for rule in RIGHTS.split_whitespace().chain(more.split_whitespace()) {
        // Servers before 7.0 cannot grant parts of a command.
        if server_version() >= 7 || !rule.contains('|') && !rule.contains("fcall") && rule != "-function" {
            set.arg(rule);
        }
    }
    let () = set.query_async(&mut admin).await.unwrap();
    let options = ConnectOptions::from_url(&format!("redis://bull:pass@{}", server.addr())).unwrap();
    let fixture = Fixture::with(options, &server).await;
    let worker = fixture
        .worker(|mut job: Job<Value, u32>| async move {
            job.update_progress(&1).await?;
            job.update_data(json!(2)).await?;
            job.log("line").await?;
            if job.attempts_started() == 1 { Err(Halt::failed("once")) } else { Ok(1) }
        })
        .stalled_interval(Duration::from_millis(100))
        .lock_duration(Duration::from_secs(4))
        .start()
        .unwrap();
    let heard = listen(&worker);
    let mut ids = Vec::new();
    for n in 0..5 {
        let job = fixture.queue.add("job", json!(n)).attempts(2).delay(Duration::from_millis(n)).await.unwrap();
        job.wait_until_finished(PATIENCE).await.unwrap();
        ids.push(job.id().to_owned());
    }
    fixture.until(JobState::Completed, 5).await;
    assert_eq!(heard.errors(), Vec::<String>::new());
    worker.close().await;
    check(&fixture, &ids).await;
    // If the version of the server is unknown, oxmq tries whether it knows script flags. So a full server is drained
    // here, too.
    if server_version() >= 7 {
        fixture.add_many(10).await;
        let () = redis::cmd("CONFIG").arg("SET").arg("maxmemory").arg(1).query_async(&mut admin).await.unwrap();
        let worker = fixture.worker(|_: Job<Value, u32>| async { Ok::<_, Halt>(1) }).start().unwrap();
        fixture.until(JobState::Completed, 15).await;
        worker.close().await;
    }
}

#[tokio::test]
async fn a_user_with_few_rights_can_do_everything_that_matters() {
    works_with_rights("").await;
}

#[tokio::test]
async fn a_user_without_permission_for_hello_can_connect_and_work() {
    works_with_rights("-hello -client").await;
}

/// The user lacks a command by which a script hands jobs out: the worker tells, and every job goes on to wait.
#[tokio::test]
async fn a_command_that_scripts_lack_is_told_and_costs_no_job_and_no_other_queue() {
    // Before version 7 nothing is checked within scripts.
    if server_version() < 7 {
        return;
    }
    // A script writes events before any job is active, and puts jobs into `active` after all of them were started.
    for (command, priority) in [("xadd", 0), ("xadd", 3), ("lpush", 0), ("lpush", 3)] {
        let server = RedisServer::start();
        let fixture = Fixture::on(&server).await;
        let mut admin = fixture.redis.clone();
        let user = ["SETUSER", "bull", "on", ">pass", "~*", "&*", "+@all", &format!("-{command}")];
        redis::cmd("ACL").arg(&user).exec_async(&mut admin).await.unwrap();
        let options = ConnectOptions::from_url(&format!("redis://bull:pass@{}", server.addr())).unwrap();
        let log = Log::begin();
        let client = Client::builder(options).prefix(&fixture.prefix).connect().await.unwrap();
        let warned = log.with("half-way");
        assert!(
            matches!(&warned[..], [line] if line.contains(&format!("[\"{}\"]", command.to_uppercase()))),
            "{warned:?}"
        );
        let (queue, other): (Queue<Value, Value>, Queue<Value, Value>) =
            (client.queue("q").open().unwrap(), fixture.client.queue("other").open().unwrap());
        let mut ids = Vec::new();
        for n in 0..3 {
            ids.push(fixture.queue.add("job", json!(n)).priority(priority).await.unwrap().id().to_owned());
        }
        let order = async || {
            let states = [JobState::Waiting, JobState::Prioritized];
            let jobs = fixture.queue.get_jobs(&states, 0, -1, Order::Ascending).await.unwrap();
            jobs.iter().map(|job| job.as_ref().unwrap().id().to_owned()).collect::<Vec<_>>()
        };
        let before = order().await;
        let done = async |_: Job<Value, Value>| Ok::<_, Halt>(Value::Null);
        let stuck = client.worker("q", done).concurrency(2).start().unwrap();
        let free = fixture.client.worker("other", done).start().unwrap();
        let heard = listen(&stuck);
        heard.until("the worker tells", |event| matches!(event, WorkerEvent::Error(_))).await;
        for n in 0..2 {
            other.add("job", json!(n)).await.unwrap().wait_until_finished(PATIENCE).await.unwrap();
        }
        assert!(heard.errors().iter().all(|error| error.contains("NOPERM")), "{:?}", heard.errors());
        assert_eq!(order().await, before, "{command}: they wait in their order");
        let marked: usize = redis::cmd("ZCARD").arg(fixture.key("marker")).query_async(&mut admin).await.unwrap();
        assert_eq!(marked, 1, "{command}: a worker with the right would be woken");
        for id in &ids {
            let locked: bool =
                redis::cmd("EXISTS").arg(fixture.key(&format!("{id}:lock"))).query_async(&mut admin).await.unwrap();
            assert!(!locked, "{command}: {id}");
        }
        // Redis does not tell a script which command it was, and writes it into its own log.
        let told: Vec<redis::Value> = redis::cmd("ACL").arg("LOG").query_async(&mut admin).await.unwrap();
        assert!(format!("{told:?}").contains(command), "{told:?}");
        if priority == 0 {
            let error = queue.add("job", json!(1)).await.unwrap_err();
            assert!(error.is_not_permitted() && !error.is_retryable(), "{error}");
            let added = queue.add_bulk((0..2).map(|n| oxmq::NewJob::new("job", json!(n)))).await.unwrap();
            assert!(added.into_iter().all(|job| job.is_err_and(|error| error.is_not_permitted())));
        }
        redis::cmd("ACL").arg(&["SETUSER", "bull", &format!("+{command}")]).exec_async(&mut admin).await.unwrap();
        for id in &ids {
            fixture.queue.job(id).wait_until_finished(PATIENCE).await.unwrap();
        }
        stuck.close().await;
        free.close().await;
    }
}

#[tokio::test]
async fn a_forbidden_blocking_wait_is_not_repeated_without_a_pause() {
    let server = RedisServer::start();
    let mut admin = server.connection().await;
    let set = redis::cmd("ACL").arg(&["SETUSER", "bull", "on", ">pass", "~*", "&*", "+@all", "-bzpopmin"]).to_owned();
    let () = set.query_async(&mut admin).await.unwrap();
    let options = ConnectOptions::from_url(&format!("redis://bull:pass@{}", server.addr())).unwrap();
    let fixture = Fixture::with(options, &server).await;
    let worker = fixture.worker(|_: Job<Value, ()>| async { Ok::<_, Halt>(()) }).start().unwrap();
    let id = fixture.add(json!(1)).await;
    fixture.until(JobState::Completed, 1).await;
    let calls = || async {
        let text: String = redis::cmd("INFO").arg("stats").query_async(&mut admin.clone()).await.unwrap();
        let of = |name: &str| -> u64 {
            text.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().parse().unwrap()
        };
        (of("total_commands_processed:"), of("total_connections_received:"))
    };
    let heard = listen(&worker);
    let before = calls().await;
    for _ in 0..100 {
        tokio::time::sleep(Duration::from_millis(20)).await; // time itself
        // A refusal is an answer: the server is there, and so is the worker, all the time.
        assert!(worker.health().connected && fixture.client.ping().await.is_ok());
    }
    let after = calls().await;
    assert_eq!(heard.count(|event| matches!(event, WorkerEvent::Disconnected { .. })), 0);
    // A fetch takes about 15 commands and a connection 5, and 100 are pings of this test. Once the pauses have grown, a
    // fetch and a connection happen twice a second at most.
    assert!(after.0 - before.0 < 700, "{} commands in 2 s", after.0 - before.0);
    assert!(after.1 - before.1 < 40, "{} connections in 2 s", after.1 - before.1);
    worker.close().await;
    check(&fixture, &[id]).await;
}

#[tokio::test]
async fn a_server_that_comes_back_with_other_settings_is_asked_again() {
    let mut server = RedisServer::start();
    let log = Log::begin();
    let client = Client::connect(&server.url()).await.unwrap();
    server.set_args(&["--maxmemory-policy", "allkeys-lru"]);
    server.restart();
    eventually("it is told", || async {
        // Only a client that calls its server learns that there was a break.
        let _ = client.ping().await;
        log.with("noeviction").len() == 1
    })
    .await;
}

#[tokio::test]
async fn a_server_that_may_evict_jobs_is_warned_of_once() {
    let server = RedisServer::start();
    let mut admin = server.connection().await;
    let log = Log::begin();
    let client = Client::connect(&server.url()).await.unwrap();
    assert_eq!(log.lines(), Vec::<String>::new());
    let set = |option: &str, value: &str| redis::cmd("CONFIG").arg(&["SET", option, value]).to_owned();
    let () = set("maxmemory-policy", "allkeys-lru").query_async(&mut admin).await.unwrap();
    let client = (client, Client::connect(&server.url()).await.unwrap());
    let told = log.with("noeviction");
    assert!(matches!(&told[..], [line] if line.contains("WARN") && line.contains("allkeys-lru")), "{told:?}");
    // A broken connection does not repeat the warning.
    let kill = redis::cmd("CLIENT").arg("KILL").arg("TYPE").arg("normal").to_owned();
    let _: usize = kill.query_async(&mut admin).await.unwrap();
    eventually("it is connected again", || async { client.1.ping().await.ok() }).await;
    assert_eq!(log.with("noeviction").len(), 1);
    // Without the right to CONFIG, INFO tells the policy. A user without either right can still connect.
    for (rights, warnings) in [("+info -config", 2), ("-info -config", 2)] {
        let user = redis::cmd("ACL").arg(&["SETUSER", "bull", "reset", "on", ">pass", "~*", "&*", "+@all"]).to_owned();
        let () = user.clone().arg(rights.split(' ').collect::<Vec<_>>()).query_async(&mut admin).await.unwrap();
        // A manual clock may be years away from the server's clock.
        let options = ConnectOptions::from_url(&format!("redis://bull:pass@{}", server.addr())).unwrap();
        let manual =
            Client::builder(options).clock(oxmq::client::Clock::manual(std::time::UNIX_EPOCH)).connect().await.unwrap();
        manual.ping().await.unwrap();
        assert_eq!(log.with("noeviction").len(), warnings, "{rights}");
    }
    let told = log.with("CONFIG, INFO");
    assert!(matches!(&told[..], [line] if line.contains("INFO") && line.contains("not permit")), "{told:?}");
    assert_eq!(log.lines().len(), 3, "{:?}", log.lines());
}

#[tokio::test]
async fn a_server_that_is_too_old_is_named() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut heard = vec![0; 4096];
            while let Ok(n @ 1..) = socket.read(&mut heard).await {
                let text = String::from_utf8_lossy(&heard[..n]).into_owned();
                for command in text.split('*').skip(1) {
                    let reply: &[u8] = if command.contains("HELLO") {
                        b"*6\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$6\r\n6.0.20\r\n$5\r\nproto\r\n:2\r\n"
                    } else {
                        b"+OK\r\n"
                    };
                    if socket.write_all(reply).await.is_err() {
                        break;
                    }
                }
            }
        }
    });
    for wait in [false, true] {
        let options = ConnectOptions::from_url(&url).unwrap().wait_for_server(wait);
        let error = tokio::time::timeout(PATIENCE, Client::builder(options).connect()).await;
        let error = error.expect("an answer").unwrap_err();
        assert!(
            matches!(&error, Error::ServerVersion { server, found } if *server == url && found == "6.0.20"),
            "{error:?}"
        );
    }
}

/// Whatever happens to its connections, a client writes neither its user nor its password into any log line or event.
#[tokio::test]
async fn no_log_line_and_no_event_shows_the_user_or_the_password() {
    const USER: &str = "joanna-of-acme";
    let log = Log::begin_at(tracing::Level::TRACE);
    let mut server = RedisServer::start();
    let login = |password: &str| format!("{USER}:{password}@");
    let permit = async |server: &RedisServer, password: &str| {
        let user = ["SETUSER", USER, "reset", "on", &format!(">{password}"), "~*", "&*", "+@all", "-info", "-config"];
        let () = redis::cmd("ACL").arg(&user).query_async(&mut server.connection().await).await.unwrap();
    };
    permit(&server, SECRET).await;
    let url = server.url().replace("://", &format!("://{}", login(SECRET)));
    let options = ConnectOptions::from_url(&url).unwrap().command_timeout(Duration::from_millis(300));
    let client = Client::builder(options).prefix("secrets").connect().await.unwrap();
    let queue = client.queue::<Value, ()>("q").open().unwrap();
    let ok = |_: Job<Value, ()>| async { Ok::<_, Halt>(()) };
    // An outcome that cannot be stored any more is waited for.
    let worker = client.worker("q", ok).shutdown_timeout(Duration::from_secs(1)).start().unwrap();
    let (mut events, told) = (worker.events(), crate::common::fixture::Ledger::default());
    let into = told.clone();
    let listening = tokio::spawn(async move {
        while let Some(event) = events.recv().await {
            into.note(format!("{event:?}"));
        }
    });
    queue.add("job", json!(1)).await.unwrap().wait_until_finished(PATIENCE).await.unwrap();
    // The password changes, the server goes away, and comes back without that user.
    permit(&server, "another").await;
    let kill = redis::cmd("CLIENT").arg("KILL").arg("USER").arg(USER).to_owned();
    let _: usize = kill.query_async(&mut server.connection().await).await.unwrap();
    let error = eventually("it is noticed", || async { queue.add("job", json!(2)).await.err() }).await;
    told.note(everything(&error));
    server.kill();
    told.note(everything(&queue.add("job", json!(3)).await.unwrap_err()));
    crate::common::eventually::eventually_within(PATIENCE, "the outage is told", || async {
        told.lines().iter().any(|line| line.contains("Disconnected"))
    })
    .await;
    server.restart();
    told.note(everything(&queue.add("job", json!(4)).await.unwrap_err()));
    // Nobody answers, by whichever kind of URL.
    for kind in ["redis", "rediss", "redis+cluster", "redis+sentinel", "rediss+sentinel"] {
        let path = if kind.contains("sentinel") { "/m?sentinel_password=" } else { "?password=" };
        let url = format!("{kind}://{}127.0.0.1:1{path}{SECRET}", login(SECRET));
        let Ok(options) = ConnectOptions::from_url(&url) else { continue };
        let options = options.connect_timeout(Duration::from_secs(1));
        told.note(format!("{options:?}"));
        let waits = Client::builder(options.clone().wait_for_server(true)).connect();
        assert!(tokio::time::timeout(Duration::from_millis(200), waits).await.is_err());
        told.note(everything(&Client::builder(options).connect().await.unwrap_err()));
    }
    told.note(format!("{client:?} {queue:?} {worker:?}"));
    worker.close().await;
    listening.await.unwrap();
    let lines = [log.lines(), told.lines()].concat();
    assert!(lines.len() > 50, "{lines:#?}");
    for line in lines {
        assert!(!line.contains(SECRET) && !line.contains(USER), "{line}");
    }
}
