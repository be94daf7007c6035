//! Data that cannot be serialized.

use oxmq::Queue;

struct Mail;

fn send(queue: &Queue<Mail, ()>) {
    let _ = queue.add("send", Mail);
}

fn main() {
    let _ = send;
}
