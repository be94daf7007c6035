//! A dashboard that tests call directly, without a socket.

use axum::Router;
use axum::body::{Body, BodyDataStream, to_bytes};
use axum::http::{Request, StatusCode, header};
use futures::StreamExt;
use oxmq::dashboard::Dashboard;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tower::ServiceExt;

use crate::common::eventually::eventually;
use crate::common::fixture::{Fixture, PATIENCE};

/// A browser for one site; it keeps its cookies.
pub(super) struct Site {
    router: Router,
    /// The form token of this browser.
    token: String,
}

/// The answer of a site.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: axum::http::HeaderMap,
    pub(super) body: String,
}

impl Site {
    /// Opens a site in which everybody may do everything.
    pub(super) async fn open(fixture: &Fixture) -> Self {
        Self::with(Dashboard::new(fixture.client.clone()).authorize(|_, _| true)).await
    }

    pub(super) async fn with(dashboard: Dashboard) -> Self {
        let router = Router::new().nest("/admin/queues", dashboard.router());
        let mut site = Self { router, token: String::new() };
        let first = site.get("/").await;
        let cookie = first.headers.get(header::SET_COOKIE).unwrap().to_str().unwrap();
        assert!(cookie.ends_with("; Path=/admin/queues; HttpOnly; SameSite=Strict"), "{cookie}");
        cookie.strip_prefix("oxmq_token=").unwrap().split(';').next().unwrap().clone_into(&mut site.token);
        site
    }

    pub(super) async fn get(&self, path: &str) -> Answer {
        let request = Request::get(full(path)).header(header::COOKIE, self.cookie());
        self.send(request.body(Body::empty()).unwrap()).await
    }

    /// A stream of what happens.
    pub(super) async fn stream(&self, path: &str) -> Stream {
        self.stream_from(path, "").await
    }

    /// A stream that is opened anew, after the event that came last.
    pub(super) async fn stream_from(&self, path: &str, last: &str) -> Stream {
        let request = Request::get(full(path)).header(header::COOKIE, self.cookie()).header("last-event-id", last);
        let answer = self.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
        Stream { path: path.to_owned(), parts: answer.into_body().into_data_stream(), told: String::new() }
    }

    /// A page that is there.
    pub(super) async fn page(&self, path: &str) -> String {
        let answer = self.get(path).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.body);
        answer.body
    }

    /// Returns a page that is read in the background, once its source or its text contains all of these.
    pub(super) async fn page_with(&self, path: &str, told: &[&str]) -> String {
        eventually(&format!("{path} tells {told:?}"), || async {
            let page = self.page(path).await;
            let words = text(&page);
            told.iter().all(|told| words.contains(told) || page.contains(told)).then_some(page)
        })
        .await
    }

    /// Sends a form of one of its pages.
    pub(super) async fn post(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let fields = [&[("token", self.token.as_str())], fields].concat();
        self.post_from(path, &fields, &[("sec-fetch-site", "same-origin")]).await
    }

    /// Sends a form that must succeed. Returns where the browser is redirected, and the message that it is shown.
    pub(super) async fn done(&self, path: &str, fields: &[(&str, &str)]) -> (String, String) {
        let answer = self.post(path, fields).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{path}: {}", answer.body);
        let told = answer.headers.get(header::SET_COOKIE).unwrap().to_str().unwrap();
        let told = told.strip_prefix("oxmq_told=").unwrap().split(';').next().unwrap();
        let told = percent_encoding::percent_decode_str(told).decode_utf8().unwrap().into_owned();
        (answer.headers[header::LOCATION].to_str().unwrap().replace("/admin/queues", ""), told)
    }

    /// Sends exactly these fields and headers.
    pub(super) async fn post_from(&self, path: &str, fields: &[(&str, &str)], headers: &[(&str, &str)]) -> Answer {
        let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let body: Vec<String> =
            fields.iter().map(|(name, value)| format!("{}={}", encoded(name), encoded(value))).collect();
        let mut request = Request::post(full(path))
            .header(header::COOKIE, self.cookie())
            .header(header::HOST, "here")
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(Body::from(body.join("&"))).unwrap()).await
    }

    pub(super) fn token(&self) -> &str {
        &self.token
    }

    fn cookie(&self) -> String {
        format!("theirs=1; oxmq_token={}", self.token)
    }

    async fn send(&self, request: Request<Body>) -> Answer {
        let answer = self.router.clone().oneshot(request).await.unwrap();
        let (head, body) = answer.into_parts();
        let policy = head.headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
        let body = String::from_utf8(to_bytes(body, usize::MAX).await.unwrap().to_vec()).unwrap();
        Answer { status: head.status, headers: head.headers, body }
    }
}

/// What a page is told while it is open.
pub(super) struct Stream {
    path: String,
    parts: BodyDataStream,
    told: String,
}

impl Stream {
    /// All that was told, once this was.
    pub(super) async fn until(&mut self, last: &str) -> String {
        while !self.told.contains(last) {
            assert!(self.next().await, "{} ended: {}", self.path, self.told);
        }
        self.told.clone()
    }

    /// All that was told, once the stream has ended.
    pub(super) async fn ended(&mut self) -> String {
        while self.next().await {}
        self.told.clone()
    }

    async fn next(&mut self) -> bool {
        let part = tokio::time::timeout(PATIENCE, self.parts.next()).await;
        let Some(part) = part.unwrap_or_else(|_| panic!("{} is silent: {}", self.path, self.told)) else {
            return false;
        };
        self.told += std::str::from_utf8(&part.unwrap()).unwrap();
        true
    }
}

/// A path of the app; the list of queues has no slash at its end.
fn full(path: &str) -> String {
    match path.strip_prefix('/') {
        Some("") => "/admin/queues".to_owned(),
        Some(rest) if rest.starts_with('?') => format!("/admin/queues{rest}"),
        _ => format!("/admin/queues{path}"),
    }
}

/// Returns the text of a page without its tags, with each run of spaces as one.
pub(super) fn text(page: &str) -> String {
    let mut text = String::new();
    let mut is_tag = false;
    for letter in page.chars() {
        match letter {
            '<' => is_tag = true,
            '>' => {
                is_tag = false;
                text.push(' ');
            }
            letter if !is_tag => text.push(letter),
            _ => {}
        }
    }
    let text = text.replace("&quot;", "\"").replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
