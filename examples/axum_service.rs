//! A web service around a queue: clients add jobs, look at them and follow them over HTTP, and Kubernetes can probe it.
//!
//!     cargo run --example axum_service -- 8080
//!
//! serves until it is stopped. Without a port it sends itself some requests and prints
//!
//!     added: 202 Accepted
//!     followed: completed
//!     status: completed "sent to ada"
//!     live and ready: 200 OK, 200 OK

mod support;

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Request, StatusCode};
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use futures::{Stream, StreamExt};
use oxmq::events::{Delivery, EventsFrom};
use oxmq::job::JobStatus;
use oxmq::kind::JobOf;
use oxmq::worker::Health;
use oxmq::{Client, Halt, JobKind, Queue};
use serde::{Deserialize, Serialize};
use tower::ServiceExt;

#[derive(Serialize, Deserialize)]
struct Mail {
    to: String,
}

impl JobKind for Mail {
    const NAME: &'static str = "mail";
    type Output = String;
}

async fn send(job: JobOf<Mail>) -> Result<String, Halt> {
    Ok(format!("sent to {}", job.data().to))
}

/// An error of the queue as an HTTP answer.
struct Failed(oxmq::Error);

impl From<oxmq::Error> for Failed {
    fn from(error: oxmq::Error) -> Self {
        Self(error)
    }
}

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        let status = if self.0.is_retryable() { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::BAD_REQUEST };
        (status, self.0.with_causes().to_string()).into_response()
    }
}

#[derive(Clone)]
struct App {
    client: Client,
    mails: Queue,
}

async fn add(State(app): State<App>, Json(mail): Json<Mail>) -> Result<(StatusCode, Json<String>), Failed> {
    // Adds from requests that arrive at the same time share one call to Redis.
    let job = app.mails.push(mail).await?;
    Ok((StatusCode::ACCEPTED, Json(job.id().to_owned())))
}

async fn status(State(app): State<App>, Path(id): Path<String>) -> Result<Json<Option<JobStatus>>, Failed> {
    Ok(Json(app.mails.get_job_status(&id).await?))
}

/// Streams the events of the queue. A browser that reconnects sends the id of the last event that it saw. All listeners
/// share one connection.
async fn follow(
    State(app): State<App>,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Failed> {
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok()?.parse().ok());
    let events = app.client.queue_events("mails").from(last.map_or(EventsFrom::Now, EventsFrom::After)).start()?;
    events.ready().await?;
    Ok(Sse::new(events.filter_map(|delivery| async move {
        let told = match delivery {
            Delivery::Event { id, event } => Event::default().id(id.to_string()).event(event.name()).json_data(&event),
            missed => Event::default().event("missed").json_data(&missed),
        };
        told.ok().map(Ok)
    })))
}

async fn live(health: impl Fn() -> Health) -> StatusCode {
    if health().blocked { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK }
}

async fn ready(State(app): State<App>) -> Result<StatusCode, Failed> {
    app.client.ping().await?;
    Ok(StatusCode::OK)
}

async fn terminated() {
    let mut asked = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).expect("a signal");
    tokio::select! {
        _ = asked.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let redis = support::redis();
    let client = Client::connect(&redis.url).await?;
    let worker = client.worker("mails", oxmq::Router::new().job(send)).start()?;
    let health = worker.health_probe();
    let app = App { mails: client.queue("mails").open()?, client };
    let routes: Router = Router::new()
        .route("/mails", post(add))
        .route("/mails/{id}", get(status))
        .route("/events", get(follow))
        .route("/live", get(move || live(health.clone())))
        .route("/ready", get(ready))
        .with_state(app);

    if let Some(port) = std::env::args().nth(1) {
        let listener = tokio::net::TcpListener::bind(format!("127.0.0.1:{port}")).await?;
        axum::serve(listener, routes).with_graceful_shutdown(terminated()).await?;
    } else {
        ask(routes).await?;
    }
    // No more requests arrive: wait for the running jobs.
    println_report(&worker.close_within(Duration::from_secs(20)).await);
    Ok(())
}

fn println_report(report: &oxmq::worker::Report) {
    eprintln!("{} completed, handed back: {:?}", report.counts.completed, report.handed_back);
}

/// Sends the service the requests of a browser.
async fn ask(routes: Router) -> anyhow::Result<()> {
    let get = |path: String| routes.clone().oneshot(Request::get(path).body(Body::empty()).expect("a request"));
    let events = get("/events".into()).await?.into_body().into_data_stream();
    let mail =
        Request::post("/mails").header("content-type", "application/json").body(Body::from(r#"{"to":"ada"}"#))?;
    let added = routes.clone().oneshot(mail).await?;
    println!("added: {}", added.status());
    let id: String = serde_json::from_slice(&axum::body::to_bytes(added.into_body(), usize::MAX).await?)?;

    let texts = events.map(|chunk| String::from_utf8_lossy(&chunk.unwrap_or_default()).into_owned());
    let mut completed = std::pin::pin!(texts.filter(|text| std::future::ready(text.contains("event: completed"))));
    if tokio::time::timeout(Duration::from_secs(20), completed.next()).await?.is_some() {
        println!("followed: completed");
    }
    let status = get(format!("/mails/{id}")).await?;
    let status: serde_json::Value =
        serde_json::from_slice(&axum::body::to_bytes(status.into_body(), usize::MAX).await?)?;
    println!("status: {} {}", status["state"].as_str().unwrap_or_default(), status["job"]["returnvalue"]);
    println!("live and ready: {}, {}", get("/live".into()).await?.status(), get("/ready".into()).await?.status());
    Ok(())
}
