//! Style, script and icon, which are part of the binary.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};

const CSS: &str = include_str!("assets/app.css");
const JS: &str = include_str!("assets/app.js");

/// A version that changes with the assets, so that browsers may cache them for ever.
static VERSION: LazyLock<String> = LazyLock::new(|| {
    let mut digest = sha1_smol::Sha1::new();
    digest.update(CSS.as_bytes());
    digest.update(JS.as_bytes());
    digest.digest().to_string()[..12].to_owned()
});

pub(super) fn path(name: &str) -> String {
    format!("/assets/{}/{name}", *VERSION)
}

/// The logo: two horns over a queue.
pub(super) fn mark() -> Markup {
    html! {
        rect width="32" height="32" rx="7" fill="#b5450f" {}
        path d="M7 8c0 6 4 8 9 8s9-2 9-8" fill="none" stroke="#fff" stroke-width="3" stroke-linecap="round" {}
        path d="M9 21.5h14M12 26h8" fill="none" stroke="#fff" stroke-width="3" stroke-linecap="round" {}
    }
}

pub(super) async fn serve(Path((_version, name)): Path<(String, String)>) -> Response {
    let (kind, body) = match &*name {
        "app.css" => ("text/css; charset=utf-8", CSS.to_owned()),
        "app.js" => ("text/javascript; charset=utf-8", JS.to_owned()),
        "icon.svg" => ("image/svg+xml", icon()),
        _ => return StatusCode::NOT_FOUND.into_response(),
    };
    ([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "public, max-age=31536000, immutable")], body)
        .into_response()
}

fn icon() -> String {
    html! { svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32" { (mark()) } }.into_string()
}
