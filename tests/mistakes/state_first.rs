//! The state before the job, as in axum, and the data in place of the job, as in apalis.

use oxmq::kind::JobOf;
use oxmq::{Client, Halt, Job, JobKind, Router, State};

#[derive(serde::Serialize, serde::Deserialize)]
struct Mail;

impl JobKind for Mail {
    const NAME: &'static str = "mail";
    type Output = ();
}

#[derive(Clone)]
struct App;

async fn of_kind(_: State<App>, _: JobOf<Mail>) -> Result<(), Halt> {
    Ok(())
}

async fn by_name(_: State<App>, _: Job<u64, ()>) -> Result<(), Halt> {
    Ok(())
}

async fn only_data(_: Mail) -> Result<(), Halt> {
    Ok(())
}

fn start(client: Client) {
    let _ = client.worker("mails", only_data);
}

fn main() {
    let _: Router = Router::new().job(of_kind).with_state(App);
    let _: Router = Router::new().on("count", by_name).with_state(App);
    let _: Router = Router::new().job(only_data);
}
