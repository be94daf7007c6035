//! The commands on a cluster, with queues on every master.

use super::top::Terminal;
use super::*;
use crate::cluster::OnEveryMaster;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_see_and_change_the_queues_of_every_master() {
    let on = OnEveryMaster::filled("cli").await;
    let oxmq = async |words: &str| {
        let mut command = command();
        command.args(["--url", &on.url, "--prefix", &on.prefix]).args(words.split_whitespace());
        tokio::task::spawn_blocking(move || ran(&mut command, "")).await.unwrap()
    };
    let queues = oxmq("queues --json").await.json();
    let mut seen: Vec<&str> = queues.iter().map(|queue| queue["name"].as_str().unwrap()).collect();
    seen.sort_unstable();
    let mut all: Vec<&str> = on.names.iter().map(String::as_str).collect();
    all.sort_unstable();
    assert_eq!(seen, all);
    assert!(queues.iter().all(|queue| queue["counts"]["failed"] == 1 && queue["counts"]["delayed"] == 1), "{queues:?}");
    let examined = oxmq("doctor --pause 10ms --json").await;
    assert!(on.names.iter().all(|name| examined.out.contains(name)), "nobody works on them: {examined:?}");
    for name in &on.names {
        let failed = oxmq(&format!("jobs {name} -s failed --json")).await.json();
        assert!(failed.len() == 1 && failed[0]["id"] == "f", "{failed:?}");
        assert!(oxmq(&format!("show {name} f")).await.ok().contains("out of paper"));
        assert_eq!(oxmq(&format!("retry {name} f --yes")).await.ok(), "1 job retried\n");
        assert!(oxmq(&format!("promote {name} d --yes")).await.ok().starts_with("1 job"));
        oxmq(&format!("pause {name} --yes")).await.ok();
        assert_eq!(oxmq(&format!("export {name}")).await.json().len(), 3);
    }
    let terminal = Terminal::with(
        100,
        24,
        "TERM=screen-256color",
        &format!("--url {} --prefix {} top --every 150ms", on.url, on.prefix),
    );
    let screen = terminal.shows("oxmq top  3 queues  ").await;
    for name in &on.names {
        let row = screen.lines().find(|line| line.starts_with(name.as_str())).unwrap();
        assert_eq!(row.split_whitespace().collect::<Vec<_>>()[1..6], ["(paused)", "3", "0", "0", "0"], "{screen}");
    }
    for name in &on.names {
        oxmq(&format!("obliterate {name} --yes")).await.ok();
    }
    let ran = oxmq("queues --json").await;
    assert!(ran.code == 3 && ran.out.is_empty(), "{ran:?}");
}
