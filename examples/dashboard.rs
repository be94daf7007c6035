//! Mounts the dashboard in an axum app. Everybody may look, and only people on call may change something.
//!
//!     cargo run --example dashboard --features dashboard -- 8080
//!
//! serves <http://127.0.0.1:8080/queues> until it is stopped. Without a port it requests its own first page and prints
//!
//!     200 OK: Queues · shop
//!     mails and photos are there

mod support;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use oxmq::dashboard::{Dashboard, Permission};
use oxmq::{Client, Job, Queue};
use serde_json::{Value, json};
use tower::ServiceExt;

async fn send(job: Job) -> Result<Value, std::io::Error> {
    job.update_progress(&50).await.map_err(std::io::Error::other)?;
    if job.data()["to"] == "nobody" { Err(std::io::Error::other("no such address")) } else { Ok(json!("sent")) }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let redis = support::redis();
    let client = Client::connect(&redis.url).await?;
    let worker = client.worker("mails", send).start()?;
    let (mails, photos): (Queue, Queue) = (client.queue("mails").open()?, client.queue("photos").open()?);
    for to in ["ada", "bob", "nobody"] {
        mails.add("welcome", json!({ "to": to, "token": "never shown" })).await?;
        photos.add("resize", json!({ "of": to })).delay(std::time::Duration::from_secs(3_600)).await?;
    }

    // In a real app a middleware identifies the user: see the documentation of the module.
    let is_on_call = true;
    let dashboard = Dashboard::new(client.clone())
        .title("shop")
        .authorize(move |_, wanted| matches!(wanted, Permission::See { .. }) || is_on_call)
        .audit(|done| eprintln!("{} in {}: {}", done.action, done.queue, done.outcome));
    let app: Router = Router::new().nest("/queues", dashboard.router());

    if let Some(port) = std::env::args().nth(1) {
        let listener = tokio::net::TcpListener::bind(format!("127.0.0.1:{port}")).await?;
        println!("http://127.0.0.1:{port}/queues");
        axum::serve(listener, app).with_graceful_shutdown(async { _ = tokio::signal::ctrl_c().await }).await?;
    } else {
        let there = tokio::time::timeout(std::time::Duration::from_secs(60), page_with_queues(app)).await??;
        println!("{there}\nmails and photos are there");
    }
    worker.close().await;
    Ok(())
}

/// Requests the first page until it has both queues, which it finds in the background; returns its status and title.
async fn page_with_queues(app: Router) -> anyhow::Result<String> {
    loop {
        let answer = app.clone().oneshot(Request::get("/queues").body(Body::empty())?).await?;
        let status = answer.status();
        let page = String::from_utf8(to_bytes(answer.into_body(), usize::MAX).await?.to_vec())?;
        if page.contains("/queues/queue/mails") && page.contains("/queues/queue/photos") {
            let title = page.split("<title>").nth(1).and_then(|rest| rest.split('<').next()).unwrap_or_default();
            return Ok(format!("{status}: {title}"));
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}
