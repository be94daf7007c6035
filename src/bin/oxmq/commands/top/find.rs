//! Which queues there are, looked for beside all else, so that the screen waits for no search.

use std::time::Duration;

use oxmq::Client;
use oxmq::overview::FindQueues;
use tokio::sync::mpsc::Sender;
use tokio::time::{Instant, sleep};

use crate::failure::Outcome;

/// How long after the end of a search another begins.
const PAUSE: Duration = Duration::from_secs(30);

/// A search that nobody waits for takes this many times as long as the server works for it, and one.
const LEISURE: u32 = 4;

/// What a search has found.
pub(super) struct News {
    pub(super) names: Vec<String>,
    /// Whether these are all queues, or only some more.
    pub(super) is_whole: bool,
}

/// Goes on with a search that has begun, and searches again and again; until nobody listens.
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
            // What is wrong with the connection is not found out any sooner by haste.
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
