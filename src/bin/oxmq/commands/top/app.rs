//! What is on the screen, and what a key does to it.

use std::cmp::Reverse;
use std::collections::HashMap;

use oxmq::overview::QueueOverview;
use oxmq::{Job, JobState};
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::fetch::{Found, Question};
use crate::failure::Outcome;

/// Of very many queues so many are asked at a time besides those on the screen.
const ROLLING: usize = 500;

/// Every so many looks, new queues are looked for.
const FIND_EVERY: u64 = 15;

/// The states that the digits choose.
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
    Failed,
    Oldest,
    Name,
}

impl Sort {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Failed => "failed",
            Self::Oldest => "oldest",
            Self::Name => "name",
        }
    }

    fn next(self) -> Self {
        match self {
            Self::Waiting => Self::Failed,
            Self::Failed => Self::Oldest,
            Self::Oldest => Self::Name,
            Self::Name => Self::Waiting,
        }
    }
}

/// Which screen there is: all queues, then one, then a job of it.
pub(super) enum Screen {
    Queues,
    Jobs { overview: Option<Box<QueueOverview>>, state: JobState, jobs: Vec<Job>, chosen: usize },
    Job { id: String, lines: Vec<String>, from: usize, state: JobState },
}

pub(super) struct App {
    pub(super) screen: Screen,
    pub(super) sort: Sort,
    /// Sorted as they are shown.
    pub(super) queues: Vec<QueueOverview>,
    pub(super) workers: Option<HashMap<String, usize>>,
    /// The queue that is chosen stays so wherever it moves.
    pub(super) chosen: Option<String>,
    pub(super) problem: Option<String>,
    names: Vec<String>,
    finds: bool,
    looks: u64,
    /// Where the next part of very many queues begins.
    rolling: usize,
    /// How many rows the screen shows.
    pub(super) rows: usize,
    moved: bool,
}

impl App {
    pub(super) fn new(names: Vec<String>, finds: bool) -> Self {
        Self {
            screen: Screen::Queues,
            sort: Sort::Waiting,
            queues: Vec::new(),
            workers: None,
            chosen: None,
            problem: None,
            names,
            finds,
            looks: 0,
            rolling: 0,
            rows: 20,
            moved: false,
        }
    }

    /// Whether something else is to be shown than what was asked for last.
    pub(super) fn has_moved(&mut self) -> bool {
        std::mem::take(&mut self.moved)
    }

    /// Where the chosen queue stands.
    pub(super) fn place(&self) -> usize {
        let chosen = self.chosen.as_deref();
        self.queues.iter().position(|queue| Some(queue.name.as_str()) == chosen).unwrap_or(0)
    }

    pub(super) fn question(&mut self) -> Question {
        let queue = self.chosen.clone().unwrap_or_default();
        match &self.screen {
            Screen::Jobs { state, .. } => Question::Jobs { queue, state: *state },
            Screen::Job { id, .. } => Question::Job { queue, id: id.clone() },
            Screen::Queues => {
                self.looks += 1;
                let find = self.finds && self.looks.is_multiple_of(FIND_EVERY);
                Question::Queues { names: self.next_names(), find }
            }
        }
    }

    /// All queues where there are not very many, or all at first; then those on the screen and some others by turns.
    fn next_names(&mut self) -> Vec<String> {
        if self.looks == 1 || self.names.len() <= ROLLING {
            return self.names.clone();
        }
        let from = self.place().saturating_sub(self.rows);
        let mut names: Vec<String> =
            self.queues.iter().skip(from).take(2 * self.rows).map(|queue| queue.name.clone()).collect();
        names.extend(self.names.iter().cycle().skip(self.rolling).take(ROLLING).cloned());
        self.rolling = (self.rolling + ROLLING) % self.names.len();
        names.sort_unstable();
        names.dedup();
        names
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
            (Found::Queues { overviews, names, workers }, _) => {
                let mut all: HashMap<String, QueueOverview> =
                    std::mem::take(&mut self.queues).into_iter().map(|queue| (queue.name.clone(), queue)).collect();
                all.extend(overviews.into_iter().map(|queue| (queue.name.clone(), queue)));
                self.names = names.unwrap_or_else(|| std::mem::take(&mut self.names));
                self.queues = self.names.iter().filter_map(|name| all.remove(name)).collect();
                self.workers = workers;
                self.sort();
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
            // The answer to what is not shown any more.
            _ => {}
        }
    }

    fn sort(&mut self) {
        match self.sort {
            Sort::Waiting => self.queues.sort_by_key(|queue| Reverse(queue.waiting())),
            Sort::Failed => self.queues.sort_by_key(|queue| Reverse(queue.counts.failed)),
            Sort::Oldest => self.queues.sort_by_key(|queue| {
                let oldest = queue.oldest_waiting.as_ref();
                (oldest.is_none(), oldest.map(|oldest| oldest.added_at))
            }),
            Sort::Name => self.queues.sort_by(|a, b| a.name.cmp(&b.name)),
        }
        if self.chosen.is_none() {
            self.chosen = self.queues.first().map(|queue| queue.name.clone());
        }
    }

    /// Does what a key asks for; whether that is to end.
    pub(super) fn press(&mut self, key: KeyEvent) -> bool {
        let is_interrupt = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
        if key.code == KeyCode::Char('q') || is_interrupt {
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
            KeyCode::Char('s') => {
                self.sort = self.sort.next();
                self.sort();
            }
            KeyCode::Char(digit @ '1'..='7') => self.choose_state(digit),
            _ => {}
        }
        false
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
                let place = to(self.place(), self.queues.len());
                self.chosen = self.queues.get(place).map(|queue| queue.name.clone());
            }
            Screen::Jobs { jobs, chosen, .. } => *chosen = to(*chosen, jobs.len()),
            Screen::Job { lines, from, .. } => *from = to(*from, lines.len()),
        }
    }

    fn go_in(&mut self) {
        match &self.screen {
            Screen::Queues if self.chosen.is_some() => {
                let queue = self.queues.get(self.place());
                // Where something has failed, that is most likely what is looked for.
                let has_failed = queue.is_some_and(|queue| queue.waiting() == 0 && queue.counts.failed > 0);
                let state = if has_failed { JobState::Failed } else { JobState::Waiting };
                self.screen = Screen::Jobs { overview: None, state, jobs: Vec::new(), chosen: 0 };
                self.moved = true;
            }
            Screen::Jobs { jobs, chosen, state, .. } => {
                if let Some(job) = jobs.get(*chosen) {
                    let id = job.id().to_owned();
                    self.screen = Screen::Job { id, lines: Vec::new(), from: 0, state: *state };
                    self.moved = true;
                }
            }
            _ => {}
        }
    }

    fn go_back(&mut self) {
        self.screen = match &self.screen {
            Screen::Queues => return,
            Screen::Jobs { .. } => Screen::Queues,
            Screen::Job { state, .. } => Screen::Jobs { overview: None, state: *state, jobs: Vec::new(), chosen: 0 },
        };
        self.moved = true;
    }
}
