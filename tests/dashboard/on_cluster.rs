//! The pages on a cluster, with queues on every master.

use oxmq::dashboard::Dashboard;

use super::site::{Site, text};
use crate::cluster::OnEveryMaster;
use crate::common::eventually::eventually;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_show_and_change_the_queues_of_every_master() {
    let on = OnEveryMaster::filled("pages").await;
    let site = Site::with(Dashboard::new(on.client.clone()).authorize(|_, _| true)).await;
    let mut told: Vec<&str> = on.names.iter().map(String::as_str).collect();
    told.extend(["3 queues", "3 ready"]);
    site.page_with("/", &told).await;
    for page in ["/workers", "/schedulers", "/doctor", "/server", "/search?q=f"] {
        site.page(page).await;
    }
    for queue in on.queues() {
        let path = format!(
            "/queue/{}",
            percent_encoding::utf8_percent_encode(queue.name(), percent_encoding::NON_ALPHANUMERIC)
        );
        let failed = text(&site.page(&format!("{path}?state=failed")).await);
        for told in ["waiting 1", "delayed 1", "failed 1", "out of paper"] {
            assert!(failed.contains(told), "{told}: {failed}");
        }
        let job = text(&site.page(&format!("{path}/job/f")).await);
        assert!(job.contains("out of paper") && job.contains("failed"), "{job}");
        for page in ["schedulers", "events", "add", "job/f/raw"] {
            site.page(&format!("{path}/{page}")).await;
        }
        site.done(&format!("{path}/job/f"), &[("do", "retry")]).await;
        site.done(&path, &[("do", "pause")]).await;
        eventually("it is changed", || async {
            let counts = queue.get_job_counts(&[]).await.unwrap();
            (counts.failed, counts.paused + counts.waiting) == (0, 2) && queue.is_paused().await.unwrap()
        })
        .await;
        queue.obliterate().await.unwrap();
    }
}
