//! Finds out why a URL of one server cannot be read. The texts never repeat any of it: it may hold a password.

use crate::error::Error;

/// Returns the error for a URL without its query, which names the part that cannot be read.
pub(super) fn unreadable(url: &str) -> Error {
    Error::invalid("url", problem(url))
}

/// Returns what is wrong where several servers are named, which some parsers accept as one host.
pub(super) fn several(url: &str) -> Option<Error> {
    authority(url).0.rsplit('@').next()?.contains(',').then(|| Error::invalid("url", SEVERAL))
}

/// Returns the error for TLS without the feature that it needs.
pub(super) fn no_tls() -> Error {
    Error::invalid("url", "for TLS build with the feature `tls` of this crate: features = [\"tls\"]")
}

pub(super) const SEVERAL: &str = "one server is expected; several are written redis+sentinel://host:port,host:port/master or \
                       redis+cluster://host:port,host:port";

fn problem(url: &str) -> &'static str {
    let (authority, path) = authority(url);
    let (login, server) = authority.rsplit_once('@').unwrap_or(("", authority));
    // An address of version 6 stands in brackets.
    let (host, port) = match server.rsplit_once(']') {
        Some((host, port)) => (host, port.strip_prefix(':')),
        None => server.split_once(':').map_or((server, None), |(host, port)| (host, Some(port))),
    };
    if url.contains("unix:") {
        "the path of the socket is an absolute one: redis+unix:///run/redis.sock"
    } else if server.contains(',') {
        SEVERAL
    } else if port.is_some_and(|port| !port.is_empty() && port.parse::<u16>().is_err()) {
        // The port begins after the last colon, unless a password is cut short by its own slash.
        "what follows the colon after the host must be a port, at most 65535; in a password, write / as %2F, @ as %40, \
         # as %23 and ? as %3F"
    } else if host.trim_start_matches('[').is_empty() {
        "the host is missing: redis://host:port"
    } else if !path.is_empty() && path.parse::<u32>().is_err() {
        "what follows the slash must be the number of a database"
    } else if login.contains('%') {
        "the user or the password is not UTF-8 where it has %: that stands before two hexadecimal digits, and is itself %25"
    } else {
        "the host, the user or the password has a character that a URL cannot have there"
    }
}

/// Returns the part with login, host and port, and the path after it.
fn authority(url: &str) -> (&str, &str) {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split_once('/').unwrap_or((rest, ""))
}

#[cfg(test)]
mod tests {
    use super::super::options::ConnectOptions;

    #[test]
    fn a_url_that_cannot_be_read_says_which_part() {
        for (url, part) in [
            ("redis://h:1/abc", "number of a database"),
            ("redis://h:8080000", "must be a port"),
            ("redis://h:port", "must be a port"),
            ("redis://u:s3cr/et@h:1", "must be a port"),
            ("redis://:s3cr/et@h:1", "write / as %2F"),
            ("redis://:s3cr?et@h:1", "? as %3F"),
            ("redis://a:1,b:2", "redis+cluster://host:port,host:port"),
            ("redis://a,b/0", "redis+sentinel://host:port,host:port/master"),
            ("redis://u:s3cret@a:1,b:2", "several are written"),
            ("redis://:6379", "host is missing"),
            ("redis://", "host is missing"),
            ("redis://u:s3cret@:6379", "host is missing"),
            ("redis://u:s3cret%FF@h:1", "hexadecimal"),
            ("redis://[::1]:99999", "must be a port"),
            ("redis://h x:1", "a character that a URL cannot have"),
        ] {
            let said = match ConnectOptions::from_url(url) {
                Err(error) => error.to_string(),
                Ok(options) => panic!("{url}: {options:?}"),
            };
            assert!(said.starts_with("option url: ") && said.contains(part), "{url}: {said}");
            assert!(!said.contains("s3cr"), "{said}");
        }
    }
}
