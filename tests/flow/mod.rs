//! Flows that oxmq adds: what is stored, what is refused, what a lost reply does, children that a processor adds.

mod adding;
mod children;
mod lost;
mod reading;

use oxmq::FlowNode;

/// A node of the queue `q` under this id.
fn node(id: &str) -> FlowNode {
    FlowNode::new("q", "node", id).job_id(id)
}
