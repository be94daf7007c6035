//! The page of the server that has the queues. Its figures are those of all queues together, so only who sees all of them
//! sees them; the others are told of settings that lose jobs.

use axum::response::Response;
use maud::{Markup, html};

use super::layout::{Page, Tab};
use super::tile;
use crate::dashboard::format::moment::{count, rough};
use crate::dashboard::request::problem::Problem;
use crate::dashboard::request::visit::Visit;
use crate::error::WithCauses;

pub(in crate::dashboard) async fn page(visit: Visit) -> Response {
    let page = build(&visit).await;
    visit.answer(page)
}

async fn build(visit: &Visit) -> Result<Page, Problem> {
    if !visit.may_see_any().await {
        return Err(Problem::nothing_seen());
    }
    let is_all = visit.may_see_all().await;
    let servers = visit.app.client.server_engine()?.everywhere();
    let infos = futures::future::join_all(servers.iter().map(|server| server.server_info())).await;
    let is_alone = infos.len() == 1;
    let mut shown = Vec::with_capacity(infos.len());
    for (number, info) in (1..).zip(infos) {
        match info {
            Ok(info) if is_all => shown.push(one(&info, (!is_alone).then_some(number))),
            Ok(info) => shown.push(settings(&info, (!is_alone).then_some(number))),
            // The other servers of a cluster are shown all the same.
            Err(error) if is_alone => return Err(error.into()),
            Err(error) => shown.push(
                html! { p.warning role="alert" { "Server " (number) " does not answer: " (WithCauses(&error)) } },
            ),
        }
    }
    let body = html! {
        div.head { h1 { @if is_alone { "Server" } @else { (shown.len()) " servers" } } }
        @if !is_all {
            p.hint { "Figures of the server tell of all queues. They are shown to those who may see all of them, once these were searched for: if you \
                may, reload in a moment." }
        }
        @for server in &shown { (server) }
    };
    Ok(Page { title: "Server".into(), tab: Tab::Server, live: None, body })
}

/// Returns a field of `INFO`, empty if the server does not say it.
fn field<'a>(info: &'a [(String, String)], name: &str) -> &'a str {
    info.iter().find(|(found, _)| found == name).map_or("", |(_, value)| value.as_str())
}

fn version(info: &[(String, String)]) -> String {
    first(&["valkey_version", "dragonfly_version", "redis_version"].map(|name| field(info, name)))
}

fn limit(info: &[(String, String)]) -> String {
    first(&[Some(field(info, "maxmemory_human")).filter(|limit| *limit != "0B").unwrap_or("none")])
}

/// Shows what does not depend on what others do with a server.
fn settings(info: &[(String, String)], number: Option<u32>) -> Markup {
    html! {
        @if let Some(number) = number { h2 { "Server " (number) } }
        div {
            (warnings(&|name| field(info, name)))
            div.tiles { (tile("version", version(info), "")) (tile("memory limit", limit(info), "")) }
        }
    }
}

/// Shows one server; if there are several, with its number.
fn one(info: &[(String, String)], number: Option<u32>) -> Markup {
    let get = |name: &str| field(info, name);
    let count_of = |name: &str| get(name).parse::<u64>().unwrap_or(0);
    let figures: Vec<(&str, String)> = vec![
        ("version", version(info)),
        ("up for", rough(std::time::Duration::from_secs(count_of("uptime_in_seconds")))),
        ("memory used", first(&[get("used_memory_human")])),
        ("memory peak", first(&[get("used_memory_peak_human")])),
        ("memory limit", limit(info)),
        ("fragmentation", first(&[get("mem_fragmentation_ratio")])),
        ("mode", first(&[get("redis_mode"), get("server_mode")])),
        ("clients", count(count_of("connected_clients"))),
        ("blocked clients", count(count_of("blocked_clients"))),
        ("commands per second", count(count_of("instantaneous_ops_per_sec"))),
    ];
    // The paths of its files and the addresses of its replicas do not concern queues.
    let is_place = |name: &str| {
        matches!(name, "config_file" | "executable" | "master_host" | "master_port")
            || name.strip_prefix("slave").is_some_and(|n| n.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let all = info.iter().filter(|(name, _)| !is_place(name));
    html! {
        @if let Some(number) = number { h2 { "Server " (number) ", port " (get("tcp_port")) } }
        div id={ "server" @if let Some(number) = number { "-" (number) } } data-swap {
            (warnings(&get))
            div.tiles { @for (name, figure) in &figures { (tile(name, figure, "")) } }
        }
        details.box {
            summary { "All that INFO says" }
            div.scroll { table.rows.hash {
                thead { tr { th scope="col" { "Name" } th scope="col" { "Value" } } }
                tbody { @for (name, value) in all { tr { th scope="row" { code { (name) } } td { (value) } } } }
            } }
        }
    }
}

fn first(texts: &[&str]) -> String {
    texts.iter().find(|text| !text.is_empty()).map_or_else(|| "–".to_owned(), |text| (*text).to_owned())
}

/// Shows settings that lose or delay jobs.
fn warnings<'a>(get: &impl Fn(&str) -> &'a str) -> Markup {
    let number = |name: &str| get(name).parse::<u64>().unwrap_or(0);
    let policy = get("maxmemory_policy");
    let (used, limit) = (number("used_memory"), number("maxmemory"));
    html! {
        @if !policy.is_empty() && policy != "noeviction" {
            p.warning role="alert" { "The server may delete jobs when its memory is full: " code { "maxmemory-policy" } " is " code { (policy) }
                ", and must be " code { "noeviction" } "." }
        }
        @if limit > 0 && used / 100 * 100 > limit / 100 * 90 {
            p.warning role="alert" { "More than nine tenths of the memory limit are used: adds will be refused soon." }
        }
        @if get("rdb_last_bgsave_status") == "err" || get("aof_last_write_status") == "err" {
            p.warning role="alert" { "The server failed to save its data to disk the last time." }
        }
        @if get("role") == "slave" { p.warning role="alert" { "This server is a replica: nothing can be changed here." } }
    }
}
