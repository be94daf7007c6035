//! A value that is no function.

use oxmq::Router;

fn main() {
    let _: Router = Router::new().on("count", "count");
}
