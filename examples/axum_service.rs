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
//!     of an unknown job: 404 Not Found
//!     the stream has ended

mod support;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{Request, StatusCode};
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use futures::{Stream, StreamExt};
use oxmq::events::Delivery;
use oxmq::job::{CancellationToken, JobStatus};
use oxmq::kind::JobOf;
use oxmq::worker::Health;
use oxmq::{Client, Error, Halt, JobKind, JobOptions, Queue, QueueEvents};
use serde::{Deserialize, Serialize};
use tower::ServiceExt;

#[derive(Serialize, Deserialize)]
struct Mail {
    to: String,
}

impl JobKind for Mail {
    const NAME: &'static str = "mail";
    type Output = String;

    fn options(&self) -> JobOptions {
        JobOptions::default().attempts(3).remove_on_complete(1_000).remove_on_fail(10_000)
    }
}

async fn send(job: JobOf<Mail>) -> Result<String, Halt> {
    Ok(format!("sent to {}", job.data().to))
}

/// An error of the queue as an HTTP answer.
struct Failed(Error);

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        let status = match &self.0 {
            Error::InvalidOption { .. } | Error::Refused { .. } => StatusCode::BAD_REQUEST,
            error if error.is_retryable() => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        (status, self.0.to_string()).into_response()
    }
}

#[derive(Clone)]
struct App {
    client: Client,
    mails: Queue,
    /// One connection for all who follow the events.
    events: Arc<QueueEvents>,
    /// Fires when the service has to end.
    stop: CancellationToken,
}

async fn add(State(app): State<App>, Json(mail): Json<Mail>) -> Result<(StatusCode, Json<String>), Failed> {
    // Adds from requests that arrive at the same time share one call to Redis.
    let job = app.mails.push(mail).await?;
    Ok((StatusCode::ACCEPTED, Json(job.id().to_owned())))
}

async fn status(State(app): State<App>, Path(id): Path<String>) -> Result<Json<JobStatus>, Response> {
    match app.mails.get_job_status(&id).await {
        Ok(Some(status)) => Ok(Json(status)),
        Ok(None) => Err(StatusCode::NOT_FOUND.into_response()),
        Err(error) => Err(Failed(error).into_response()),
    }
}

/// Streams the events of the queue from now on. The stream ends with the service: an open one would keep the server from
/// ending.
async fn follow(State(app): State<App>) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Failed> {
    app.events.ready().await?;
    let events = app.events.subscribe().take_until(app.stop.cancelled_owned());
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
    let stop = CancellationToken::new();
    let worker = client
        .worker("mails", oxmq::Router::new().job(send))
        .timeout(Duration::from_secs(30))
        .shutdown_timeout(Duration::from_secs(20))
        .start()?;
    let health = worker.health_probe();
    let events = Arc::new(client.queue_events("mails").start()?);
    let app = App { mails: client.queue("mails").open()?, events, client, stop: stop.clone() };
    let routes: Router = Router::new()
        .route("/mails", post(add))
        .route("/mails/{id}", get(status))
        .route("/events", get(follow))
        .route("/live", get(move || live(health.clone())))
        .route("/ready", get(ready))
        .with_state(app);

    let serve = async {
        if let Some(port) = std::env::args().nth(1) {
            let listener = tokio::net::TcpListener::bind(format!("127.0.0.1:{port}")).await?;
            axum::serve(listener, routes).with_graceful_shutdown(stop.clone().cancelled_owned()).await?;
        } else {
            ask(routes, &stop).await?;
        }
        anyhow::Ok(())
    };
    let signal = async {
        tokio::select! {
            () = terminated() => stop.cancel(),
            () = stop.cancelled() => {}
        }
    };
    // The worker takes no more jobs from the moment on at which the server takes no more requests.
    let (served, report) = tokio::join!(serve, worker.run_until(signal));
    eprintln!("{} completed, handed back: {:?}", report.counts.completed, report.handed_back);
    served
}

/// Sends the service the requests of a browser, and ends it while the browser still listens.
async fn ask(routes: Router, stop: &CancellationToken) -> anyhow::Result<()> {
    let _stops = stop.clone().drop_guard();
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
    println!("of an unknown job: {}", get("/mails/unknown".into()).await?.status());
    stop.cancel();
    // What was told meanwhile comes, and then the stream is over.
    tokio::time::timeout(Duration::from_secs(20), async { while completed.next().await.is_some() {} }).await?;
    println!("the stream has ended");
    Ok(())
}
