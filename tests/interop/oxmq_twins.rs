//! oxmq beside BullMQ.

use super::node_side::NodeSide;
use super::oxmq_side::OxmqSide;
use super::scenarios;
use super::twin::Twin;
use crate::common::node::BullMq;
use crate::common::server::shared_server;

async fn beside(version: BullMq, databases: [u8; 2]) -> Twin<NodeSide, OxmqSide> {
    let server = shared_server();
    let left = NodeSide::start(version, &server.database(databases[0])).await;
    Twin::new(left, OxmqSide::start(&server.database(databases[1]), version).await).await
}

#[tokio::test]
async fn oxmq_agrees_with_version_6() {
    beside(BullMq::V6, [2, 3]).await.run_all(&scenarios::for_oxmq(BullMq::V6)).await;
}

#[tokio::test]
async fn oxmq_agrees_with_version_5() {
    beside(BullMq::V5, [4, 5]).await.run_all(&scenarios::for_oxmq(BullMq::V5)).await;
}
