//! The state of the screen, and what each key does.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::time::Duration;

use oxmq::JobState;
use oxmq::overview::QueueOverview;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::fetch::{Found, JobRow, Question};
use super::find::News;
use crate::failure::Outcome;

/// If there are very many queues, the first reads ask this many each, besides those on the screen, until all were asked
/// once.
const ROLLING: usize = 500;

/// After that, this many of them are asked per second, in turn, however often the screen is refreshed.
const ROLLING_PER_SECOND: f64 = 250.0;

/// The number of reads between two requests for the connected workers.
const WORKERS_EVERY: u64 = 5;

/// What `?` shows.
pub(super) const HELP: [&str; 22] = [
    "up, down, j, k   choose a queue or a job     PgUp, PgDn, Home, End  by pages, to the ends",
    "Enter, right     its jobs; then the job      Esc, left              back",
    "/                queues by a part of their name; Enter keeps it, Esc drops it",
    "s                sorts by jobs that wait, that run, that failed, by age, by name",
    "1 to 7           the state of the jobs that are shown",
    "q                ends",
    "",
    "WAITING    jobs that could run now: waiting, and those with a priority",
    "ACTIVE     jobs that run",
    "DELAYED    jobs that run later",
    "FAILED     jobs that are kept after they failed",
    "DONE/MIN   completed in a minute, over the last five; - where no worker counts them",
    "OLDEST     how long ago the job was added that has waited longest",
    "WORKERS    connected; ? without the right to see who is",
    "COMPLETED  jobs that are kept after they were done",
    "WAIT, RUN  medians of the jobs that finished last",
    "VERSION    who wrote the settings of the queue last",
    "",
    "What is on the screen is read each time; of very many queues the others by turns.",
    "To act: oxmq retry, remove, promote, pause, …; or oxmq serve --act for a browser.",
    "Why is it late? oxmq doctor QUEUE.",
    "Esc goes back.",
];

/// The states that the digit keys choose.
pub(super) const STATES: [JobState; 7] = [
    JobState::Waiting,
    JobState::Active,
    JobState::Delayed,
    JobState::Prioritized,
    JobState::Failed,
    JobState::Completed,
    JobState::WaitingChildren,
];

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Sort {
    Waiting,
    Active,
    Failed,
    Oldest,
    Name,
}

impl Sort {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Active => "active",
            Self::Failed => "failed",
            Self::Oldest => "oldest",
            Self::Name => "name",
        }
    }

    fn next(self) -> Self {
        match self {
            Self::Waiting => Self::Active,
            Self::Active => Self::Failed,
            Self::Failed => Self::Oldest,
            Self::Oldest => Self::Name,
            Self::Name => Self::Waiting,
        }
    }
}

/// The screens: all queues, one queue, a job of it.
pub(super) enum Screen {
    Queues,
    Jobs {
        overview: Option<Box<QueueOverview>>,
        state: JobState,
        jobs: Vec<JobRow>,
        chosen: usize,
    },
    Job {
        id: String,
        lines: Vec<String>,
        from: usize,
        state: JobState,
    },
    /// The keys and the columns explained, over the queues.
    Help {
        from: usize,
    },
}

/// The search text: only queues whose name contains it are shown.
#[derive(Default)]
pub(super) struct Find {
    pub(super) text: String,
    /// Whether keys are letters of it.
    pub(super) is_typed: bool,
}

pub(super) struct App {
    pub(super) screen: Screen,
    pub(super) sort: Sort,
    pub(super) find: Find,
    /// The queues, sorted as they are shown.
    pub(super) queues: Vec<QueueOverview>,
    pub(super) workers: Option<HashMap<String, usize>>,
    /// The chosen queue; it stays chosen wherever it moves.
    pub(super) chosen: Option<String>,
    pub(super) problem: Option<String>,
    /// All known queues, in the order in which they are read.
    pub(super) names: Vec<String>,
    looks: u64,
    /// How many queues each read asks in turn, once all were asked.
    turn: usize,
    /// Where the next part of very many queues begins.
    rolling: usize,
    /// Whether each of them was asked once.
    is_round: bool,
    /// Whether a key has chosen a queue.
    has_chosen: bool,
    /// Whether all known queues were on the screen once: then no other queue is chosen automatically.
    is_settled: bool,
    /// How many rows of queues the screen shows.
    pub(super) rows: usize,
    moved: bool,
}

impl App {
    pub(super) fn new(names: Vec<String>, every: Duration) -> Self {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it lies between 1 and the constant"
        )]
        let turn = (ROLLING_PER_SECOND * every.as_secs_f64()).clamp(1.0, ROLLING as f64) as usize;
        Self {
            screen: Screen::Queues,
            sort: Sort::Waiting,
            find: Find::default(),
            turn,
            queues: Vec::new(),
            workers: None,
            chosen: None,
            problem: None,
            names,
            looks: 0,
            rolling: 0,
            is_round: false,
            has_chosen: false,
            is_settled: false,
            rows: 20,
            moved: false,
        }
    }

    /// Returns whether the screen shows something else than what was asked for last.
    pub(super) fn has_moved(&mut self) -> bool {
        std::mem::take(&mut self.moved)
    }

    /// Returns the queues that match the search text, sorted.
    pub(super) fn shown(&self) -> impl Iterator<Item = &QueueOverview> {
        self.queues.iter().filter(|queue| queue.name.contains(&self.find.text))
    }

    /// Returns the position of the chosen queue among them.
    pub(super) fn place(&self) -> usize {
        let chosen = self.chosen.as_deref();
        self.shown().position(|queue| Some(queue.name.as_str()) == chosen).unwrap_or(0)
    }

    pub(super) fn question(&mut self) -> Question {
        let queue = self.chosen.clone().unwrap_or_default();
        match &self.screen {
            Screen::Jobs { state, .. } => Question::Jobs { queue, state: *state },
            Screen::Job { id, .. } => Question::Job { queue, id: id.clone() },
            Screen::Queues | Screen::Help { .. } => {
                self.looks += 1;
                let workers = self.looks % WORKERS_EVERY == 1;
                Question::Queues { names: self.next_names(), workers }
            }
        }
    }

    /// Returns whether there are queues that were not read yet, so that the next read should not wait.
    pub(super) fn hurries(&self) -> bool {
        matches!(self.screen, Screen::Queues) && !self.is_round && !self.names.is_empty()
    }

    /// Returns the queues to read next: all if there are not very many, else those on the screen and some others in
    /// turn.
    fn next_names(&mut self) -> Vec<String> {
        let rest = &self.names[self.rolling.min(self.names.len())..];
        let turn = if self.is_round { self.turn } else { ROLLING };
        let mut names: Vec<String> = rest.iter().take(turn).cloned().collect();
        self.rolling += names.len();
        if self.rolling >= self.names.len() {
            self.is_round |= !names.is_empty();
            self.rolling = 0;
        }
        let from = self.page() * self.rows;
        names.extend(self.shown().skip(from).take(self.rows).map(|queue| queue.name.clone()));
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Returns which page of the queues is on the screen.
    pub(super) fn page(&self) -> usize {
        self.place() / self.rows.max(1)
    }

    /// Takes the list of queues that exist.
    pub(super) fn learn(&mut self, news: Outcome<News>) {
        let News { names, is_whole } = match news {
            Ok(news) => news,
            Err(failure) => {
                self.problem = Some(failure.text);
                return;
            }
        };
        if is_whole {
            let whole: HashSet<&str> = names.iter().map(String::as_str).collect();
            self.queues.retain(|queue| whole.contains(queue.name.as_str()));
            self.names.retain(|name| whole.contains(name.as_str()));
        }
        // Queues that were read stay first, so that a round leaves none out.
        let known: HashSet<&str> = self.names.iter().map(String::as_str).collect();
        let new: Vec<String> = names.iter().filter(|name| !known.contains(name.as_str())).cloned().collect();
        if self.is_round && !new.is_empty() {
            (self.rolling, self.is_round) = (self.names.len(), false);
        }
        self.is_settled &= is_whole || new.is_empty();
        self.names.extend(new);
    }

    pub(super) fn take(&mut self, answer: Outcome<Found>) {
        let found = match answer {
            Ok(found) => found,
            Err(failure) => {
                self.problem = Some(failure.text);
                return;
            }
        };
        self.problem = None;
        match (found, &mut self.screen) {
            (Found::Queues { overviews, workers, problem }, _) => {
                let mut fresh: HashMap<String, QueueOverview> =
                    overviews.into_iter().map(|queue| (queue.name.clone(), queue)).collect();
                for queue in &mut self.queues {
                    if let Some(found) = fresh.remove(&queue.name) {
                        *queue = found;
                    }
                }
                self.queues.extend(fresh.into_values());
                self.workers = workers.or_else(|| self.workers.take());
                self.problem = problem;
                self.sort();
                self.is_settled |= self.is_round;
            }
            (
                Found::Jobs { overview, state, jobs },
                Screen::Jobs { overview: shown, state: wanted, jobs: list, chosen },
            ) if state == *wanted => {
                *shown = Some(overview);
                *list = jobs;
                *chosen = (*chosen).min(list.len().saturating_sub(1));
            }
            (Found::Job { lines: new }, Screen::Job { lines, .. }) => *lines = new,
            // The answer is about something that is not shown any more.
            _ => {}
        }
    }

    fn sort(&mut self) {
        match self.sort {
            Sort::Waiting => self.sort_by(|queue| Reverse(queue.waiting())),
            Sort::Active => self.sort_by(|queue| Reverse(queue.counts.active)),
            Sort::Failed => self.sort_by(|queue| Reverse(queue.counts.failed)),
            Sort::Oldest => self.sort_by(|queue| {
                let oldest = queue.oldest_waiting.as_ref();
                (oldest.is_none(), oldest.map(|oldest| oldest.added_at))
            }),
            Sort::Name => self.sort_by(|_| ()),
        }
        if self.chosen.is_none() || !(self.has_chosen || self.is_settled) {
            self.choose_first();
        }
    }

    fn choose_first(&mut self) {
        let first = self.shown().next().map(|queue| queue.name.clone());
        self.chosen = first;
    }

    /// Equal keys are sorted by name, so that nothing moves while nothing happens.
    fn sort_by<K: Ord>(&mut self, key: impl Fn(&QueueOverview) -> K) {
        self.queues.sort_by(|a, b| key(a).cmp(&key(b)).then_with(|| a.name.cmp(&b.name)));
    }

    /// Handles a key; returns whether the program has to end.
    pub(super) fn press(&mut self, key: KeyEvent) -> bool {
        let is_interrupt = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
        if is_interrupt {
            return true;
        }
        if self.find.is_typed {
            self.spell(key.code);
            return false;
        }
        if key.code == KeyCode::Char('q') {
            return true;
        }
        let page = isize::try_from(self.rows.max(2) - 1).unwrap_or(1);
        match key.code {
            KeyCode::Up | KeyCode::Char('k') => self.go(-1),
            KeyCode::Down | KeyCode::Char('j') => self.go(1),
            KeyCode::PageUp => self.go(-page),
            KeyCode::PageDown => self.go(page),
            KeyCode::Home => self.go(isize::MIN / 2),
            KeyCode::End => self.go(isize::MAX / 2),
            KeyCode::Enter | KeyCode::Right => self.go_in(),
            KeyCode::Esc | KeyCode::Backspace | KeyCode::Left => self.go_back(),
            KeyCode::Char('s') if matches!(self.screen, Screen::Queues) => {
                self.sort = self.sort.next();
                self.sort();
                // Other queues may be on the screen now.
                self.moved = true;
            }
            KeyCode::Char('/') if matches!(self.screen, Screen::Queues) => self.find.is_typed = true,
            KeyCode::Char('?') if matches!(self.screen, Screen::Queues) => self.screen = Screen::Help { from: 0 },
            KeyCode::Char(digit @ '1'..='7') => self.choose_state(digit),
            _ => {}
        }
        false
    }

    /// Handles a key while the search text is typed.
    fn spell(&mut self, key: KeyCode) {
        match key {
            KeyCode::Char(letter) => self.find.text.push(letter),
            KeyCode::Backspace => _ = self.find.text.pop(),
            KeyCode::Esc => self.find = Find::default(),
            KeyCode::Enter => self.find.is_typed = false,
            _ => return,
        }
        if !self.shown().any(|queue| Some(&queue.name) == self.chosen.as_ref()) {
            self.choose_first();
        }
        self.moved = true;
    }

    fn choose_state(&mut self, digit: char) {
        let place = digit as usize - '1' as usize;
        if let Screen::Jobs { state, jobs, chosen, .. } = &mut self.screen {
            *state = STATES[place];
            jobs.clear();
            *chosen = 0;
            self.moved = true;
        }
    }

    fn go(&mut self, by: isize) {
        let to = |at: usize, length: usize| at.saturating_add_signed(by).min(length.saturating_sub(1));
        match &mut self.screen {
            Screen::Queues => {
                self.has_chosen = true;
                let (page, place) = (self.page(), to(self.place(), self.shown().count()));
                let chosen = self.shown().nth(place).map(|queue| queue.name.clone());
                self.chosen = chosen;
                self.moved |= page != self.page();
            }
            Screen::Jobs { jobs, chosen, .. } => *chosen = to(*chosen, jobs.len()),
            Screen::Job { lines, from, .. } => *from = to(*from, lines.len()),
            Screen::Help { from } => *from = to(*from, HELP.len()),
        }
    }

    fn go_in(&mut self) {
        match &self.screen {
            Screen::Queues if self.shown().next().is_some() && self.chosen.is_some() => {
                self.has_chosen = true;
                let queue = self.shown().nth(self.place());
                // If jobs have failed, those are most likely what the user looks for.
                let has_failed = queue.is_some_and(|queue| queue.waiting() == 0 && queue.counts.failed > 0);
                let state = if has_failed { JobState::Failed } else { JobState::Waiting };
                self.screen = Screen::Jobs { overview: None, state, jobs: Vec::new(), chosen: 0 };
                self.moved = true;
            }
            Screen::Jobs { jobs, chosen, state, .. } => {
                if let Some(job) = jobs.get(*chosen) {
                    let id = job.id.clone();
                    self.screen = Screen::Job { id, lines: Vec::new(), from: 0, state: *state };
                    self.moved = true;
                }
            }
            _ => {}
        }
    }

    fn go_back(&mut self) {
        self.screen = match &self.screen {
            Screen::Queues => {
                self.find = Find::default();
                return;
            }
            Screen::Jobs { .. } | Screen::Help { .. } => Screen::Queues,
            Screen::Job { state, .. } => Screen::Jobs { overview: None, state: *state, jobs: Vec::new(), chosen: 0 },
        };
        self.moved = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY: Duration = Duration::from_secs(2);

    fn asked(app: &mut App) -> (Vec<String>, bool) {
        match app.question() {
            Question::Queues { names, workers } => (names, workers),
            _ => panic!("the screen shows queues"),
        }
    }

    #[test]
    fn of_very_many_queues_all_are_asked_by_turns_and_never_too_many_at_once() {
        let names: Vec<String> = (0..10_000).map(|n| format!("{n:05}")).collect();
        let mut app = App::new(names[..1_000].to_vec(), EVERY);
        app.learn(Ok(News { names, is_whole: false }));
        let mut met = HashSet::new();
        for look in 0..20 {
            assert!(app.hurries(), "{look}");
            let (names, workers) = asked(&mut app);
            assert!(names.len() <= ROLLING + app.rows && workers == (look % 5 == 0), "{look}: {}", names.len());
            met.extend(names);
        }
        assert!(!app.hurries() && met.len() == 10_000);
        assert_eq!(asked(&mut app).0.len(), 500);
        // With more frequent reads, each asks for fewer queues.
        app.turn = App::new(Vec::new(), EVERY / 20).turn;
        assert_eq!(asked(&mut app).0.len(), 25);
        app.learn(Ok(News { names: vec!["new".to_owned()], is_whole: true }));
        assert_eq!(asked(&mut app).0, ["new"]);
    }

    #[test]
    fn the_end_of_a_search_takes_none_out_of_the_round_that_goes_on() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let mut app = App::new(names(&["q"]), EVERY);
        assert_eq!(asked(&mut app).0, ["q"]);
        app.learn(Ok(News { names: names(&["mails", "reports"]), is_whole: false }));
        app.learn(Ok(News { names: names(&["mails", "q", "reports"]), is_whole: true }));
        assert!(app.hurries());
        assert_eq!(asked(&mut app).0, ["mails", "reports"]);
    }

    #[test]
    fn without_queues_nobody_hurries() {
        let mut app = App::new(Vec::new(), EVERY);
        assert!(!app.hurries() && asked(&mut app).0.is_empty() && !app.is_round);
        app.learn(Ok(News { names: vec!["q".to_owned()], is_whole: true }));
        assert!(app.hurries());
        assert_eq!(asked(&mut app).0, ["q"]);
        assert!(!app.hurries());
    }
}
