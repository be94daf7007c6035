//! Accepts only forms from our own pages: a token must be in a cookie and in the form, and headers must name our
//! origin.

use axum::http::header::{COOKIE, LOCATION, SET_COOKIE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};

use super::links::{Links, query};
use super::problem::Problem;

const TOKEN: &str = "oxmq_token";
const FLASH: &str = "oxmq_told";

/// The name of the field that holds the token.
pub(in crate::dashboard) const FIELD: &str = "token";

/// The token that a form must contain, with the same value as the cookie.
#[derive(Debug, Clone)]
pub(in crate::dashboard) struct Token {
    value: String,
    is_new: bool,
}

impl Token {
    /// Returns the browser's token, or a new one.
    pub(in crate::dashboard) fn of(headers: &HeaderMap) -> Self {
        match cookie(headers, TOKEN).filter(|value| uuid::Uuid::try_parse(value).is_ok()) {
            Some(value) => Self { value: value.to_owned(), is_new: false },
            None => Self { value: uuid::Uuid::new_v4().simple().to_string(), is_new: true },
        }
    }

    /// Returns the hidden field of a form.
    pub(in crate::dashboard) fn field(&self) -> Markup {
        html! { input type="hidden" name=(FIELD) value=(self.value); }
    }

    /// Sets the cookie, if the browser has none.
    pub(in crate::dashboard) fn keep(&self, headers: &mut HeaderMap, links: &Links) {
        if self.is_new {
            set_cookie(headers, links, TOKEN, &self.value, None);
        }
    }

    /// Checks that a form is from one of our pages.
    pub(in crate::dashboard) fn check(&self, headers: &HeaderMap, sent: Option<&str>) -> Result<(), Problem> {
        let is_known = !self.is_new && sent.is_some_and(|sent| same(sent.as_bytes(), self.value.as_bytes()));
        if is_known && is_from_here(headers) { Ok(()) } else { Err(Problem::foreign()) }
    }
}

/// Compares all bytes, so that the time does not reveal where they differ.
fn same(left: &[u8], right: &[u8]) -> bool {
    left.len() == right.len() && left.iter().zip(right).fold(0, |differs, (left, right)| differs | (left ^ right)) == 0
}

/// Checks what the browser says about the origin of a form. If it says nothing, the token decides.
fn is_from_here(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(site) = text("sec-fetch-site") {
        return site == "same-origin";
    }
    match text("origin") {
        None => true,
        Some(origin) => origin.split_once("://").map(|(_, host)| host) == text("host"),
    }
}

/// Redirects to a page that tells what was done.
pub(in crate::dashboard) fn see(links: &Links, path: &str, told: &str) -> Response {
    let mut response = StatusCode::SEE_OTHER.into_response();
    let headers = response.headers_mut();
    // `links` has escaped everything in the path.
    headers.insert(LOCATION, HeaderValue::from_str(path).unwrap_or(HeaderValue::from_static("/")));
    let told: String = told.chars().take(500).collect();
    set_cookie(headers, links, FLASH, &query(&told), Some(30));
    response
}

pub(in crate::dashboard) fn flash_of(headers: &HeaderMap) -> Option<String> {
    let text = percent_encoding::percent_decode_str(cookie(headers, FLASH)?).decode_utf8().ok()?;
    Some(text.into_owned()).filter(|text| !text.is_empty())
}

pub(in crate::dashboard) fn clear_flash(headers: &mut HeaderMap, links: &Links) {
    set_cookie(headers, links, FLASH, "", Some(0));
}

fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let cookies = headers.get_all(COOKIE).iter().filter_map(|line| line.to_str().ok());
    let mut pairs = cookies.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(found, _)| *found == name).map(|(_, value)| value)
}

fn set_cookie(headers: &mut HeaderMap, links: &Links, name: &str, value: &str, seconds: Option<u32>) {
    let age = seconds.map_or_else(String::new, |seconds| format!("; Max-Age={seconds}"));
    let cookie = format!("{name}={value}; Path={}; HttpOnly; SameSite=Strict{age}", links.home());
    if let Ok(cookie) = HeaderValue::from_str(&cookie) {
        headers.append(SET_COOKIE, cookie);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn only_our_own_pages_send_forms() {
        const VALUE: &str = "0123456789abcdef0123456789abcdef";
        let cookie = ("cookie", "a=b; oxmq_token=0123456789abcdef0123456789abcdef");
        let check = |more: &[(&'static str, &str)], sent| {
            let headers = headers(&[&[cookie], more].concat());
            Token::of(&headers).check(&headers, sent).is_ok()
        };
        assert!(check(&[], Some(VALUE)));
        assert!(check(&[("origin", "https://here:8080"), ("host", "here:8080")], Some(VALUE)));
        assert!(check(&[("sec-fetch-site", "same-origin"), ("origin", "https://x"), ("host", "y")], Some(VALUE)));
        assert!(!check(&[], None) && !check(&[], Some("")) && !check(&[], Some("0123")));
        assert!(!check(&[("origin", "https://there"), ("host", "here")], Some(VALUE)));
        assert!(!check(&[("origin", "null"), ("host", "here")], Some(VALUE)));
        assert!(!check(&[("sec-fetch-site", "same-site")], Some(VALUE)));
        let none = headers(&[]);
        let fresh = Token::of(&none);
        assert!(fresh.check(&none, Some(&fresh.value.clone())).is_err(), "a browser without the cookie");
    }
}
