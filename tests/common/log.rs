//! The log as a program with the usual subscriber of `tracing` writes it.

use std::io::Write;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tracing_subscriber::fmt::MakeWriter;

use super::eventually::eventually_within;
use super::fixture::PATIENCE;

/// The lines at INFO and above, or at another level, of this thread from `Log::begin` on, or of connections on all threads.
pub struct Log {
    text: Text,
    _subscriber: Option<tracing::subscriber::DefaultGuard>,
}

#[derive(Clone, Default)]
struct Text(Arc<Mutex<Vec<u8>>>);

impl Write for Text {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Text {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

impl Log {
    pub fn begin() -> Self {
        Self::begin_at(tracing::Level::INFO)
    }

    /// Collects the lines at this level and above.
    pub fn begin_at(level: tracing::Level) -> Self {
        // While there is only one subscriber, `tracing` asks it on the thread that reaches a log line first; if that
        // thread has none, the line is disabled for all threads. So there is always a second subscriber.
        Self::of_connections();
        let text = Text::default();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(level)
            .with_ansi(false)
            .without_time()
            .with_writer(text.clone())
            .finish();
        Self { text, _subscriber: Some(tracing::subscriber::set_default(subscriber)) }
    }

    /// Returns the lines of connections on all threads without a log of their own, shared by all tests. Each test knows
    /// its lines by the port of its server.
    pub fn of_connections() -> Self {
        static TEXT: OnceLock<Text> = OnceLock::new();
        let text = TEXT.get_or_init(|| {
            let text = Text::default();
            let subscriber = tracing_subscriber::fmt()
                .with_env_filter("oxmq::connection=info")
                .with_ansi(false)
                .without_time()
                .with_writer(text.clone())
                .finish();
            tracing::subscriber::set_global_default(subscriber).expect("no other test does this");
            text
        });
        Self { text: text.clone(), _subscriber: None }
    }

    pub fn lines(&self) -> Vec<String> {
        let text = self.text.0.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&text).lines().map(|line| line.trim_start().to_owned()).collect()
    }

    /// Returns the lines that contain this text.
    pub fn with(&self, part: &str) -> Vec<String> {
        self.lines().into_iter().filter(|line| line.contains(part)).collect()
    }

    /// Waits for that many lines with this text.
    pub async fn until(&self, lines: usize, part: &str) -> Vec<String> {
        let what = format!("{lines} lines in the log with '{part}'");
        eventually_within(PATIENCE, &what, || async { self.with(part).len() >= lines }).await;
        self.with(part)
    }
}
