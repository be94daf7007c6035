//! `oxmq top`: all queues on the full screen, one queue with its jobs, one job.

mod app;
mod draw;
mod fetch;
mod find;

use std::io::IsTerminal;
use std::time::Duration;

use ratatui::crossterm::event::{self, Event, KeyEventKind};
use tokio::sync::mpsc;

use super::doctor::all_exist;
use crate::args::{Global, Top};
use crate::connect;
use crate::failure::{ERROR, Failure, Outcome};
use app::App;

pub(crate) async fn run(global: &Global, args: Top) -> Outcome {
    if !std::io::stdout().is_terminal() {
        return Err(Failure::new(ERROR, "top needs a terminal; `oxmq queues --json` prints the same once"));
    }
    let client = connect::client(global).await?;
    let every = args.every.max(Duration::from_millis(100));
    let (told, news) = mpsc::channel(4);
    let mut names = args.queues;
    all_exist(&client, &names).await?;
    if names.is_empty() {
        // The first step is made before the full screen, so that an error can be read.
        let mut search = client.find_queues();
        names = search.next().await?.unwrap_or_default();
        tokio::spawn(find::find(client.clone(), search, names.clone(), told));
    }
    let (keys, pressed) = mpsc::channel(64);
    std::thread::spawn(move || listen(&keys));
    let mut terminal = ratatui::init();
    let ended = watch(&mut terminal, &mut App::new(names, every), &client, every, pressed, news).await;
    ratatui::restore();
    ended
}

/// Passes on the keys, until nobody listens.
fn listen(keys: &mpsc::Sender<Event>) {
    while let Ok(event) = event::read() {
        if keys.blocking_send(event).is_err() {
            return;
        }
    }
}

async fn watch(
    terminal: &mut ratatui::DefaultTerminal,
    app: &mut App,
    client: &oxmq::Client,
    every: Duration,
    mut pressed: mpsc::Receiver<Event>,
    mut news: mpsc::Receiver<Outcome<find::News>>,
) -> Outcome {
    let (answers, mut fetched) = mpsc::channel(4);
    let mut tick = tokio::time::interval(every);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut is_asking = false;
    loop {
        terminal.draw(|frame| draw::draw(frame, app))?;
        tokio::select! {
            event = pressed.recv() => match event {
                None => return Ok(()),
                Some(Event::Key(key)) if key.kind != KeyEventKind::Release => {
                    if app.press(key) {
                        return Ok(());
                    }
                    // What is newly shown is asked for at once.
                    if app.has_moved() {
                        tick.reset_immediately();
                    }
                }
                Some(_) => {}
            },
            Some(answer) = fetched.recv() => {
                is_asking = false;
                app.take(answer);
                if app.hurries() {
                    tick.reset_immediately();
                }
            }
            Some(news) = news.recv() => {
                app.learn(news);
                if app.hurries() {
                    tick.reset_immediately();
                }
            }
            _ = tick.tick(), if !is_asking => {
                is_asking = true;
                let (client, answers, question) = (client.clone(), answers.clone(), app.question());
                tokio::spawn(async move { _ = answers.send(fetch::ask(&client, question).await).await; });
            }
        }
    }
}
