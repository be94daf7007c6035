//! `oxmq serve`: the real binary and requests over a real socket.

use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use super::*;

/// A running `oxmq serve`, killed at the end of its test.
struct Serving {
    child: tokio::process::Child,
    at: String,
}

/// The answer to a request.
#[derive(Debug)]
struct Answer {
    status: u16,
    text: String,
}

impl Serving {
    async fn start(on: &Fixture, more: &[&str]) -> Self {
        let mut command = tokio::process::Command::from(command());
        command.args(["--url", &shared_server().url(), "--prefix", &on.prefix, "serve", "--listen", "127.0.0.1:0"]);
        let mut child = command.args(more).stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
        let mut said = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut said).await.unwrap();
        let at =
            said.trim().strip_prefix("http://").unwrap_or_else(|| panic!("it says where it is: {said}")).to_owned();
        Self { child, at }
    }

    async fn send(&self, request: &str) -> Answer {
        let mut socket = TcpStream::connect(&self.at).await.unwrap();
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        socket.read_to_string(&mut text).await.unwrap();
        Answer { status: text[9..12].parse().unwrap(), text }
    }

    async fn get(&self, path: &str) -> Answer {
        self.get_as(path, &self.at).await
    }

    async fn get_as(&self, path: &str, host: &str) -> Answer {
        self.send(&format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n")).await
    }

    /// Returns the token that a first visit gives.
    async fn token(&self) -> String {
        let first = self.get("/").await.text;
        first.split("oxmq_token=").nth(1).unwrap().split(';').next().unwrap().to_owned()
    }

    async fn post(&self, path: &str, cookie: &str, body: &str) -> Answer {
        let (at, length) = (&self.at, body.len());
        let head =
            format!("POST {path} HTTP/1.1\r\nhost: {at}\r\norigin: http://{at}\r\ncookie: oxmq_token={cookie}\r\n");
        let kind = "content-type: application/x-www-form-urlencoded\r\nconnection: close\r\n";
        self.send(&format!("{head}{kind}content-length: {length}\r\n\r\n{body}")).await
    }

    async fn ends_at(&mut self, signal: &str) -> Option<i32> {
        let id = self.child.id().unwrap().to_string();
        assert!(Command::new("kill").args(["-s", signal, &id]).status().unwrap().success());
        self.child.wait().await.unwrap().code()
    }
}

#[tokio::test]
async fn without_a_flag_nobody_may_act() {
    let on = Fixture::new().await;
    let id = on.queue.add("greet", json!({ "to": "ada", "password": "hunter2" })).await.unwrap().id().to_owned();
    let serving = Serving::start(&on, &[]).await;
    for (path, told) in
        [("/queue/q?state=waiting", "greet"), (&*format!("/queue/q/job/{id}"), "ada"), ("/server", "memory")]
    {
        let page = serving.get(path).await;
        assert!(page.status == 200 && page.text.contains(told), "{path}: {page:?}");
        assert!(!page.text.contains("hunter2") && !page.text.contains("name=\"do\""), "{path}: {page:?}");
        assert!(page.text.contains("content-security-policy: default-src 'none'"), "{page:?}");
    }
    assert_eq!(serving.get("/nowhere").await.status, 404);
    let token = serving.token().await;
    let refused = serving.post("/queue/q", &token, &format!("token={token}&do=pause")).await;
    assert_eq!(refused.status, 403, "{refused:?}");
    assert!(!on.queue.is_paused().await.unwrap());
    // A foreign page whose host name was made to point to this machine (DNS rebinding) can read nothing.
    assert_eq!(serving.get_as("/", "evil.example").await.status, 421);
}

#[tokio::test]
async fn a_flag_permits_actions() {
    let on = Fixture::new().await;
    let other: Queue = on.client.queue("other").open().unwrap();
    other.add("job", json!(1)).await.unwrap();
    let serving = Serving::start(&on, &["--act", "q"]).await;
    let token = serving.token().await;
    let forged = serving.post("/queue/q", &token, "token=0123456789abcdef0123456789abcdef&do=pause").await;
    assert_eq!((forged.status, on.queue.is_paused().await.unwrap()), (403, false), "{forged:?}");
    let done = serving.post("/queue/q", &token, &format!("token={token}&do=pause")).await;
    assert_eq!((done.status, on.queue.is_paused().await.unwrap()), (303, true), "{done:?}");
    // Only the named queues exist.
    assert_eq!(serving.get("/queue/other").await.status, 404);
}

#[tokio::test]
async fn a_queue_that_is_not_there_yet_is_told() {
    let on = Fixture::new().await;
    let mut command = tokio::process::Command::from(command());
    command.args([
        "--url",
        &shared_server().url(),
        "--prefix",
        &on.prefix,
        "serve",
        "--listen",
        "127.0.0.1:0",
        "q",
        "mials",
    ]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let mut said = String::new();
    BufReader::new(child.stderr.take().unwrap()).read_line(&mut said).await.unwrap();
    assert_eq!(said, "there is no queue 'mials' so far\n");
}

#[tokio::test]
async fn a_signal_ends_it_while_pages_are_open() {
    let on = Fixture::new().await;
    for signal in ["TERM", "INT"] {
        let mut serving = Serving::start(&on, &[]).await;
        let mut live = TcpStream::connect(&serving.at).await.unwrap();
        let request = format!("GET /live?of=queues HTTP/1.1\r\nhost: {}\r\n\r\n", serving.at);
        live.write_all(request.as_bytes()).await.unwrap();
        let mut begun = [0; 12];
        live.read_exact(&mut begun).await.unwrap();
        assert_eq!(&begun, b"HTTP/1.1 200");
        assert_eq!(serving.ends_at(signal).await, Some(0), "{signal}");
        assert!(TcpStream::connect(&serving.at).await.is_err(), "{signal}");
    }
}

#[tokio::test]
async fn wrong_settings_are_refused_before_it_serves() {
    let on = Fixture::new().await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let listener = std::net::TcpListener::bind(taken).unwrap();
    let url = shared_server().url();
    let file = std::env::temp_dir().join(format!("oxmq-serve-{}.toml", on.prefix));
    std::fs::write(&file, "urrl = \"x\"\n").unwrap();
    let (taken, config) = (taken.to_string(), file.display().to_string());
    for (words, code, told) in [
        (&["--url", &*url, "serve", "--listen", "8377"][..], 2, "--listen"),
        (&["--url", &url, "serve", "--listen", &taken], 1, &*taken),
        (&["--url", "http://127.0.0.1", "serve"], 2, "it must begin with redis://"),
        (&["--url", "redis://127.0.0.1:1", "serve", "--listen", "127.0.0.1:0"], 1, "127.0.0.1:1"),
        (&["--url", &url, "--prefix", "a:b", "serve", "--listen", "127.0.0.1:0", "q:q"], 2, "q:q"),
        (&["--config", &config, "serve"], 1, "urrl"),
    ] {
        let mut command = command();
        command.args(words);
        let ran = tokio::task::spawn_blocking(move || {
            let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
            // If it starts to serve all the same, it is killed after a while.
            let ended = (0..2_000).any(|_| {
                std::thread::sleep(Duration::from_millis(10)); // looks again
                child.try_wait().unwrap().is_some()
            });
            if !ended {
                child.kill().unwrap();
            }
            child.wait_with_output().unwrap()
        });
        let ran = ran.await.unwrap();
        let err = String::from_utf8_lossy(&ran.stderr);
        assert!(ran.status.code() == Some(code) && err.contains(told), "{words:?}: {:?} {err}", ran.status);
    }
    drop(listener);
    std::fs::remove_file(file).unwrap();
}
