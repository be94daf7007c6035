//! Flows, added and read.

use super::*;

impl OxmqSide {
    /// Adds flows; this opens no queue.
    pub(super) async fn add_flows(&mut self, op: &Op) -> Answer {
        let producer = self.client().await.flow_producer();
        Ok(match op {
            Op::FlowAdd { flow } => ids_of(&producer.add(flow_node(flow)?).await?),
            Op::FlowAddBulk { flows } => {
                let flows = flows.iter().map(flow_node).collect::<Result<Vec<_>, _>>()?;
                producer.add_bulk(flows).await?.iter().map(ids_of).collect()
            }
            other => unreachable!("{other:?} adds no flow"),
        })
    }
}

/// Converts a node. What the types of oxmq cannot express is a refusal here; a user sees it as a compile error.
pub(super) fn flow_node(node: &ops::FlowNode) -> Result<FlowNode, Refusal> {
    let children = node.children.iter().map(flow_node).collect::<Result<Vec<_>, _>>()?;
    let root = FlowNode::new(&node.queue_name, &node.name, &node.data).options(job_options(&node.opts)?);
    Ok(root.children(children))
}

/// Returns a tree as the driver shows it: children by id, those that are missing last.
pub(super) fn tree_of(tree: &FlowTree) -> Json {
    let Ok(Some(job)) = &tree.job else { return Json::Null };
    let mut children: Vec<&FlowTree> = tree.children.iter().collect();
    children.sort_by_key(|child| (!matches!(child.job, Ok(Some(_))), &child.id));
    json!({ "job": view(job), "children": children.into_iter().map(tree_of).collect::<Vec<_>>() })
}

/// Returns the ids of a tree as the driver shows them.
pub(super) fn ids_of(node: &AddedNode) -> Json {
    let mut shown = json!({ "id": node.id() });
    if !node.children().is_empty() {
        shown["children"] = node.children().iter().map(ids_of).collect();
    }
    shown
}
