//! Chromium without a screen, controlled by chromedriver.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use fantoccini::elements::Element;
use fantoccini::{Client, ClientBuilder, Locator};
use serde_json::{Value, json};

use crate::common::eventually::eventually_within;

pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// A browser with a profile of its own. Closing or dropping this value ends it.
pub(super) struct Chrome {
    pub(super) client: Client,
    driver: Child,
    profile: PathBuf,
}

impl Chrome {
    /// Opens a window of this size, light or dark.
    pub(super) async fn open(width: u32, height: u32, is_dark: bool) -> Self {
        Self::with(width, height, is_dark, json!({}), "UTC").await
    }

    /// Opens a window of somebody who lives in this time zone.
    pub(super) async fn in_zone(zone: &str) -> Self {
        Self::with(1280, 900, false, json!({}), zone).await
    }

    /// Opens the screen of a small telephone: no window is that narrow.
    pub(super) async fn telephone() -> Self {
        let screen = json!({ "width": 360, "height": 760, "pixelRatio": 1.0 });
        Self::with(500, 900, false, json!({ "mobileEmulation": { "deviceMetrics": screen } }), "UTC").await
    }

    async fn with(width: u32, height: u32, is_dark: bool, mut options: Value, zone: &str) -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let driver = Command::new("chromedriver")
            .arg(format!("--port={port}"))
            .env("TZ", zone)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("chromedriver on the PATH: run `make browser`");
        let profile = std::env::temp_dir().join(format!("oxmq-chrome-{}-{port}", std::process::id()));
        std::fs::create_dir_all(&profile).unwrap();
        let mut args = vec![
            "--headless".to_owned(),
            format!("--user-data-dir={}", profile.display()),
            format!("--window-size={width},{height}"),
        ];
        let fixed = [
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--hide-scrollbars",
        ];
        args.extend(fixed.map(str::to_owned));
        if is_dark {
            args.push("--blink-settings=preferredColorScheme=0".to_owned());
        }
        let mut wanted = serde_json::Map::new();
        options["args"] = json!(args);
        wanted.insert("goog:chromeOptions".to_owned(), options);
        wanted.insert("goog:loggingPrefs".to_owned(), json!({ "browser": "ALL" }));
        let builder = ClientBuilder::new(hyper_util::client::legacy::connect::HttpConnector::new());
        let connect = async || {
            let builder = builder.clone().capabilities(wanted.clone()).clone();
            builder.connect(&format!("http://127.0.0.1:{port}")).await.ok()
        };
        let client = eventually_within(Duration::from_secs(60), "chromedriver answers", connect).await;
        Self { client, driver, profile }
    }

    pub(super) async fn go(&self, url: &str) {
        self.client.goto(url).await.unwrap();
    }

    /// Returns the first element that matches, as soon as there is one.
    pub(super) async fn find(&self, xpath: &str) -> Element {
        eventually_within(PATIENCE, xpath, || async { self.client.find(Locator::XPath(xpath)).await.ok() }).await
    }

    /// Clicks on the element.
    pub(super) async fn click(&self, xpath: &str) {
        // The page may have replaced the element meanwhile.
        let clicked = || async { self.client.find(Locator::XPath(xpath)).await.ok()?.click().await.ok() };
        eventually_within(PATIENCE, xpath, clicked).await;
    }

    /// Waits until the page shows this text.
    pub(super) async fn sees(&self, text: &str) {
        let shows = || async { self.text().await.contains(text) };
        let found = tokio::time::timeout(PATIENCE, async {
            while !shows().await {
                tokio::time::sleep(Duration::from_millis(50)).await; // looks again
            }
        });
        assert!(found.await.is_ok(), "{text} is not on the page: {}", self.text().await);
    }

    /// Returns the visible text of the page.
    pub(super) async fn text(&self) -> String {
        match self.client.find(Locator::Css("body")).await {
            Ok(body) => body.text().await.unwrap_or_default(),
            Err(_) => String::new(),
        }
    }

    /// Runs a script in the page.
    pub(super) async fn script(&self, script: &str) -> Value {
        self.client.execute(script, Vec::new()).await.unwrap()
    }

    /// Presses keys, wherever the focus is.
    pub(super) async fn press(&self, keys: &str) {
        // A page that has just been loaded may not be shown yet, and takes no keys then.
        let pressed = || async { self.client.active_element().await.ok()?.send_keys(keys).await.ok() };
        eventually_within(PATIENCE, keys, pressed).await;
    }

    /// Waits until a script answers true.
    pub(super) async fn until(&self, script: &str) {
        eventually_within(PATIENCE, script, || async { self.script(script).await == json!(true) }).await;
    }

    pub(super) async fn picture(&self, name: &str) {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("dashboard");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(format!("{name}.png")), self.client.screenshot().await.unwrap()).unwrap();
    }

    /// Returns the browser's complaints: failed scripts, and what the content security policy forbids.
    pub(super) async fn complaints(&self) -> Vec<String> {
        let script =
            "return (window.complaints || []).concat(performance.getEntriesByType('resource').map(r => r.name))";
        let found = self.script(script).await;
        found.as_array().unwrap().iter().map(|one| one.as_str().unwrap_or_default().to_owned()).collect()
    }

    pub(super) async fn close(self) {
        self.client.clone().close().await.unwrap();
    }
}

impl Drop for Chrome {
    fn drop(&mut self) {
        // The browser is in the driver's process group, and would outlive a driver that is killed alone.
        let _ = Command::new("kill").args(["-KILL", "--", &format!("-{}", self.driver.id())]).status();
        let _ = self.driver.wait();
        let _ = std::fs::remove_dir_all(&self.profile);
    }
}
