use super::*;
use crate::common::server::fresh_prefix;

#[tokio::test]
async fn the_server_is_taken_from_option_environment_or_file() {
    let on = Fixture::new().await;
    on.add_many(1).await;
    let url = shared_server().url();
    let dir = std::env::temp_dir().join(format!("oxmq-cli-{}", on.prefix));
    std::fs::create_dir_all(dir.join("oxmq")).unwrap();
    let file = dir.join("oxmq/config.toml");
    std::fs::write(&file, format!("prefix = \"{}\"\n[profiles.night]\nurl = \"{url}\"\n", on.prefix)).unwrap();
    let code = |command: &mut Command| ran(command.args(["queues", "q"]), "").code;
    let in_dir = || {
        let mut command = command();
        command.env("XDG_CONFIG_HOME", &dir);
        command
    };
    assert_eq!(code(in_dir().args(["--url", &url])), 0);
    assert_eq!(code(in_dir().env("OXMQ_URL", &url)), 0);
    assert_eq!(code(in_dir().env("REDIS_URL", &url)), 0);
    assert_eq!(code(in_dir().env("OXMQ_URL", &url).env("REDIS_URL", "redis://127.0.0.1:1")), 0);
    // An empty variable counts as none.
    assert_eq!(code(in_dir().env("OXMQ_URL", "").env("REDIS_URL", &url)), 0);
    assert_eq!(code(in_dir().args(["--profile", "night"])), 0);
    assert_eq!(code(in_dir().env("OXMQ_PROFILE", "night").env("REDIS_URL", "redis://127.0.0.1:1")), 0);
    assert_eq!(code(in_dir().args(["--profile", "day"])), 3);
    assert_eq!(code(command().args(["--config"]).arg(dir.join("none"))), 1);
    // The error does not repeat a line that cannot be read: it may hold a password.
    std::fs::write(&file, "url = redis://:geheim@x\n").unwrap();
    let refused = ran(in_dir().arg("queues"), "");
    assert!(refused.code == 1 && !refused.err.contains("geheim"), "{refused:?}");
    std::fs::write(&file, "url = \"redis://:geheim@x\"\n\nurls = 5\n").unwrap();
    let refused = ran(in_dir().arg("queues"), "");
    assert!(
        refused.err.contains("config.toml: line 3: unknown field") && !refused.err.contains("geheim"),
        "{refused:?}"
    );
    let refused = ran(command().args(["--url", "rediss://:geheim@127.0.0.1:1", "queues"]), "");
    assert!([1, 2].contains(&refused.code) && !refused.err.contains("geheim"), "{refused:?}");
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn a_command_line_that_is_not_understood_has_a_code_of_its_own() {
    for words in [&["jobs"][..], &["frobnicate"], &["jobs", "q", "--limit", "x"], &["clean", "q", "--older", "5"]] {
        assert_eq!(ran(command().args(words), "").code, 2, "{words:?}");
    }
    let refused = ran(
        command().args(["jobs", "q", "-s", "odd", "--url", &shared_server().url(), "--prefix", &fresh_prefix()]),
        "",
    );
    assert_eq!(refused.code, 3, "a queue that is not there comes first");
}

#[test]
fn help_completions_and_manual_are_there() {
    let help = ran(command().arg("--help"), "").ok();
    assert!(help.contains("Examples:") && help.contains("Exit codes:"), "{help}");
    for shell in ["bash", "zsh", "fish"] {
        assert!(ran(command().args(["completions", shell]), "").ok().contains("obliterate"), "{shell}");
    }
    assert!(ran(command().arg("man"), "").ok().contains(".TH oxmq 1"));
    let dir = std::env::temp_dir().join(format!("oxmq-man-{}", std::process::id()));
    ran(command().arg("man").arg(&dir), "").ok();
    assert!(dir.join("oxmq-retry.1").exists());
    std::fs::remove_dir_all(dir).unwrap();
}

#[tokio::test]
async fn an_option_that_makes_no_job_is_refused() {
    let on = Fixture::new().await;
    let opts = r#"{"repeat":{"every":1000}}"#;
    for more in [&["--dry-run"][..], &[]] {
        let refused = call(&on, &[&["add", "q", "job", "{}", "--opts", opts], more].concat(), "").await;
        assert!(refused.code == 2 && refused.err.contains("job scheduler"), "{refused:?}");
    }
    assert_eq!(on.count(oxmq::JobState::Waiting).await, 0);
}

/// What is not understood has the code 2, whoever finds it: the reader of the arguments, or the library.
#[tokio::test]
async fn values_that_nothing_can_have_are_refused_as_such() {
    let on = Fixture::new().await;
    on.add_many(1).await;
    for words in [
        &["jobs", "q", "-s", "nonsense"][..],
        &["jobs", "q", "--limit", "0"],
        &["jobs", "q", "--limit", "-1"],
        &["jobs", "q", "--limit", "99999999999999999999"],
        &["jobs", "q", "--older", "-1h"],
        &["jobs", "q", "--after", "nonsense"],
        &["jobs", "a:b"],
        &["jobs", ""],
        &["add", "q", "job", "{no json"],
        &["add", "q", "job", "{}", "--opts", "{no json"],
        &["priority", "q", "1", "--to", "-5", "--yes"],
        &["priority", "q", "1", "--to", "99999999", "--yes"],
        &["delay", "q", "1", "--to", "-5s", "--yes"],
        &["retry", "q", "--all", "--limit", "0", "--yes"],
        &["schedulers", "q", "--limit", "0"],
        &["tail", "q", "--from", "nonsense"],
    ] {
        let ran = call(&on, words, "").await;
        assert!(ran.code == 2 && ran.out.is_empty() && !ran.err.contains("tip:"), "{words:?}: {ran:?}");
    }
    assert_eq!(ran(command().args(["--url", "nonsense", "queues"]), "").code, 2);
    // A name that is spelt well and means nothing has another code, also where nothing would be listed anyway.
    for words in ["jobs none", "workers none", "schedulers none", "doctor none", "workers none --json"] {
        assert_eq!(oxmq(&on, words).await.code, 3, "{words}");
    }
    assert_eq!(oxmq(&on, "workers q").await.code, 0);
}

/// What lists nothing under a wrong prefix would look like an answer.
#[tokio::test]
async fn a_wrong_prefix_is_told_by_each_list() {
    let on = Fixture::new().await;
    on.add_many(1).await;
    let file = std::env::temp_dir().join(format!("oxmq-prefix-{}.toml", on.prefix));
    std::fs::write(&file, "prefix = \"typo\"\n").unwrap();
    let url = shared_server().url();
    for words in ["queues", "workers", "schedulers", "doctor --pause 1ms --keys 0"] {
        for more in [&[][..], &["--json"]] {
            let of_file = ["--config", file.to_str().unwrap(), "--url", &url];
            for place in [&["--url", &*url, "--prefix", "typo"][..], &of_file] {
                let mut command = command();
                command.args(place).args(words.split(' ')).args(more);
                let ran = tokio::task::spawn_blocking(move || ran(&mut command, "")).await.unwrap();
                assert!(ran.code == 3 && ran.err.contains("no queue under the prefix 'typo'"), "{words}: {ran:?}");
                let lines = ran.out.lines().map(serde_json::from_str::<Value>);
                assert!(more.is_empty() || lines.collect::<Result<Vec<_>, _>>().is_ok(), "{words}: {ran:?}");
            }
        }
        // Where there is a queue, an empty list is an answer.
        assert!(matches!(oxmq(&on, words).await.code, 0 | 6), "{words}");
    }
    std::fs::remove_file(file).unwrap();
}

#[tokio::test]
async fn a_misspelt_queue_is_told_by_what_shows_queues() {
    let on = Fixture::new().await;
    on.add_many(1).await;
    let words =
        format!("--url {} --prefix {} top mials; echo \"ended with $?\"; exec cat", shared_server().url(), on.prefix);
    let terminal = super::top::Terminal::with(100, 24, "TERM=screen-256color", &words);
    let screen = terminal.shows("ended with 3").await;
    assert!(screen.contains("there is no queue 'mials'"), "{screen}");
}
