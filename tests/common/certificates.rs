//! Certificates made for a test.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::server::fresh_prefix;

/// A directory with certificates: `ca`, `server` and `client` signed by it, and `other`, which is self-signed.
pub struct Certificates(PathBuf);

impl Certificates {
    pub fn new() -> Self {
        let dir = std::env::temp_dir().join(format!("oxmq-tls-{}-{}", std::process::id(), fresh_prefix()));
        std::fs::create_dir_all(&dir).unwrap();
        let made = Self(dir);
        for name in ["ca", "other"] {
            let subject = format!("/CN={name}");
            made.openssl(&[
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:prime256v1",
                "-nodes",
                "-days",
                "2",
                "-subj",
                &subject,
                "-keyout",
                &format!("{name}.key"),
                "-out",
                &format!("{name}.crt"),
                "-addext",
                "subjectAltName=DNS:localhost",
            ]);
        }
        for name in ["server", "client"] {
            made.sign(name, &["-days", "2"]);
        }
        made
    }

    /// Makes a certificate signed by `ca` for host names only, not for an IP address.
    pub fn sign(&self, name: &str, how_long: &[&str]) {
        self.sign_for(name, "DNS:localhost,DNS:redis.internal", how_long);
    }

    /// Makes a certificate signed by `ca` for these names and addresses.
    pub fn sign_for(&self, name: &str, names: &str, how_long: &[&str]) {
        let (key, request, certificate) = (format!("{name}.key"), format!("{name}.csr"), format!("{name}.crt"));
        let subject = format!("/CN={name}");
        self.openssl(&[
            "req",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-subj",
            &subject,
            "-keyout",
            &key,
            "-out",
            &request,
        ]);
        std::fs::write(self.0.join("names"), format!("subjectAltName={names}")).unwrap();
        let made_by = ["-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "names"];
        let files = ["-in", &request[..], "-out", &certificate];
        self.openssl(&[&["x509", "-req"], &made_by[..], &files, how_long].concat());
    }

    fn openssl(&self, args: &[&str]) {
        let output = Command::new("openssl").args(args).current_dir(&self.0).output().expect("openssl is on the PATH");
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Returns a port for TLS, from a range out of which the system assigns none. The port of the cluster bus is free
    /// as well.
    pub fn port(&self) -> u16 {
        let is_free = |port: u16| std::net::TcpListener::bind(("127.0.0.1", port)).is_ok();
        loop {
            let port = fastrand::u16(12_000..22_000);
            if is_free(port) && is_free(port + 10_000) {
                return port;
            }
        }
    }

    /// Returns the arguments that make a server show this certificate on this port. It asks clients for none.
    pub fn server_args(&self, name: &str, port: u16) -> Vec<String> {
        let (certificate, key) = (self.path(&format!("{name}.crt")), self.path(&format!("{name}.key")));
        [
            ("--tls-port", port.to_string()),
            ("--tls-cert-file", certificate),
            ("--tls-key-file", key),
            ("--tls-ca-cert-file", self.path("ca.crt")),
            ("--tls-auth-clients", "no".to_owned()),
        ]
        .into_iter()
        .flat_map(|(name, value)| [name.to_owned(), value])
        .collect()
    }

    pub fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }

    pub fn pem(&self, name: &str) -> Vec<u8> {
        std::fs::read(Path::new(&self.path(name))).unwrap()
    }
}

impl Drop for Certificates {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
