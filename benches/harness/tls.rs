//! A port of the server that speaks TLS, with certificates made for the run.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

pub(super) struct Tls {
    port: u16,
    directory: PathBuf,
}

impl Tls {
    /// Makes an authority, and a certificate by it for `localhost`.
    pub(super) fn new(directory: &Path) -> Result<Self> {
        let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let tls = Self { port, directory: directory.to_owned() };
        let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=localhost"];
        std::fs::write(directory.join("names"), "subjectAltName=DNS:localhost")?;
        tls.openssl(&[&["req", "-x509", "-days", "2", "-keyout", "ca.key", "-out", "ca.crt"], &key[..]].concat())?;
        tls.openssl(&[&["req", "-keyout", "server.key", "-out", "server.csr"], &key[..]].concat())?;
        let by = ["x509", "-req", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2"];
        tls.openssl(&[&by[..], &["-extfile", "names", "-in", "server.csr", "-out", "server.crt"]].concat())?;
        Ok(tls)
    }

    fn openssl(&self, args: &[&str]) -> Result<()> {
        let output = Command::new("openssl").args(args).current_dir(&self.directory).output();
        let output = output.context("openssl cannot be started")?;
        ensure!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }

    fn file(&self, name: &str) -> String {
        self.directory.join(name).display().to_string()
    }

    pub(super) fn server_args(&self) -> Vec<String> {
        let pairs = [
            ("--tls-port", self.port.to_string()),
            ("--tls-cert-file", self.file("server.crt")),
            ("--tls-key-file", self.file("server.key")),
            ("--tls-ca-cert-file", self.file("ca.crt")),
            ("--tls-auth-clients", "no".to_owned()),
        ];
        pairs.into_iter().flat_map(|(name, value)| [name.to_owned(), value]).collect()
    }

    pub(super) fn url(&self) -> String {
        format!("rediss://localhost:{}?ca={}", self.port, self.file("ca.crt"))
    }
}
