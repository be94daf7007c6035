//! `oxmq serve`

use std::net::IpAddr;

use axum::Router;
use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use oxmq::Client;
use oxmq::dashboard::{Dashboard, Permission};

use super::doctor::all_exist;
use crate::args::{Global, Serve};
use crate::connect;
use crate::failure::{Failure, Outcome};
use crate::say;

pub(crate) async fn run(global: &Global, args: Serve) -> Outcome {
    let Serve { listen, act, queues } = args;
    let client = connect::client(global).await?;
    for name in &queues {
        client.queue::<(), ()>(name).open().map_err(|error| Failure::argument(name, Failure::from(error).text))?;
    }
    for problem in missing(&client, &queues).await {
        eprintln!("{}", say::clean(&problem));
    }
    let mut dashboard =
        Dashboard::new(client).authorize(move |_, wanted| act || matches!(wanted, Permission::See { .. }));
    if !queues.is_empty() {
        dashboard = dashboard.queues(queues);
    }
    let mut app: Router = dashboard.router();
    if listen.ip().is_loopback() {
        app = app.layer(from_fn(only_from_here));
    }
    let listener = tokio::net::TcpListener::bind(listen).await.map_err(|error| Failure::about(listen, error))?;
    let at = listener.local_addr()?;
    let stop = stopped()?;
    let url = format!("http://{at}");
    if global.json {
        say::json(&serde_json::json!({ "url": url }))
    } else {
        say::line(url)
    }
    // Live pages never end by themselves, so they are not waited for.
    tokio::select! {
        served = async { axum::serve(listener, app).await } => Ok(served?),
        () = stop => Ok(()),
    }
}

/// Tells which of these queues were never opened. They may be opened later, so they are no error.
async fn missing(client: &Client, queues: &[String]) -> Vec<String> {
    let mut missing = Vec::new();
    for queue in queues {
        if let Err(failure) = all_exist(client, std::slice::from_ref(queue)).await {
            missing.push(format!("{} so far", failure.text));
        }
    }
    missing
}

/// Resolves when a terminal or a service manager asks the process to end. Signals are caught from the moment of the
/// call.
fn stopped() -> Outcome<impl Future<Output = ()>> {
    #[cfg(unix)]
    let mut terminated = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    #[cfg(unix)]
    let mut interrupted = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt())?;
    #[cfg(unix)]
    return Ok(async move {
        tokio::select! {
            _ = terminated.recv() => {}
            _ = interrupted.recv() => {}
        }
    });
    #[cfg(not(unix))]
    Ok(async {
        // Without signal handling it runs until it is killed.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    })
}

/// Refuses requests with a foreign host name: a page elsewhere could make its name point to this machine, and read what
/// is served to this machine alone.
async fn only_from_here(request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    if is_this_machine(host) {
        return next.run(request).await;
    }
    (StatusCode::MISDIRECTED_REQUEST, "this is served to this machine alone: open it by its address").into_response()
}

fn is_this_machine(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) => name,
        _ => host,
    };
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    name == "localhost" || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::is_this_machine;

    #[test]
    fn only_names_of_this_machine_are_answered() {
        for host in ["localhost", "localhost:8377", "127.0.0.1:8377", "[::1]:8377", "127.9.9.9"] {
            assert!(is_this_machine(host), "{host}");
        }
        for host in ["", "evil.example:8377", "localhost.evil.example", "10.0.0.1:8377", "127.0.0.1.evil.example"] {
            assert!(!is_this_machine(host), "{host}");
        }
    }
}
