//! Draws the screen.

use std::time::Duration;

use oxmq::JobState;
use oxmq::overview::{MinuteCounts, QueueOverview};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Block, Cell, Paragraph, Row, Sparkline, Table, TableState};

use super::app::{App, HELP, STATES, Screen};
use crate::say;

/// From this width on, the times are shown too.
const WIDE: u16 = 110;

/// The least that the name of a queue takes.
const QUEUE_WIDTH: u16 = 16;

/// The columns of the queues, with their widths; the name takes what is left.
const COLUMNS: [(&str, u16); 12] = [
    ("QUEUE", QUEUE_WIDTH),
    ("WAITING", 9),
    ("ACTIVE", 7),
    ("DELAYED", 8),
    ("FAILED", 8),
    ("DONE/MIN", 8),
    ("OLDEST", 8),
    ("WORKERS", 7),
    ("COMPLETED", 11),
    ("WAIT", 8),
    ("RUN", 8),
    ("VERSION", 18),
];

/// How many of them a screen shows that is not [`WIDE`].
const NARROW_COLUMNS: usize = 8;

/// The columns that a narrower screen leaves out, the first of them first.
const LEAST: [&str; 6] = ["DONE/MIN", "DELAYED", "ACTIVE", "OLDEST", "FAILED", "WORKERS"];

/// The columns that hold no numbers.
const LEFT: [&str; 2] = ["QUEUE", "VERSION"];

/// Uses colours if they are wanted; the screen can be read without them.
fn colour(colour: Color) -> Style {
    if std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()) {
        return Style::new();
    }
    Style::new().fg(colour)
}

fn chosen() -> Style {
    Style::new().add_modifier(Modifier::REVERSED)
}

fn head() -> Style {
    Style::new().add_modifier(Modifier::BOLD)
}

pub(super) fn draw(frame: &mut Frame, app: &mut App) {
    let [top, middle, bottom] =
        Layout::vertical([Constraint::Length(1), Constraint::Min(3), Constraint::Length(1)]).areas(frame.area());
    title(frame, app, top);
    match &app.screen {
        Screen::Queues => queues(frame, app, middle),
        Screen::Jobs { .. } => jobs(frame, app, middle),
        Screen::Job { .. } => job(frame, app, middle),
        Screen::Help { .. } => help(frame, app, middle),
    }
    let keys = match app.screen {
        Screen::Queues if app.find.is_typed => "Enter keeps it  Esc drops it",
        Screen::Queues => "↑↓ choose  Enter jobs  / find  s sort  ? help  q quit",
        Screen::Help { .. } => "↑↓ scroll  Esc back  q quit",
        Screen::Jobs { .. } => "1-7 state  ↑↓ choose  Enter job  Esc back  q quit",
        Screen::Job { .. } => "↑↓ scroll  Esc back  q quit",
    };
    let line = match &app.problem {
        Some(problem) => Line::styled(format!("! {}", say::short(problem, 200)), colour(Color::Red)),
        None => Line::raw(keys),
    };
    frame.render_widget(line, bottom);
}

fn title(frame: &mut Frame, app: &App, area: Rect) {
    let queue = say::short(app.chosen.as_deref().unwrap_or(""), 40);
    let text = match &app.screen {
        Screen::Queues => {
            let sum = |of: fn(&QueueOverview) -> u64| say::number(app.queues.iter().map(of).sum());
            let (read, known) = (say::number(app.queues.len() as u64), say::number(app.names.len() as u64));
            let is_read = app.queues.len() >= app.names.len();
            let read =
                if is_read { say::many(app.queues.len() as u64, "queue") } else { format!("{read}/{known} queues") };
            let find = match (&*app.find.text, app.find.is_typed) {
                ("", false) => String::new(),
                (text, is_typed) => format!("  /{}{}", say::short(text, 30), if is_typed { "_" } else { "" }),
            };
            format!(
                "oxmq top  {read}  {} waiting  {} active  {} failed  by {}{find}",
                sum(QueueOverview::waiting),
                sum(|queue| queue.counts.active),
                sum(|queue| queue.counts.failed),
                app.sort.name(),
            )
        }
        Screen::Help { .. } => "oxmq top: keys and columns".to_owned(),
        Screen::Jobs { overview, state, jobs, .. } => {
            let count = overview.as_ref().map_or(0, |o| o.counts.get(*state));
            let known = overview.as_ref().map_or_else(|| "…".to_owned(), |_| say::number(count));
            let paused = if overview.as_ref().is_some_and(|o| o.is_paused) { "  paused" } else { "" };
            // For more jobs there is `oxmq jobs` with its filters.
            let end = if state.is_finished() { "latest" } else { "next" };
            let part = if count > jobs.len() as u64 { format!("  the {end} {}", jobs.len()) } else { String::new() };
            format!("{queue}  {known} {state}{part}{paused}")
        }
        Screen::Job { id, .. } => format!("{queue}  job {}", say::short(id, 60)),
    };
    frame.render_widget(Line::styled(text, head()), area);
}

fn queues(frame: &mut Frame, app: &mut App, area: Rect) {
    // On a small screen the queues get the space.
    let charts = if area.height < 12 { 0 } else { 6 };
    let [list, charts] = Layout::vertical([Constraint::Min(1), Constraint::Length(charts)]).areas(area);
    app.rows = usize::from(list.height.saturating_sub(1)).max(1);
    let columns = columns(area.width);
    let others: u16 = columns[1..].iter().map(|(_, width)| width + 1).sum();
    let longest = usize::from(area.width.saturating_sub(others).max(QUEUE_WIDTH));
    let place = app.place();
    // Of ten thousand queues only the visible ones are drawn.
    let from = place.saturating_sub(place % app.rows);
    let rows = app.shown().skip(from).take(app.rows).map(|queue| row(queue, app, longest, &columns));
    let name_of = |(name, _): &(&'static str, u16)| match LEFT.contains(name) {
        true => Cell::new(*name),
        false => right((*name).to_owned()),
    };
    let widths = columns.iter().enumerate().map(|(i, (_, width))| match i {
        0 => Constraint::Min(*width),
        _ => Constraint::Length(*width),
    });
    let table = Table::new(rows.collect::<Vec<_>>(), widths)
        .header(Row::new(columns.iter().map(name_of)).style(head()))
        .row_highlight_style(chosen());
    let mut state = TableState::new().with_selected(Some(place - from));
    frame.render_stateful_widget(table, list, &mut state);
    if let Some(queue) = app.shown().nth(place) {
        let [left, right] = Layout::horizontal([Constraint::Fill(1), Constraint::Fill(1)]).areas(charts);
        chart(frame, left, "completed", &queue.completed, Color::Green);
        chart(frame, right, "failed", &queue.failed, Color::Red);
    }
}

/// Returns the columns that fit, with their widths: of a number that is cut nobody could tell that it is.
fn columns(width: u16) -> Vec<(&'static str, u16)> {
    let shown = if width >= WIDE { &COLUMNS[..] } else { &COLUMNS[..NARROW_COLUMNS] };
    let mut columns = shown.to_vec();
    for least in LEAST {
        let needed: u16 = columns.iter().map(|(_, width)| width + 1).sum();
        if needed > width + 1 {
            columns.retain(|(name, _)| *name != least);
        }
    }
    columns
}

fn row(queue: &QueueOverview, app: &App, longest: usize, columns: &[(&'static str, u16)]) -> Row<'static> {
    let counts = &queue.counts;
    let workers = app.workers.as_ref().map(|all| all.get(&queue.name).copied().unwrap_or(0));
    let mark = if queue.is_paused { " (paused)" } else { "" };
    let name = say::short(&queue.name, longest.saturating_sub(mark.len())) + mark;
    let lacks_workers = workers == Some(0) && queue.waiting() > 0;
    let yellow = if lacks_workers { colour(Color::Yellow) } else { Style::new() };
    let red = if counts.failed > 0 { colour(Color::Red) } else { Style::new() };
    let cell = |(column, width): &(&'static str, u16)| match *column {
        "QUEUE" => Cell::new(name.clone()),
        "WAITING" => number(queue.waiting()),
        "ACTIVE" => number(counts.active),
        "DELAYED" => number(counts.delayed),
        "FAILED" => number(counts.failed).style(red),
        "DONE/MIN" => right(queue.completed.per_minute(5).map_or_else(|| "-".to_owned(), |rate| format!("{rate:.1}"))),
        "OLDEST" => right(age(queue)),
        "WORKERS" => right(workers.map_or_else(|| "?".to_owned(), |n| n.to_string())).style(yellow),
        "COMPLETED" => number(counts.completed),
        "WAIT" => right(span(queue.times.wait_median)),
        "RUN" => right(span(queue.times.run_median)),
        _ => Cell::new(say::short(queue.version.as_deref().unwrap_or("-"), usize::from(*width))),
    };
    Row::new(columns.iter().map(cell))
}

fn age(queue: &QueueOverview) -> String {
    let text = say::age(queue.oldest_waiting.as_ref().map(|oldest| oldest.added_at));
    // In a narrow column the first unit is enough.
    text.split(' ').next().unwrap_or_default().to_owned()
}

fn span(span: Option<Duration>) -> String {
    span.map_or_else(|| "-".to_owned(), say::span)
}

fn right(text: String) -> Cell<'static> {
    Cell::new(Line::raw(text).right_aligned())
}

fn number(n: u64) -> Cell<'static> {
    right(say::number(n))
}

/// Draws how many jobs finished in each minute of the last hour, newest at the right.
fn chart(frame: &mut Frame, area: Rect, what: &str, counts: &MinuteCounts, tone: Color) {
    let rate = counts.per_minute(5).map_or_else(|| "no metrics".to_owned(), |rate| format!("{rate:.1}/min"));
    let block = Block::bordered().title(format!(" {what}, {rate}, {} in all ", say::number(counts.total)));
    let width = usize::from(area.width.saturating_sub(2));
    let mut minutes: Vec<u64> = counts.minutes.iter().copied().take(width).collect();
    minutes.reverse();
    frame.render_widget(Sparkline::default().data(minutes).style(colour(tone)).block(block), area);
}

fn jobs(frame: &mut Frame, app: &mut App, area: Rect) {
    app.rows = usize::from(area.height.saturating_sub(2)).max(1);
    let Screen::Jobs { overview, state, jobs, chosen: place } = &app.screen else { return };
    let [bar, list] = Layout::vertical([Constraint::Length(1), Constraint::Min(2)]).areas(area);
    let tabs = |name: fn(&JobState) -> &'static str| {
        let tab = |(n, tab): (usize, &JobState)| {
            let count = overview.as_ref().map_or_else(|| "…".to_owned(), |o| say::number(o.counts.get(*tab)));
            let mark = if tab == state { "*" } else { "" };
            format!("{}{mark} {} {count}", n + 1, name(tab))
        };
        Line::raw(STATES.iter().enumerate().map(tab).collect::<Vec<_>>().join("  "))
    };
    let fits = |line: &Line| line.width() <= usize::from(bar.width);
    let line = [tabs(|state| state.as_str()), tabs(brief)].into_iter().find(fits).unwrap_or_else(|| tabs(initial));
    frame.render_widget(line, bar);
    let from = place.saturating_sub(place % app.rows);
    let rows = jobs.iter().skip(from).take(app.rows).map(|job| {
        let cells = [&job.name, &job.added, &job.tries, &job.text];
        Row::new(std::iter::once(say::short(&job.id, 36)).chain(cells.into_iter().cloned()))
    });
    let widths = [
        Constraint::Length(14),
        Constraint::Length(16),
        Constraint::Length(12),
        Constraint::Length(5),
        Constraint::Min(10),
    ];
    let table = Table::new(rows.collect::<Vec<_>>(), widths)
        .header(Row::new(vec!["ID", "NAME", "ADDED", "TRIES", "DATA OR REASON"]).style(head()))
        .row_highlight_style(chosen());
    let mut state = TableState::new().with_selected(Some(place - from));
    frame.render_stateful_widget(table, list, &mut state);
}

/// Names a state in a few letters, for a narrow screen.
fn brief(state: &JobState) -> &'static str {
    match state {
        JobState::Waiting => "wait",
        JobState::Delayed => "delay",
        JobState::Prioritized => "prio",
        JobState::Completed => "done",
        JobState::WaitingChildren => "kids",
        state => state.as_str(),
    }
}

/// Names a state in as few letters as tell it from the others, for a very narrow screen.
fn initial(state: &JobState) -> &'static str {
    match state {
        JobState::Waiting => "w",
        JobState::Active => "a",
        JobState::Delayed => "d",
        JobState::Prioritized => "p",
        JobState::Failed => "f",
        JobState::Completed => "c",
        _ => "k",
    }
}

fn help(frame: &mut Frame, app: &mut App, area: Rect) {
    app.rows = usize::from(area.height).max(1);
    let Screen::Help { from } = app.screen else { return };
    let shown: Vec<Line> = HELP.iter().skip(from).take(app.rows).map(|line| Line::raw(*line)).collect();
    frame.render_widget(Paragraph::new(shown), area);
}

fn job(frame: &mut Frame, app: &mut App, area: Rect) {
    app.rows = usize::from(area.height).max(1);
    let Screen::Job { lines, from, .. } = &app.screen else { return };
    let shown: Vec<Line> = lines.iter().skip(*from).take(app.rows).map(|line| Line::raw(line.as_str())).collect();
    frame.render_widget(Paragraph::new(shown), area);
}
