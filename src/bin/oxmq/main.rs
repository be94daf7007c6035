//! `oxmq`: queues and jobs in the terminal, also for whoever is on call at night.

mod args;
mod commands;
mod connect;
mod failure;
mod pick;
mod say;

use std::process::ExitCode;

use clap::Parser;

use args::{Args, Command};
use failure::Outcome;

fn main() -> ExitCode {
    let args = Args::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("oxmq: no runtime: {error}");
            return ExitCode::from(failure::ERROR);
        }
    };
    let outcome = runtime.block_on(run(args));
    // A thread that reads the terminal, or a connection that hangs, must not keep the process alive.
    runtime.shutdown_background();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !failure.text.is_empty() {
                eprintln!("oxmq: {}", say::clean(&failure.text));
            }
            ExitCode::from(failure.code)
        }
    }
}

async fn run(args: Args) -> Outcome {
    use commands as c;
    let Args { global, command } = args;
    match command {
        Command::Completions { shell } => c::papers::completions(shell),
        Command::Man { directory } => c::papers::man(directory.as_deref()),
        Command::Queues(args) => c::queues::run(&global, args).await,
        Command::Jobs(args) => c::jobs::run(&global, args).await,
        Command::Show(args) => c::show::run(&global, args).await,
        Command::Add(args) => c::add::run(&global, args).await,
        Command::Retry(args) => c::bulk::retry(&global, args).await,
        Command::Promote(args) => c::bulk::promote(&global, args).await,
        Command::Remove(args) => c::bulk::remove(&global, args).await,
        Command::Cancel(args) => c::cancel::run(&global, args).await,
        Command::Clean(args) => c::bulk::clean(&global, args).await,
        Command::Move(args) => c::bulk::move_to(&global, args).await,
        Command::Priority(args) => c::bulk::priority(&global, args).await,
        Command::Delay(args) => c::bulk::delay(&global, args).await,
        Command::Pause(args) => c::steer::pause(&global, args).await,
        Command::Resume(args) => c::steer::resume(&global, args).await,
        Command::Drain(args) => c::steer::drain(&global, args).await,
        Command::Obliterate(args) => c::steer::obliterate(&global, args).await,
        Command::Schedulers(args) => c::schedulers::run(&global, args).await,
        Command::Flow(args) => c::flow::run(&global, args).await,
        Command::Workers(args) => c::workers::run(&global, args).await,
        Command::Tail(args) => c::tail::run(&global, args).await,
        Command::Logs(args) => c::logs::run(&global, args).await,
        Command::Serve(args) => c::serve::run(&global, args).await,
        Command::Types(args) => c::types::run(&global, args).await,
        Command::Doctor(args) => c::doctor::run(&global, args).await,
        Command::Top(args) => c::top::run(&global, args).await,
        Command::Export(args) => c::transfer::export(&global, args).await,
        Command::Import(args) => c::transfer::import(&global, args).await,
    }
}
