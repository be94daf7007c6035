//! TLS for our sockets: one configuration for all connections of a client.

use std::io;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::{self, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use super::options::TlsOptions;
use crate::error::{Error, Result};

/// The TLS settings of a client.
#[derive(Clone)]
pub(super) struct Tls {
    connector: TlsConnector,
    /// The name that certificates must be for, if not that of the host.
    name: Option<ServerName<'static>>,
}

impl Tls {
    /// Builds the settings from the options.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOption`] for certificates, a key or a name that cannot be read, or if there is no root at all.
    pub(super) fn new(options: &TlsOptions) -> Result<Self> {
        let name = options.server_name.as_deref().map(server_name).transpose()?;
        let config = options.config.clone().map_or_else(|| configure(options).map(Arc::new), Ok)?;
        Ok(Self { connector: TlsConnector::from(config), name })
    }

    /// Returns the name that the certificate of this host must be for.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOption`] for a host that certificates cannot name.
    pub(super) fn name_of(&self, host: &str) -> Result<ServerName<'static>> {
        self.name.clone().map_or_else(|| server_name(host), Ok)
    }

    pub(super) async fn connect<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        host: &str,
        socket: S,
    ) -> io::Result<TlsStream<S>> {
        let name = self.name_of(host).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        self.connector.connect(name, socket).await
    }
}

/// Builds the configuration that the options ask for.
fn configure(options: &TlsOptions) -> Result<ClientConfig> {
    // A provider of our own, since the process may have none or several.
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::invalid("tls", error.to_string()))?;
    let builder = match options.accepts_any {
        true => {
            tracing::warn!(target: "oxmq::connection", "any certificate is accepted: whoever is between client and server can read everything");
            builder.dangerous().with_custom_certificate_verifier(Arc::new(AcceptsAny(provider)))
        }
        false => builder.with_root_certificates(roots(options)?),
    };
    match &options.identity {
        Some((certificates, key)) => {
            let certificates = certificates_of("tls_identity", certificates)?;
            let key = PrivateKeyDer::from_pem_slice(key)
                .map_err(|_| Error::invalid("tls_identity", "the key is not PEM text with a private key"))?;
            builder
                .with_client_auth_cert(certificates, key)
                .map_err(|error| Error::invalid("tls_identity", error.to_string()))
        }
        None => Ok(builder.with_no_client_auth()),
    }
}

fn server_name(name: &str) -> Result<ServerName<'static>> {
    ServerName::try_from(name.trim_matches(['[', ']']).to_owned())
        .map_err(|_| Error::invalid("tls_server_name", "it is neither a host name nor an address"))
}

fn roots(options: &TlsOptions) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    if options.roots.is_empty() {
        // A certificate that cannot be read must not keep the others out.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    for pem in &options.roots {
        for certificate in certificates_of("tls_root", pem)? {
            roots.add(certificate).map_err(|error| Error::invalid("tls_root", error.to_string()))?;
        }
    }
    if roots.is_empty() {
        return Err(Error::invalid("tls_root", "no root certificate was given, and the system has none"));
    }
    Ok(roots)
}

/// Accepts every server. It still verifies that the server holds the key of its certificate.
#[derive(Debug)]
struct AcceptsAny(Arc<CryptoProvider>);

impl ServerCertVerifier for AcceptsAny {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

fn certificates_of(option: &'static str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>> {
    let certificates = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err(Error::invalid(option, "it is not PEM text with certificates")),
    }
}
