//! Flows that oxmq adds: what is stored, what is refused, what happens after a lost reply, and children that a
//! processor adds.

mod adding;
mod children;
mod lost;
mod odd;
mod reading;

use oxmq::FlowNode;

/// Returns a node of the queue `q` with this id.
fn node(id: &str) -> FlowNode {
    FlowNode::new("q", "node", id).job_id(id)
}
