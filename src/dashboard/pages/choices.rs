//! What can be done to the jobs of a list: to chosen ones, or to all of them.

use maud::{Markup, html};

use super::asking;
use crate::dashboard::access::Action;
use crate::dashboard::format::moment::count;
use crate::dashboard::request::filter::Filter;
use crate::dashboard::request::visit::Visit;
use crate::state::JobState;

/// What a visitor may do to the jobs of a state.
pub(super) struct Choices {
    /// What is done with one click, and what its button says.
    pub(super) actions: Vec<(Action, &'static str)>,
    /// What needs a value.
    changes: Vec<Change>,
}

/// An action that needs a value.
struct Change {
    action: Action,
    /// What it changes.
    what: &'static str,
    hint: &'static str,
    /// The field for the value, whose name the form expects.
    field: fn(bool) -> Markup,
}

const PRIORITY: Change = Change {
    action: Action::ChangePriority,
    what: "priority",
    hint: "1 goes first; 0 goes before all jobs with a priority. They come behind the others of that priority.",
    field: |is_required| {
        html! { input.short name="priority" inputmode="numeric" placeholder="0 to 2097151" autocomplete="off" required[is_required]; }
    },
};

const DELAY: Change = Change {
    action: Action::ChangeDelay,
    what: "delay",
    hint: "How long from now, or until when in UTC?",
    field: |is_required| {
        html! { input name="delay" placeholder="15 min, or 2030-12-31 18:00" autocomplete="off" required[is_required]; }
    },
};

impl Choices {
    /// Returns what may be done to jobs of a state, all of them or chosen ones.
    pub(super) fn of(visit: &Visit, queue: &str, state: JobState, removal: Action) -> Self {
        let mut changes = Vec::new();
        if state == JobState::Delayed {
            changes.push(DELAY);
        }
        if !state.is_finished() && state != JobState::Active {
            changes.push(PRIORITY);
        }
        changes.retain(|change| visit.may(queue, change.action));
        Self { actions: offered(visit, queue, state, removal), changes }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.actions.is_empty() && self.changes.is_empty()
    }
}

fn offered(visit: &Visit, queue: &str, state: JobState, removal: Action) -> Vec<(Action, &'static str)> {
    let mut offered = Vec::new();
    if state.is_finished() {
        offered.push((Action::Retry, "Retry"));
    }
    if state == JobState::Delayed {
        offered.push((Action::Promote, "Promote"));
    }
    if !state.is_finished() {
        offered.push((Action::Cancel, "Cancel"));
    }
    if state != JobState::Active {
        offered.push((removal, "Remove"));
    }
    offered.retain(|(action, _)| visit.may(queue, *action));
    offered
}

/// Shows actions for the chosen jobs, inside their form.
pub(super) fn chosen(choices: &Choices) -> Markup {
    html! {
        // Without it, Enter in one of the fields would press the first of the buttons below.
        button disabled hidden {}
        div.choice {
            span.chosen role="status" { "Chosen jobs" }
            @for (action, label) in &choices.actions {
                @if *action == Action::Remove {
                    button.danger name="do" value=(action) data-confirm="Remove the chosen jobs?" { (label) }
                } @else {
                    button name="do" value=(action) { (label) }
                }
            }
            @for Change { action, what, hint, field } in &choices.changes {
                (asking(&format!("{}…", capital(what)), hint, html! {
                    // The fields of the other actions may stay empty.
                    label { span.hidden { (capital(what)) } (field(false)) }
                    button name="do" value=(action) { "Change the " (what) }
                }))
            }
        }
    }
}

/// Shows actions for all matching jobs, on this page or not.
pub(super) fn all_of_them(visit: &Visit, name: &str, filter: &Filter, total: u64) -> Markup {
    let Choices { actions, changes } = Choices::of(visit, name, filter.state, Action::Clean);
    let question = if filter.is_plain() {
        format!("This affects all {} {} jobs, not only those on this page.", count(total), filter.state)
    } else {
        format!(
            "This affects all {}, not only those on this page. {} jobs will be checked.",
            filter.words(),
            count(total)
        )
    };
    let which = if filter.is_plain() { "all" } else { "all that match" };
    let form = |inner: Markup| {
        html! {
            form method="post" action=(visit.links.part(name, "jobs")) {
                (visit.token.field())
                input type="hidden" name="state" value=(filter.state);
                @for (name, value) in filter.fields() { input type="hidden" name=(name) value=(value); }
                input type="hidden" name="all" value="1";
                (inner)
            }
        }
    };
    html! {
        div.everything {
            @for (action, label) in &actions {
                (asking(&format!("{label} {which}…"), &question, form(html! {
                    button.danger[*action == Action::Clean] name="do" value=(action) { (label) " " (which) }
                })))
            }
            @for Change { action, what, hint, field } in &changes {
                (asking(&format!("{} of {which}…", capital(what)), &question, form(html! {
                    label { (hint) (field(true)) }
                    button name="do" value=(action) { "Change the " (what) " of " (which) }
                })))
            }
        }
    }
}

fn capital(word: &str) -> String {
    format!("{}{}", word[..1].to_uppercase(), &word[1..])
}
