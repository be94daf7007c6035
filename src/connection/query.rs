//! Reads the parameters after the question mark of a URL, as clients of several languages spell them.

use std::time::Duration;

use super::options::ConnectOptions;
use crate::error::{Error, Result};

/// Splits what follows `?` and `#` off a URL.
pub(super) fn cut(url: &str) -> Result<(&str, Vec<(&str, String)>)> {
    let (url, fragment) = url.split_once('#').unwrap_or((url, ""));
    if fragment == "insecure" {
        return Err(insecure("#insecure"));
    }
    if !fragment.is_empty() {
        return Err(Error::invalid("url", "it must not contain `#`; in a password write %23"));
    }
    let (url, query) = url.split_once('?').unwrap_or((url, ""));
    Ok((url, read(query)?))
}

/// Reads `name=value&…`.
fn read(query: &str) -> Result<Vec<(&str, String)>> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((name, decode(value)?))
        })
        .collect()
}

/// Applies one parameter.
pub(super) fn apply(mut options: ConnectOptions, name: &str, value: String) -> Result<ConnectOptions> {
    match name {
        "db" | "database" => options.db = number(&value)?,
        "user" | "username" => options.username = Some(value),
        "pass" | "password" => options.password = Some(value),
        // All that oxmq sends and reads is the same in both.
        "protocol" if matches!(&value[..], "2" | "3" | "resp2" | "resp3") => {}
        "protocol" => return Err(Error::invalid("url", "`protocol` must be 2 or 3")),
        // ioredis counts in milliseconds, and so do others with this spelling.
        "connectTimeout" => options.connect_timeout = span(name, &value, Duration::from_millis)?,
        "commandTimeout" => options.command_timeout = span(name, &value, Duration::from_millis)?,
        "connect_timeout" | "dial_timeout" | "socket_connect_timeout" => {
            options.connect_timeout = span(name, &value, Duration::from_secs)?;
        }
        "command_timeout" | "socket_timeout" => options.command_timeout = span(name, &value, Duration::from_secs)?,
        "insecure" | "skip_verify" | "rejectUnauthorized" | "ssl_cert_reqs" | "verifyPeer" => {
            return match &value[..] {
                "required" | "FULL" | "full" => Ok(options),
                "false" | "0" if name != "rejectUnauthorized" => Ok(options),
                "true" | "1" if name == "rejectUnauthorized" => Ok(options),
                _ => Err(insecure(name)),
            };
        }
        _ => return tls(options, name, value),
    }
    Ok(options)
}

#[cfg(feature = "tls")]
fn tls(mut options: ConnectOptions, name: &str, value: String) -> Result<ConnectOptions> {
    match name {
        "ca" | "cacert" | "tls_root" | "ssl_ca_certs" => options.tls.roots.push(file(name, &value)?),
        "cert" | "tls_cert" | "ssl_certfile" => {
            options.tls.identity.get_or_insert_default().0 = file(name, &value)?;
        }
        "key" | "tls_key" | "ssl_keyfile" => options.tls.identity.get_or_insert_default().1 = file(name, &value)?,
        "sni" | "servername" | "server_name" | "tls_server_name" => options.tls.server_name = Some(value),
        "tls_danger_accept_any_certificate" => options.tls.accepts_any = boolean(&value)?,
        _ => return Err(unknown(name)),
    }
    Ok(options)
}

#[cfg(not(feature = "tls"))]
fn tls(_: ConnectOptions, name: &str, _: String) -> Result<ConnectOptions> {
    Err(unknown(name))
}

#[cfg(feature = "tls")]
fn file(name: &str, path: &str) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|error| Error::invalid("url", format!("the file of `{name}` cannot be read: {error}")))
}

fn insecure(word: &str) -> Error {
    Error::invalid(
        "url",
        format!(
            "`{word}` would let anybody between us and the server read and change everything; trust its certificate by \
             `ca=<file>`, or where that is really meant write `tls_danger_accept_any_certificate=true`"
        ),
    )
}

/// Returns the error for an unknown parameter. It names the parameter only if it looks like a name: a text in the wrong
/// place may be a password.
fn unknown(name: &str) -> Error {
    let is_name = name.len() <= 40 && name.chars().all(|c| c.is_ascii_alphabetic() || c == '_');
    match is_name {
        true => Error::invalid("url", format!("the parameter `{name}` is not known")),
        false => Error::invalid("url", "a parameter after the question mark is not known"),
    }
}

/// Reads a duration with a unit, or a number in the given unit.
fn span(name: &str, text: &str, unit: fn(u64) -> Duration) -> Result<Duration> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "" => unit,
        "ms" => Duration::from_millis,
        "s" => Duration::from_secs,
        _ => return Err(Error::invalid("url", format!("`{name}` must be a time like 500ms or 5s"))),
    };
    digits
        .parse()
        .map(unit)
        .map_err(|_| Error::invalid("url", format!("`{name}` must be a whole number, or one with ms or s behind it")))
}

pub(super) fn number(text: &str) -> Result<i64> {
    text.parse().map_err(|_| Error::invalid("url", "the database must be a number"))
}

pub(super) fn boolean(text: &str) -> Result<bool> {
    match text {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(Error::invalid("url", "a parameter must be true or false")),
    }
}

/// Reads `%41` as `A`.
pub(super) fn decode(text: &str) -> Result<String> {
    let invalid = || Error::invalid("url", "a percent sign must be followed by two hexadecimal digits of UTF-8");
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|digit| char::from(digit).to_digit(16));
        let (Some(high), Some(low)) = (digit(), digit()) else { return Err(invalid()) };
        bytes.push(u8::try_from(high * 16 + low).map_err(|_| invalid())?);
    }
    String::from_utf8(bytes).map_err(|_| invalid())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(url: &str) -> String {
        let error = ConnectOptions::from_url(url).unwrap_err();
        assert!(matches!(error, Error::InvalidOption { option: "url", .. }), "{url}: {error:?}");
        error.to_string()
    }

    #[test]
    fn parameters_are_read_as_others_spell_them() {
        let options = ConnectOptions::from_url("redis://h:7?db=3&protocol=resp3&username=joe&pass=a%26b").unwrap();
        assert_eq!(
            (options.db, options.username.as_deref(), options.password.as_deref()),
            (3, Some("joe"), Some("a&b"))
        );
        for (url, connect, command) in [
            ("redis://h?connectTimeout=700&commandTimeout=900", 700, 900),
            ("redis://h/1?dial_timeout=2s&socket_timeout=3", 2_000, 3_000),
            ("redis+unix:///run/s?connect_timeout=70ms&command_timeout=1s", 70, 1_000),
            ("redis+sentinel://h/m?connect_timeout=1&command_timeout=2", 1_000, 2_000),
        ] {
            let options = ConnectOptions::from_url(url).unwrap();
            let ms = Duration::from_millis;
            assert_eq!((options.connect_timeout, options.command_timeout), (ms(connect), ms(command)), "{url}");
        }
        assert_eq!(ConnectOptions::from_url("redis+unix:///s?db=2&user=u&pass=p").unwrap().db, 2);
        assert!(
            ConnectOptions::from_url("redis://h?skip_verify=false&rejectUnauthorized=true&ssl_cert_reqs=required")
                .is_ok()
        );
    }

    #[test]
    fn what_is_not_known_is_named_and_secrets_are_not() {
        assert!(said("redis://h?lazyConnect=true").contains("`lazyConnect`"));
        for url in
            ["redis://h?s3cret", "redis://:pw?s3cret@h", "redis://h#s3cret", "redis://h?db=s3cret", "redis://h?db=%"]
        {
            assert!(!said(url).contains("s3cret"), "{url}");
        }
        assert!(said("redis://h?connectTimeout=5m").contains("`connectTimeout`"));
        assert!(said("redis://h?protocol=4").contains("protocol"));
    }

    #[test]
    fn to_trust_anybody_takes_a_word_that_says_so() {
        for url in [
            "redis://h/#insecure",
            "redis://h?insecure=true",
            "redis://h?skip_verify=1",
            "redis://h?ssl_cert_reqs=none",
            "redis://h?rejectUnauthorized=false",
            "redis://h?verifyPeer=NONE",
        ] {
            assert!(said(url).contains("tls_danger_accept_any_certificate=true"), "{url}");
        }
    }

    #[cfg(feature = "tls")]
    #[test]
    fn tls_is_set_up_by_files() {
        let dir = std::env::temp_dir().join(format!("oxmq-query-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir(&dir).unwrap();
        for name in ["ca", "cert", "key"] {
            std::fs::write(dir.join(name), name).unwrap();
        }
        let at = dir.display();
        for (ca, cert, key, name) in
            [("ca", "cert", "key", "sni"), ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "server_name")]
        {
            let url = format!("rediss://h?{ca}={at}/ca&{cert}={at}/cert&{key}={at}/key&{name}=inner");
            let tls = ConnectOptions::from_url(&url).unwrap().tls;
            assert_eq!(tls.roots, [b"ca".to_vec()]);
            assert_eq!(tls.identity, Some((b"cert".to_vec(), b"key".to_vec())));
            assert_eq!((tls.server_name.as_deref(), tls.accepts_any), (Some("inner"), false));
        }
        std::fs::remove_dir_all(&dir).unwrap();
        assert!(said(&format!("rediss://h?cacert={at}/ca")).contains("`cacert`"));
        assert!(ConnectOptions::from_url("rediss://h?tls_danger_accept_any_certificate=true").unwrap().tls.accepts_any);
    }
}
