//! `oxmq flow`

use oxmq::Job;
use oxmq::flow::FlowTree;
use oxmq::job::ChildKind;
use serde_json::{Value, json};

use crate::args::{Flow, Global};
use crate::connect;
use crate::failure::{Failure, Outcome};
use crate::say;

pub(crate) async fn run(global: &Global, args: Flow) -> Outcome {
    let (client, queue) = connect::queue(global, &args.queue).await?;
    let flow = client.flow_producer().get_flow(&args.queue, &args.id);
    let tree = flow.depth(args.depth).max_children(args.children).await?;
    let Some(tree) = tree else { return Err(Failure::no_such("job", &args.id)) };
    let why = queue.job(&args.id).waits_for().await?;
    if global.json {
        let mut value = to_json(&tree);
        value["waitsFor"] = json!(why.as_ref().map(ToString::to_string));
        value["stuck"] = json!(why.is_some_and(|why| why.is_stuck()));
        say::json(&value);
        return Ok(());
    }
    show(&tree, "", "");
    if let Some(why) = why {
        say::line("");
        say::line(say::clean(&why.to_string()));
    }
    Ok(())
}

fn show(tree: &FlowTree, first: &str, rest: &str) {
    let name = match &tree.job {
        Ok(Some(job)) => format!(" '{}'", say::short(job.name(), 40)),
        Ok(None) => ", which is gone".to_owned(),
        Err(_) => ", which cannot be read".to_owned(),
    };
    let outcome = outcome(tree);
    let gap = if outcome.is_empty() { "" } else { "  " };
    say::line(format!("{first}{}:{}{name}{gap}{outcome}", say::clean(&tree.queue), say::one_line(&tree.id)));
    for (n, child) in tree.children.iter().enumerate() {
        let is_last = n + 1 == tree.children.len();
        let (first, next) = if is_last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        show(child, &format!("{rest}{first}"), &format!("{rest}{next}"));
    }
}

/// Tells how a job has ended: as its parent has recorded it, and if that has recorded nothing, as its own fields tell. A
/// child that failed without a policy for its parent, and one whose end came between two reads, are still pending there.
fn outcome(tree: &FlowTree) -> &'static str {
    let job = tree.job.as_ref().ok().and_then(Option::as_ref);
    // A job that completed keeps the reason of an earlier attempt that failed.
    let has_failed = |job: &Job| matches!(job.return_value(), Ok(None));
    let own = job.filter(|job| job.finished_on().is_some()).map(has_failed);
    match (tree.kind, own) {
        (Some(ChildKind::Processed), _) | (None | Some(ChildKind::Unprocessed), Some(false)) => "completed",
        (Some(ChildKind::Failed), _) | (None, Some(true)) => "failed",
        (Some(ChildKind::Unprocessed), Some(true)) => "failed, its parent waits all the same",
        (Some(ChildKind::Unprocessed), None) => "pending",
        (Some(ChildKind::Ignored), _) => "failed, ignored",
        (None, None) => "",
        (Some(_), _) => "?",
    }
}

fn to_json(tree: &FlowTree) -> Value {
    let kind = tree.kind.map(|kind| format!("{kind:?}").to_lowercase());
    let job = tree.job.as_ref().ok().and_then(Option::as_ref);
    json!({
        "queue": tree.queue,
        "id": tree.id,
        "name": job.map(|job| job.name()),
        "failedReason": job.and_then(|job| job.failed_reason()),
        "kind": kind,
        "children": tree.children.iter().map(to_json).collect::<Vec<_>>(),
    })
}
