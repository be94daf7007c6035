//! Searches for queues in the background, so that the screen does not wait for it.

use std::time::Duration;

use oxmq::Client;
use oxmq::overview::FindQueues;
use tokio::sync::mpsc::Sender;
use tokio::time::{Instant, sleep};

use crate::failure::Outcome;

/// How long after the end of a search the next one begins.
const PAUSE: Duration = Duration::from_secs(30);

/// A search in the background pauses between steps, so that it takes this many times as long as the server works on it,
/// and once more.
const LEISURE: u32 = 4;

/// The result of a search so far.
pub(super) struct News {
    pub(super) names: Vec<String>,
    /// Whether these are all queues, or only some more.
    pub(super) is_whole: bool,
}

/// Continues a search that has begun, and then searches again and again, until nobody listens.
pub(super) async fn find(client: Client, first: FindQueues, mut known: Vec<String>, news: Sender<Outcome<News>>) {
    let (mut search, mut is_first) = (first, true);
    loop {
        let began = Instant::now();
        let told = match search.next().await {
            Ok(Some(names)) => {
                known.extend(names.iter().cloned());
                (is_first && !names.is_empty()).then_some(Ok(News { names, is_whole: false }))
            }
            Ok(None) => {
                let mut names = std::mem::take(&mut known);
                names.sort_unstable();
                Some(Ok(News { names, is_whole: true }))
            }
            Err(error) => Some(Err(error.into())),
        };
        let pause = match &told {
            Some(Ok(News { is_whole: true, .. })) => {
                (search, is_first) = (client.find_queues(), false);
                PAUSE
            }
            // Asking more often would not find out sooner that the connection is back.
            Some(Err(_)) => Duration::from_secs(1),
            _ if is_first => Duration::ZERO,
            _ => began.elapsed() * LEISURE,
        };
        if let Some(told) = told
            && news.send(told).await.is_err()
        {
            return;
        }
        sleep(pause).await;
    }
}
