//! Maps paths to pages, and sets the headers of every response.

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, Method, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::Response;
use axum::routing::{get, post};

use super::app::App;
use super::pages::{
    add, doctor, events, job, latest, overview, queue, repeats, schedulers, search, server, work, workers,
};
use super::request::problem::Problem;
use super::request::visit::Visit;
use super::{actions, assets, live};

/// Only our own style and script, nothing from elsewhere, and no framing.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

pub(super) fn router<S: Clone + Send + Sync + 'static>(app: Arc<App>) -> Router<S> {
    Router::new()
        .route("/", get(overview::page).post(actions::all_queues::submit))
        .route("/workers", get(workers::page))
        .route("/schedulers", get(repeats::page))
        .route("/doctor", get(doctor::page).post(actions::examine::submit))
        .route("/server", get(server::page))
        .route("/search", get(search::page))
        .route("/work/{id}", get(work::page).post(actions::work::submit))
        .route("/live", get(live::changes))
        .route("/assets/{version}/{name}", get(assets::serve))
        .route("/queue/{queue}", get(queue::page).post(actions::queue::submit))
        .route("/queue/{queue}/latest", get(latest::page))
        .route("/queue/{queue}/jobs", post(actions::jobs::submit))
        .route("/queue/{queue}/add", get(add::page).post(actions::add::submit))
        .route("/queue/{queue}/job/{id}", get(job::page).post(actions::job::submit))
        .route("/queue/{queue}/job/{id}/raw", get(job::raw))
        .route("/queue/{queue}/schedulers", get(schedulers::page).post(actions::scheduler::submit))
        .route("/queue/{queue}/events", get(events::page))
        .route("/queue/{queue}/events/live", get(live::events))
        .fallback(nothing)
        .layer(from_fn_with_state(Arc::clone(&app), in_time))
        .layer(from_fn(guarded))
        .with_state(app)
}

async fn nothing(visit: Visit) -> Response {
    visit.answer(Err(Problem::no_page()))
}

/// Carries out a form even if its browser leaves: a dropped request would end the action half-way, and unaudited.
async fn to_its_end(action: impl Future<Output = Response> + Send + 'static) -> Response {
    match tokio::spawn(action).await {
        Ok(response) => response,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // Its runtime shuts down.
            Err(_) => axum::response::IntoResponse::into_response(axum::http::StatusCode::SERVICE_UNAVAILABLE),
        },
    }
}

/// Bounds how long a page may take. It asks Redis several times, one after the other, and a silent server must not keep
/// its visitor waiting for the timeout of each call. A form is not bounded: its action goes on to its end.
async fn in_time(visit: Visit, request: Request, next: Next) -> Response {
    if request.method() == Method::POST {
        return to_its_end(next.run(request)).await;
    }
    match tokio::time::timeout(visit.app.patience(), next.run(request)).await {
        Ok(response) => response,
        Err(_) => visit.answer(Err(Problem::slow())),
    }
}

async fn guarded(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    // Not `no-referrer`, with which browsers would not say where a form is from.
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    headers.insert(
        HeaderName::from_static("permissions-policy"),
        HeaderValue::from_static("camera=(), geolocation=(), microphone=()"),
    );
    response
}
