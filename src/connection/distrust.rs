//! TLS handshakes that fail: what waiting does not mend, and what the user can do.

use std::error::Error;

use redis::{ErrorKind, RedisError};

use super::servers::Address;

/// What rustls says before it names what is wrong with the server's certificate.
const THEIRS: &str = "invalid peer certificate: ";

/// What rustls says before it names why the server has given up.
const ALERT: &str = "received fatal alert: ";

/// What we say of a server that answers without TLS.
pub(super) const NO_TLS: &str = "the server speaks no TLS on this port: try redis instead of rediss";

/// Returns whether one side does not trust the other, or the server speaks no TLS. At the start of a program waiting does
/// not mend that; a client that was connected before tries again, since certificates are renewed.
pub(super) fn is_distrust(error: &RedisError) -> bool {
    let text = error.to_string();
    error.kind() == ErrorKind::Io && [THEIRS, ALERT, NO_TLS].iter().any(|part| text.contains(part))
}

/// Returns what to say of an error of connecting without TLS: a server that expects it closes the connection.
pub(super) fn tls_hint(address: &Address, error: &RedisError) -> &'static str {
    // Only the error of a socket has a source; ours, as that a server is a replica, say nothing about TLS.
    let has_hung_up = error.source().is_some() && error.is_connection_dropped() && !error.is_connection_refusal();
    match address {
        Address::Tcp(..) if has_hung_up => "; a port with TLS hangs up like this: try rediss instead of redis",
        _ => "",
    }
}

/// Adds to the text of an error what the user can do about it, if that is known.
pub(super) fn advised(text: &str) -> String {
    // The name alone, since the rest of what rustls says in this case tells people nothing.
    let text = text.replacen("Other(OtherError(CaUsedAsEndEntity))", "CaUsedAsEndEntity", 1);
    let has = |before: &str, part: &str| text.split_once(before).is_some_and(|(_, what)| what.contains(part));
    let advice = if has(THEIRS, "CaUsedAsEndEntity") {
        "; it is self-signed and an authority at once, which is refused even if it is trusted: make an authority, and a \
         certificate that it signs"
    } else if has(THEIRS, "UnknownIssuer") {
        "; `tls_root`, or `ca=<file>` in the URL, names the authority that made it"
    } else if has(THEIRS, "not valid for name") {
        "; `tls_server_name`, or `sni=<name>` in the URL, names another one to expect"
    } else if has(ALERT, "CertificateRequired") {
        "; the server asks for a certificate of ours: `tls_identity`, or `cert=<file>&key=<file>` in the URL"
    } else if has(ALERT, "Certificate") || has(ALERT, "UnknownCA") || has(ALERT, "AccessDenied") {
        "; the server does not accept our certificate"
    } else {
        ""
    };
    text + advice
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_a_certificate_comes_with_what_to_do() {
        for (said, advice) in [
            ("invalid peer certificate: UnknownIssuer", "ca=<file>"),
            ("invalid peer certificate: Other(OtherError(CaUsedAsEndEntity))", "certificate: CaUsedAsEndEntity; it is"),
            ("invalid peer certificate: certificate not valid for name \"h\"; …", "sni=<name>"),
            ("received fatal alert: CertificateRequired", "key=<file>"),
            ("received fatal alert: UnknownCA", "accept our certificate"),
            ("received fatal alert: BadCertificate", "accept our certificate"),
        ] {
            assert!(advised(said).contains(advice), "{said}: {}", advised(said));
            assert!(is_distrust(&RedisError::from((ErrorKind::Io, "TLS", said.to_owned()))), "{said}");
        }
        for said in ["invalid peer certificate: Expired", "received fatal alert: ProtocolVersion", "connection refused"]
        {
            assert_eq!(advised(said), said);
        }
        assert!(!is_distrust(&RedisError::from((ErrorKind::Io, "connection refused"))));
    }
}
