//! TLS to a real server, with certificates made for the test: which servers are trusted, and how others are refused.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use oxmq::client::Address;
use oxmq::queue::Order;
use oxmq::{Client, ConnectOptions, Halt, Job, JobState, Queue};
use serde_json::{Value, json};

use crate::common::certificates::Certificates;
use crate::common::eventually::eventually;
use crate::common::fixture::Ledger;
use crate::common::server::{AOF, RedisServer, fresh_prefix};

/// Starts a server that speaks TLS on one port and plain text on another.
fn server(certificates: &Certificates, asks_clients: &str) -> (RedisServer, u16) {
    server_with(certificates, "server", asks_clients)
}

fn server_with(certificates: &Certificates, name: &str, asks_clients: &str) -> (RedisServer, u16) {
    let port = certificates.port();
    let mut args = certificates.server_args(name, port);
    args.extend(["--tls-auth-clients", asks_clients].map(str::to_owned));
    let server = RedisServer::start_with(&args.iter().map(String::as_str).collect::<Vec<_>>());
    (server, port)
}

/// Far less than the time after which a connection attempt of these tests gives up.
const AT_ONCE: Duration = Duration::from_secs(30);

fn to(host: &str, port: u16) -> ConnectOptions {
    ConnectOptions::new(Address::Tls(host.to_owned(), port)).connect_timeout(2 * AT_ONCE)
}

async fn connect(options: ConnectOptions) -> oxmq::Result<Client> {
    Client::builder(options).prefix(fresh_prefix()).connect().await
}

/// Expects the connection to fail at once, not only after its timeout; returns the error.
async fn refused(what: &str, options: ConnectOptions) -> String {
    let began = Instant::now();
    let error = connect(options).await.err().unwrap_or_else(|| panic!("{what}: connected"));
    assert!(began.elapsed() < AT_ONCE, "{what}: {:?}", began.elapsed());
    std::iter::successors(Some(&error as &dyn std::error::Error), |error| error.source())
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}

#[tokio::test]
async fn jobs_run_over_tls_and_an_idle_connection_that_was_cut_costs_nothing() {
    let certificates = Certificates::new();
    let (server, port) = server(&certificates, "no");
    let client = connect(to("localhost", port).tls_root(certificates.pem("ca.crt"))).await.unwrap();
    let queue: Queue<u32, u32> = client.queue("q").open().unwrap();
    let worker = client.worker("q", |job: Job<u32, u32>| async move { Ok::<_, Halt>(job.data() + 1) }).start().unwrap();
    let job = queue.add("one", 1).await.unwrap();
    assert_eq!(job.wait_until_finished(Duration::from_secs(60)).await.unwrap(), 2);
    let mut redis = server.connection().await;
    let listed = async |redis: &mut redis::aio::MultiplexedConnection| -> HashSet<String> {
        let clients: String = redis::cmd("CLIENT").arg("LIST").query_async(redis).await.unwrap();
        let id = |line: &str| line.split(' ').find_map(|field| field.strip_prefix("id=")).map(str::to_owned);
        clients.lines().filter_map(id).collect()
    };
    for n in 0..5 {
        let before = listed(&mut redis).await;
        let killed = redis::cmd("CLIENT").arg(&["KILL", "TYPE", "normal", "SKIPME", "yes"]).to_owned();
        killed.exec_async(&mut redis).await.unwrap();
        // A connection that the server has closed is never used again, so no add is unknown. Only that of the test is left.
        eventually("the connections are gone", || {
            let (mut redis, before) = (redis.clone(), &before);
            async move { listed(&mut redis).await.intersection(before).count() == 1 }
        })
        .await;
        tokio::time::sleep(Duration::from_millis(200)).await; // time itself: the end of the socket reaches us
        let job = queue.add("again", n).await.unwrap();
        assert_eq!(job.wait_until_finished(Duration::from_secs(60)).await.unwrap(), n + 1);
    }
    worker.close().await;
}

/// Every change is on disk before it is acknowledged, so each job that was added is there afterwards, and is done.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_restarts_under_load_loses_no_job() {
    const RESTARTS: usize = 3;
    let certificates = Certificates::new();
    let port = certificates.port();
    let mut args = certificates.server_args("server", port);
    args.extend(["--tls-auth-clients", "no"].iter().chain(AOF).map(|arg| (*arg).to_owned()));
    let mut server = RedisServer::start_with(&args.iter().map(String::as_str).collect::<Vec<_>>());
    let client = connect(to("localhost", port).tls_root(certificates.pem("ca.crt"))).await.unwrap();
    let queue: Queue<u32, ()> = client.queue("q").open().unwrap();
    let ran = Ledger::default();
    let noted = ran.clone();
    let note = move |job: Job<u32, ()>| {
        noted.note(job.id());
        async { Ok::<_, Halt>(()) }
    };
    let worker = client.worker("q", note).concurrency(8).start().unwrap();
    let is_over = Arc::new(AtomicBool::new(false));
    let producers = [0_u32, 1].map(|producer| {
        let (queue, is_over) = (queue.clone(), Arc::clone(&is_over));
        tokio::spawn(async move {
            let mut acknowledged = Vec::new();
            for n in (producer..).step_by(2) {
                if is_over.load(Ordering::Relaxed) {
                    break;
                }
                let id = format!("own-{n}");
                if queue.add("job", n).job_id(id.as_str()).await.is_ok() {
                    acknowledged.push(id);
                }
            }
            acknowledged
        })
    });
    let completed = || worker.counts().completed;
    let is_busy = async || {
        let before = completed();
        eventually("it is under load", || async { completed() > before + 100 }).await;
    };
    for _ in 0..RESTARTS {
        is_busy().await;
        server.restart();
    }
    is_busy().await;
    is_over.store(true, Ordering::Relaxed);
    let mut acknowledged = Vec::new();
    for producer in producers {
        acknowledged.extend(producer.await.unwrap());
    }
    assert!(acknowledged.len() > 300, "{}", acknowledged.len());
    eventually("all are done", || async {
        let done = queue.get_ranges(&[JobState::Completed], 0, -1, Order::Ascending).await.unwrap();
        let done: HashSet<String> = done.into_iter().collect();
        acknowledged.iter().all(|id| done.contains(id))
    })
    .await;
    let tally = ran.tally();
    assert!(acknowledged.iter().all(|id| tally.contains_key(id)));
    assert_eq!(worker.close().await.lost, Vec::<String>::new());
}

#[tokio::test]
async fn an_untrusted_certificate_is_an_error_at_once() {
    let certificates = Certificates::new();
    let (plain, port) = server(&certificates, "no");
    let ca = || certificates.pem("ca.crt");
    let said = refused("an unknown authority", to("localhost", port).tls_root(certificates.pem("other.crt"))).await;
    assert!(said.contains(&format!("rediss://localhost:{port}: invalid peer certificate: UnknownIssuer; ")), "{said}");
    let said = refused("the system's authorities", to("localhost", port)).await;
    assert!(said.contains("certificate"), "{said}");
    // `wait_for_server` does not wait until this server has another certificate.
    let said = refused("another host", to("127.0.0.1", port).tls_root(ca()).wait_for_server(true)).await;
    assert!(said.contains("certificate"), "{said}");
    // A plain server waits for the end of a line that never comes.
    let said = refused("no TLS", to("localhost", plain.port()).tls_root(ca()).wait_for_server(true)).await;
    let there = format!("rediss://localhost:{}: the server speaks no TLS on this port", plain.port());
    assert!(said.contains(&there), "{said}");
    let plainly = ConnectOptions::new(Address::Tcp("localhost".to_owned(), port));
    let said = refused("TLS without our saying so", plainly.connect_timeout(Duration::from_secs(2))).await;
    assert!(said.contains("try rediss instead of redis"), "{said}");
    for url in ["redis+cluster://localhost", "redis+sentinel://localhost"] {
        let options =
            ConnectOptions::from_url(&format!("{url}:{port}{}", if url.contains("sentinel") { "/m" } else { "" }));
        let said = refused(url, options.unwrap()).await;
        assert!(said.contains(&format!("redis://localhost:{port}: ")) && said.contains("try rediss instead"), "{said}");
    }
    // Nobody listens: that says nothing about TLS.
    for nobody in ["redis://127.0.0.1:1", "rediss://127.0.0.1:1"] {
        let said = refused("nobody", ConnectOptions::from_url(nobody).unwrap()).await;
        assert!(said.contains("refused") && !said.contains("TLS") && !said.contains("instead of"), "{said}");
    }
    for (pem, name) in [("no pem", "localhost"), ("", "localhost")] {
        let said = refused("no certificate", to(name, port).tls_root(pem)).await;
        assert!(said.contains("tls_root"), "{said}");
    }
    let said = refused("no name", to("localhost", port).tls_root(ca()).tls_server_name("a b")).await;
    assert!(said.contains("tls_server_name"), "{said}");
    let client = connect(to("127.0.0.1", port).tls_root(ca()).tls_server_name("redis.internal")).await.unwrap();
    client.queue::<Value, Value>("q").open().unwrap().add("job", json!(1)).await.unwrap();
}

#[tokio::test]
async fn a_client_certificate_is_presented_on_request() {
    let certificates = Certificates::new();
    let (_server, port) = server(&certificates, "yes");
    let trusted = || to("localhost", port).tls_root(certificates.pem("ca.crt"));
    // Waiting gets us no certificate.
    let said = refused("without a certificate", trusted().wait_for_server(true)).await;
    assert!(said.contains("asks for a certificate") && said.contains("tls_identity"), "{said}");
    let others = || trusted().tls_identity(certificates.pem("other.crt"), certificates.pem("other.key"));
    let said = refused("a certificate of another authority", others().wait_for_server(true)).await;
    assert!(said.contains("does not accept our certificate"), "{said}");
    let mine = trusted().tls_identity(certificates.pem("client.crt"), certificates.pem("client.key"));
    let shown = format!("{mine:?}");
    assert!(!shown.contains("PRIVATE"), "{shown}");
    let client = connect(mine).await.unwrap();
    client.queue::<Value, Value>("q").open().unwrap().add("job", json!(1)).await.unwrap();
    let said = refused("a key that is none", trusted().tls_identity(certificates.pem("client.crt"), "no key")).await;
    assert!(said.contains("tls_identity"), "{said}");
}

/// Returns a URL for the server on this port that trusts the authority of the test, with more parameters.
fn url(certificates: &Certificates, host: &str, port: u16, more: &str) -> ConnectOptions {
    let url = format!("rediss://{host}:{port}/3?ca={}{more}", certificates.path("ca.crt"));
    ConnectOptions::from_url(&url).unwrap().connect_timeout(2 * AT_ONCE)
}

#[tokio::test]
async fn certificates_can_be_named_in_the_url() {
    let certificates = Certificates::new();
    let (server, port) = server(&certificates, "yes");
    let shown = format!("&cert={}&key={}", certificates.path("client.crt"), certificates.path("client.key"));
    let client = connect(url(&certificates, "127.0.0.1", port, &format!("{shown}&sni=redis.internal"))).await.unwrap();
    client.queue::<Value, Value>("q").open().unwrap().add("job", json!(1)).await.unwrap();
    let mut redis = crate::common::server::connect(&server.database(3)).await;
    assert_ne!(redis::cmd("DBSIZE").query_async::<u64>(&mut redis).await.unwrap(), 0);
    refused("no certificate", url(&certificates, "localhost", port, "")).await;
    let said = refused("another name", url(&certificates, "localhost", port, &format!("{shown}&sni=other"))).await;
    assert!(said.contains("not valid for name"), "{said}");
}

#[tokio::test]
async fn invalid_certificates_are_refused_unless_they_are_explicitly_accepted() {
    let certificates = Certificates::new();
    certificates.sign("expired", &["-days", "-1"]);
    for (name, says) in [("other", "self-signed"), ("expired", "expired")] {
        let (_server, port) = server_with(&certificates, name, "no");
        let trusting = to("localhost", port).tls_root(certificates.pem("ca.crt"));
        let said = refused(name, trusting).await;
        assert!(said.to_lowercase().contains(says), "{name}: {said}");
        let blind = to("127.0.0.1", port).tls_server_name("elsewhere.example").tls_danger_accept_any_certificate(true);
        let client = connect(blind).await.unwrap();
        client.queue::<Value, Value>("q").open().unwrap().add("job", json!(1)).await.unwrap();
    }
}

/// A proxy in front of several servers chooses by the name in the first message of the handshake.
#[tokio::test]
async fn the_server_is_told_the_name_that_is_wanted() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    for (host, name, told) in [
        ("localhost", None, Some("localhost")),
        ("localhost", Some("redis.internal"), Some("redis.internal")),
        ("127.0.0.1", Some("redis.internal"), Some("redis.internal")),
        // An address is no name.
        ("127.0.0.1", None, None),
    ] {
        let options = name.map_or_else(|| to(host, port), |name| to(host, port).tls_server_name(name));
        let client = tokio::spawn(connect(options));
        let (stream, _) = listener.accept().await.unwrap();
        let acceptor = tokio_rustls::LazyConfigAcceptor::new(Default::default(), stream);
        let hello = acceptor.await.unwrap();
        assert_eq!(hello.client_hello().server_name(), told, "{host} {name:?}");
        client.abort();
    }
}

#[tokio::test]
async fn a_certificate_may_be_for_an_address() {
    let certificates = Certificates::new();
    certificates.sign_for("address", "IP:127.0.0.1", &["-days", "2"]);
    let (_server, port) = server_with(&certificates, "address", "no");
    let trusting = |host| to(host, port).tls_root(certificates.pem("ca.crt"));
    let client = connect(trusting("127.0.0.1")).await.unwrap();
    client.queue::<Value, Value>("q").open().unwrap().add("job", json!(1)).await.unwrap();
    let said = refused("a name", trusting("localhost")).await;
    assert!(said.contains("not valid for name"), "{said}");
}

#[tokio::test]
async fn a_rustls_configuration_of_the_user_is_used_unchanged() {
    use oxmq::rustls::pki_types::{CertificateDer, pem::PemObject};
    use oxmq::rustls::{ClientConfig, RootCertStore, crypto::ring, version::TLS12};
    let certificates = Certificates::new();
    let (_server, port) = server(&certificates, "no");
    let config = |root: &str| {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(&certificates.pem(root)).unwrap()).unwrap();
        ClientConfig::builder_with_provider(std::sync::Arc::new(ring::default_provider()))
            .with_protocol_versions(&[&TLS12])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth()
    };
    let client = connect(to("localhost", port).tls_config(config("ca.crt"))).await.unwrap();
    client.queue::<Value, Value>("q").open().unwrap().add("job", json!(1)).await.unwrap();
    refused("another authority", to("localhost", port).tls_config(config("other.crt"))).await;
    let said = refused("both", to("localhost", port).tls_config(config("ca.crt")).tls_root("x")).await;
    assert!(said.contains("tls_config"), "{said}");
}

#[tokio::test]
async fn an_idle_worker_over_tls_closes_at_once_and_leaves_nothing_behind() {
    let certificates = Certificates::new();
    let (server, port) = server(&certificates, "no");
    let client = connect(to("localhost", port).tls_root(certificates.pem("ca.crt"))).await.unwrap();
    let worker = client.worker("q", |_: Job<u32, u32>| async move { Ok::<_, Halt>(1) });
    let worker = worker.drain_delay(Duration::from_secs(3_600)).start().unwrap();
    let redis = server.connection().await;
    let blocked = async |redis: &mut redis::aio::MultiplexedConnection| {
        let info: String = redis::cmd("INFO").arg("clients").query_async(redis).await.unwrap();
        !info.contains("blocked_clients:0")
    };
    let until_blocked = async |what: &str, wanted: bool| {
        crate::common::eventually::eventually(what, || {
            let mut redis = redis.clone();
            async move { blocked(&mut redis).await == wanted }
        })
        .await;
    };
    until_blocked("it waits", true).await;
    let tasks = tokio::runtime::Handle::current().metrics();
    // Far less than the hour that the wait would last. Another test measures how long it takes.
    tokio::time::timeout(AT_ONCE, worker.close()).await.unwrap();
    until_blocked("the server has seen its end", false).await;
    drop(client);
    crate::common::eventually::eventually("no task of ours is left", || {
        let left = tasks.num_alive_tasks();
        // One task belongs to this test's own connection.
        async move { left <= 1 }
    })
    .await;
}

/// The environment variable that tells the process of the next test its server.
const URL: &str = "OXMQ_TLS_URL";

#[tokio::test]
#[ignore = "not a test: the process of `the_roots_of_the_system_are_trusted`"]
async fn a_process_that_trusts_the_roots_of_its_system() {
    let Ok(url) = std::env::var(URL) else { return };
    let client = connect(ConnectOptions::from_url(&url).unwrap()).await.unwrap();
    client.queue::<Value, Value>("q").open().unwrap().add("job", json!(1)).await.unwrap();
}

/// The trusted roots belong to the process: its environment can name a file instead of the system's.
#[test]
fn the_roots_of_the_system_are_trusted() {
    let certificates = Certificates::new();
    let (_server, port) = server(&certificates, "no");
    // One that cannot be read keeps the others out no more than one that is of somebody else.
    let broken = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_vec();
    let bundle = [broken, certificates.pem("other.crt"), certificates.pem("ca.crt")].concat();
    std::fs::write(certificates.path("bundle.crt"), bundle).unwrap();
    for (root, says) in [
        ("ca.crt", "1 passed"),
        ("bundle.crt", "1 passed"),
        ("other.crt", "invalid peer certificate"),
        ("missing.crt", "no root certificate was given, and the system has none"),
    ] {
        let mut process = std::process::Command::new(std::env::current_exe().unwrap());
        process.args(["--exact", "faults::tls::a_process_that_trusts_the_roots_of_its_system", "--ignored"]);
        process.env(URL, format!("rediss://localhost:{port}"));
        process.env("SSL_CERT_FILE", certificates.path(root)).env_remove("SSL_CERT_DIR");
        let output = process.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.success(), says == "1 passed", "{root}: {said}");
        assert!(said.contains(says), "{root}: {said}");
    }
}
