//! Reads the parameters after the question mark of a URL, as clients of several languages spell them.

use std::time::Duration;

use super::options::ConnectOptions;
use super::unreadable::SEVERAL;
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
        "connectTimeout" => options.connect_timeout = span(name, &value, MILLISECOND)?,
        "commandTimeout" | "socketTimeout" => options.command_timeout = span(name, &value, MILLISECOND)?,
        "connect_timeout" | "dial_timeout" | "socket_connect_timeout" => {
            options.connect_timeout = span(name, &value, SECOND)?;
        }
        "command_timeout" | "socket_timeout" | "read_timeout" | "timeout" => {
            options.command_timeout = span(name, &value, SECOND)?;
        }
        // All addresses of a host are tried, of whichever family.
        "family" if matches!(&value[..], "0" | "4" | "6") => {}
        "tls" | "ssl" if boolean(&value)? == uses_tls(&options) => {}
        "tls" | "ssl" => {
            return Err(Error::invalid("url", "it begins with rediss:// for TLS, and with redis:// without it"));
        }
        "insecure" | "skip_verify" | "rejectUnauthorized" | "ssl_cert_reqs" | "ssl_check_hostname" | "verifyPeer" => {
            return is_checked(name, &value).then_some(options).ok_or_else(|| insecure(name));
        }
        "addr" | "master_name" | "sentinelMasterId" => return Err(Error::invalid("url", SEVERAL)),
        _ => return tls(options, name, value),
    }
    Ok(options)
}

/// Returns whether a parameter of other clients asks for what we do anyway: the server's certificate is checked.
fn is_checked(name: &str, value: &str) -> bool {
    match name {
        // To clients of OpenSSL `optional` is the same as `required`.
        "ssl_cert_reqs" => matches!(value, "required" | "optional" | "CERT_REQUIRED" | "CERT_OPTIONAL"),
        "verifyPeer" => value.eq_ignore_ascii_case("full"),
        "rejectUnauthorized" | "ssl_check_hostname" => matches!(boolean(value), Ok(true)),
        _ => matches!(boolean(value), Ok(false)),
    }
}

#[cfg(feature = "tls")]
fn uses_tls(options: &ConnectOptions) -> bool {
    options.uses_tls()
}

#[cfg(not(feature = "tls"))]
fn uses_tls(_: &ConnectOptions) -> bool {
    false
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
        true => Error::invalid(
            "url",
            format!("the parameter `{name}` is not known; if it is one of another client, leave it out"),
        ),
        false => Error::invalid("url", "a parameter after the question mark is not known"),
    }
}

const SECOND: f64 = 1.0;
const MILLISECOND: f64 = 0.001;

/// Reads a duration with a unit, or a number of units of this many seconds.
fn span(name: &str, text: &str, unit: f64) -> Result<Duration> {
    let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[number.len()..] {
        "" => Some(unit),
        "us" => Some(MILLISECOND / 1000.0),
        "ms" => Some(MILLISECOND),
        "s" => Some(SECOND),
        "m" => Some(60.0),
        "h" => Some(3600.0),
        _ => None,
    };
    let seconds = unit.and_then(|unit| Some(number.parse::<f64>().ok()? * unit));
    seconds
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .ok_or_else(|| Error::invalid("url", format!("`{name}` must be a time like 500ms, 5s or 1m")))
}

pub(super) fn number(text: &str) -> Result<i64> {
    text.parse().map_err(|_| Error::invalid("url", "the database must be a number"))
}

pub(super) fn boolean(text: &str) -> Result<bool> {
    match text {
        "true" | "True" | "1" => Ok(true),
        "false" | "False" | "0" => Ok(false),
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
            ("redis://h?socket_connect_timeout=0.5&socket_timeout=2.5", 500, 2_500),
            ("redis://h?dial_timeout=1.5s&read_timeout=1m", 1_500, 60_000),
            ("redis://h?family=0&connectTimeout=9&socketTimeout=1000", 9, 1_000),
            ("redis-sentinel://h/0?connect_timeout=1&timeout=1h&sentinelMasterId=m", 1_000, 3_600_000),
        ] {
            let options = ConnectOptions::from_url(url).unwrap();
            let ms = Duration::from_millis;
            assert_eq!((options.connect_timeout, options.command_timeout), (ms(connect), ms(command)), "{url}");
        }
        assert_eq!(ConnectOptions::from_url("redis+unix:///s?db=2&user=u&pass=p").unwrap().db, 2);
        for same in [
            "skip_verify=false&rejectUnauthorized=true&ssl_cert_reqs=required",
            "ssl_cert_reqs=CERT_REQUIRED&ssl_check_hostname=True&verifyPeer=FULL",
            "tls=false&family=6",
        ] {
            let _ = ConnectOptions::from_url(&format!("redis://h?{same}")).unwrap();
        }
    }

    #[test]
    fn what_is_not_known_is_named_and_secrets_are_not() {
        assert!(said("redis://h?lazyConnect=true").contains("`lazyConnect`"));
        for url in
            ["redis://h?s3cret", "redis://:pw?s3cret@h", "redis://h#s3cret", "redis://h?db=s3cret", "redis://h?db=%"]
        {
            assert!(!said(url).contains("s3cret"), "{url}");
        }
        assert!(said("redis://h?connectTimeout=5x").contains("`connectTimeout`"));
        assert!(said("redis://h?protocol=4").contains("protocol"));
        for wrong in ["1m30s", "-1", "None", "1e400", "nan", "5d", ""] {
            assert!(said(&format!("redis://h?timeout={wrong}")).contains("500ms"), "{wrong}");
        }
        assert!(said("redis://h?tls=true").contains("rediss://"));
        for several in ["addr=h2:1", "master_name=m", "sentinelMasterId=m"] {
            assert!(said(&format!("redis://h?{several}")).contains("redis+sentinel://"), "{several}");
        }
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
            "redis://h?verifyPeer=CA",
            "redis://h?ssl_cert_reqs=CERT_NONE",
            "redis://h?ssl_check_hostname=False",
            "redis://h?insecure",
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
