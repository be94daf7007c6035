//! Turns trees of nodes into the jobs of one call: checks, ids, links, level by level.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use super::added::AddedNode;
use super::node::FlowNode;
use super::{MOST_BYTES, MOST_LEVELS};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::options::{JobOptions, ParentRef};
use crate::queue::{Directory, QueueCore};
use crate::script::add_flow::{Exceptions, Flow};
use crate::script::add_jobs::{Addition, Destination};

/// The jobs of some flows in the order in which they are stored: all roots first, then level by level.
pub(super) struct Plan {
    pub(super) flow: Flow,
    /// The position of a job whose id was generated here; preferably one that is certain to be stored with the flow.
    pub(super) own: Option<usize>,
    /// The queue of each of the flow's `homes`.
    cores: Vec<Arc<QueueCore>>,
    /// The position of each job's parent within the flow.
    parents: Vec<Option<usize>>,
    /// How many levels each job is below its root.
    depths: Vec<usize>,
}

/// A node that is being added to the plan.
struct Visit {
    node: FlowNode,
    parent: Option<usize>,
    /// Its position among the children of its parent, or among the roots.
    turn: usize,
}

impl Plan {
    pub(super) fn of(
        flows: Vec<FlowNode>,
        queues: &Arc<Directory>,
        prefix: &str,
        defaults: &HashMap<String, JobOptions>,
        max_jobs: usize,
        trace: Option<&str>,
    ) -> Result<Self> {
        let mut planner = Planner {
            queues,
            prefix,
            defaults,
            max_jobs,
            trace,
            is_bulk: flows.len() > 1,
            turns: Vec::new(),
            taken: HashSet::new(),
            plan: Plan::empty(),
            bytes: 0,
        };
        let siblings = |parent, nodes: Vec<FlowNode>| {
            nodes.into_iter().enumerate().map(move |(turn, node)| Visit { node, parent, turn })
        };
        let mut open: VecDeque<Visit> = siblings(None, flows).collect();
        while let Some(mut next) = open.pop_front() {
            let children = next.node.children.take();
            let at = planner.place(next, !children.is_empty())?;
            open.extend(siblings(Some(at), children));
        }
        planner.plan.flow.now = planner.plan.engine().clock.now_ms();
        Ok(planner.plan)
    }

    fn empty() -> Self {
        let flow = Flow { now: 0, homes: Vec::new(), jobs: Vec::new() };
        Self { flow, own: None, cores: Vec::new(), parents: Vec::new(), depths: Vec::new() }
    }

    /// Returns the engine of the first root's queue. A plan has at least one root.
    pub(super) fn engine(&self) -> &Engine {
        self.cores[0].engine()
    }

    /// Writes the settings of queues that had none again, if this client has written them before.
    pub(super) async fn mend_settings(&self, homes: &[usize]) {
        for core in homes.iter().filter_map(|home| self.cores.get(*home)) {
            core.engine().note_settings(false);
            core.mend_settings().await;
        }
    }

    /// Returns the trees, with the outcome of each job.
    pub(super) fn into_trees(self, exceptions: Exceptions) -> Vec<AddedNode> {
        let Self { flow, cores, parents, .. } = self;
        let nodes = flow.jobs.into_iter();
        let mut nodes: Vec<Option<AddedNode>> =
            nodes.map(|(home, job)| Some(AddedNode::new(Arc::clone(&cores[home]), job))).collect();
        for (at, exception) in exceptions {
            if let Some(node) = &mut nodes[at] {
                node.exception = Some(exception);
            }
        }
        let mut roots = Vec::new();
        // In reverse order, so that a node has all its children before it is added to its own parent.
        for at in (0..nodes.len()).rev() {
            let Some(node) = nodes[at].take() else { continue };
            match parents[at].and_then(|parent| nodes[parent].as_mut()) {
                Some(parent) => parent.push_front(node),
                None => roots.push(node),
            }
        }
        roots.reverse();
        roots.iter_mut().for_each(AddedNode::put_in_order);
        roots
    }
}

struct Planner<'a> {
    queues: &'a Arc<Directory>,
    /// The prefix of nodes without one.
    prefix: &'a str,
    defaults: &'a HashMap<String, JobOptions>,
    max_jobs: usize,
    /// The trace context of the add.
    trace: Option<&'a str>,
    /// Whether there are several roots.
    is_bulk: bool,
    /// The position of each job so far among the children of its parent, or among the roots.
    turns: Vec<usize>,
    /// The keys of the jobs so far.
    taken: HashSet<String>,
    plan: Plan,
    bytes: usize,
}

impl Planner<'_> {
    /// Adds a node to the plan, and returns its position.
    fn place(&mut self, next: Visit, has_children: bool) -> Result<usize> {
        let Visit { node, parent, turn } = next;
        self.turns.push(turn);
        let at = self.turns.len() - 1;
        let (queue, name) = (node.queue.clone(), node.name.clone());
        self.make(node, parent, has_children).map_err(|error| {
            at_node(&format!("{} (job {name:?} of queue {queue:?})", way(&self.path(at, parent))), error)
        })
    }

    /// Returns the path to a node: the number of its root if there are several, then of the child at each level.
    fn path(&self, at: usize, mut parent: Option<usize>) -> Vec<usize> {
        let mut path = vec![self.turns[at]];
        while let Some(above) = parent {
            path.push(self.turns[above]);
            parent = self.plan.parents[above];
        }
        if !self.is_bulk {
            path.pop();
        }
        path.reverse();
        path
    }

    fn make(&mut self, node: FlowNode, parent: Option<usize>, has_children: bool) -> Result<usize> {
        let FlowNode { queue, prefix, name, data, mut options, children: _ } = node;
        let prefix = prefix.as_deref().unwrap_or(self.prefix);
        let home = self.home(prefix, &queue)?;
        let data = data.map_err(|error| Error::invalid("data", error.to_string()))?;
        if let Some(at) = parent {
            if options.parent.is_some() {
                return Err(Error::invalid("parent", "the parent of an inner node is the node above it"));
            }
            let (home, above) = &self.plan.flow.jobs[at];
            options.parent = Some(ParentRef::stored(&*above.id, self.plan.flow.homes[*home].qualified()));
        }
        let depth = parent.map_or(0, |parent| self.plan.depths[parent] + 1);
        if depth == MOST_LEVELS {
            return Err(Error::invalid("flow", format!("it may have {MOST_LEVELS} levels")));
        }
        let none = JobOptions::default();
        let defaults = self.defaults.get(&queue).unwrap_or(&none);
        if has_children {
            options = options.in_flow();
            if options.deduplication.is_some() {
                return Err(Error::invalid("deduplication", "a node with children cannot have it"));
            }
            if defaults.deduplication.is_some() {
                let problem = "the defaults of the queue set it, and a node with children cannot have it";
                return Err(Error::invalid("deduplication", problem));
            }
        }
        if options.job_id.as_ref().is_some_and(|id| id.contains(':')) {
            return Err(Error::invalid("job_id", "in a flow it must not contain a colon"));
        }
        if let Some(trace) = self.trace {
            options = options.in_trace(trace, false, defaults);
        }
        let mut job = self.plan.cores[home].engine().new_job(name, data, options, defaults)?;
        job.is_sure = job.deduplication.is_none()
            && match parent {
                None => job.parent.is_none(),
                // If the id is the caller's, the job may be another parent's child already.
                Some(at) => job.id.is_empty() && self.plan.flow.jobs[at].1.is_sure,
            };
        if has_children {
            job.place = Destination::WaitingChildren;
        }
        let at = self.plan.flow.jobs.len();
        if job.id.is_empty() {
            job.id = uuid::Uuid::new_v4().to_string();
            let known = self.plan.own.is_some_and(|own| self.plan.flow.jobs[own].1.is_sure);
            if self.plan.own.is_none() || job.is_sure && !known {
                self.plan.own = Some(at);
            }
        } else {
            let key = self.plan.flow.homes[home].job(&job.id);
            if parent.is_some_and(|at| self.waits_for(at, &key)) {
                return Err(Error::invalid("job_id", "the parent of the flow has this id, and would wait for itself"));
            }
            if !self.taken.insert(key) {
                return Err(Error::invalid("job_id", "another node of the flow has this id"));
            }
        }
        self.count(&job)?;
        self.plan.flow.jobs.push((home, job));
        self.plan.parents.push(parent);
        self.plan.depths.push(depth);
        Ok(at)
    }

    /// Returns whether the root above this node has been given the job at `key` as its parent.
    fn waits_for(&self, mut at: usize, key: &str) -> bool {
        while let Some(above) = self.plan.parents[at] {
            at = above;
        }
        self.plan.flow.jobs[at].1.parent.as_ref().is_some_and(|outer| *outer.key == *key)
    }

    fn count(&mut self, job: &Addition) -> Result<()> {
        self.bytes += job.size();
        if self.plan.flow.jobs.len() == self.max_jobs || self.bytes > MOST_BYTES {
            let text = format!(
                "a flow may have {} jobs and {} MiB of data: let the parent's processor add more children and then \
                 wait for them",
                self.max_jobs,
                MOST_BYTES / 1024 / 1024
            );
            return Err(Error::invalid("flow", text));
        }
        Ok(())
    }

    /// Returns the position of a queue in `homes`, where new queues are added.
    fn home(&mut self, prefix: &str, queue: &str) -> Result<usize> {
        let homes = &mut self.plan.flow.homes;
        if let Some(at) = homes.iter().position(|home| home.prefix() == prefix && home.queue() == queue) {
            return Ok(at);
        }
        let core = self.queues.queue(prefix, queue)?;
        homes.push(core.engine().keys.clone());
        self.plan.cores.push(core);
        Ok(homes.len() - 1)
    }
}

/// Writes the path to a node for people.
fn way(path: &[usize]) -> String {
    if path.is_empty() {
        return "the root of the flow".to_owned();
    }
    let steps: Vec<String> = path.iter().map(|step| (step + 1).to_string()).collect();
    format!("node {}", steps.join("."))
}

/// Adds the node to the error that it caused.
fn at_node(said: &str, error: Error) -> Error {
    match error {
        Error::InvalidOption { option, problem } => {
            Error::InvalidOption { option, problem: format!("{said}: {problem}") }
        }
        other => other,
    }
}
