//! What whole operations write to Redis and return, against a real server.

mod adding;
mod cleaning;
mod moving;
mod reading;
mod removing;
mod settling;
mod wrong_types;

use super::*;

fn refusal<T: std::fmt::Debug>(result: Result<T>) -> Reason {
    result.unwrap_err().reason().unwrap()
}

/// Creates a list with these ids from left to right.
async fn push(queue: &Engine, list: &str, ids: &[&str]) {
    for id in ids {
        queue.store(id, &[]).await;
        queue.redis(&format!("RPUSH @{list} {id}")).await;
    }
}

/// Creates a parent that waits for children, with the children in `wait` of their queue.
async fn family(parents: &Engine, parent: &str, children: &Engine, ids: &[&str]) {
    let key = parents.keys.job(parent);
    parents.store(parent, &[]).await;
    parents.redis(&format!("ZADD @waiting-children 1 {parent}")).await;
    for id in ids {
        children.store(id, &[("parentKey", &key)]).await;
        children.redis(&format!("RPUSH @wait {id}")).await;
        children.redis(&format!("SADD {key}:dependencies @{id}")).await;
    }
}
