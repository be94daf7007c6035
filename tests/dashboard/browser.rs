//! An operator at night, with real clicks. Needs Chromium: `make test-dashboard`.

use oxmq::{JobState, Queue};

use super::chrome::Chrome;
use super::shop::Shop;

fn counts<'a>(queue: &'a Queue, state: JobState, wanted: u64) -> impl Future<Output = ()> + 'a {
    let what = format!("{wanted} jobs {state}");
    async move {
        let met = || async { queue.get_job_counts(&[state]).await.unwrap().get(state) == wanted };
        crate::common::eventually::eventually(&what, met).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs chromium and chromedriver: make test-dashboard"]
async fn failed_jobs_are_found_and_retried_in_the_browser() {
    let shop = Shop::open(|dashboard| dashboard).await;
    let chrome = Chrome::open(1280, 900, false).await;
    chrome.go(&shop.url).await;

    // Which queue is late, and why?
    chrome.sees("Needs attention").await;
    chrome.click("//section[contains(@class,'attention')]//a[text()='search-index']").await;
    chrome.sees("34 jobs waiting and no worker is connected").await;

    // Retries the failed jobs of one name.
    let mails: Queue = shop.fixture.client.queue("mails").open().unwrap();
    chrome.click("//header//a[text()='Queues']").await;
    chrome.click("//table//a[text()='mails']").await;
    chrome.click("//nav[@id='states']//a[starts-with(normalize-space(),'failed')]").await;
    chrome.sees("550 5.1.1 no such user here").await;
    chrome.find("//input[@name='name']").await.send_keys("invoice").await.unwrap();
    chrome.click("//form[contains(@class,'filter')]//button").await;
    chrome.sees("421 4.7.0").await;
    assert!(!chrome.text().await.contains("550 5.1.1"));
    mails.pause().await.unwrap();
    chrome.click("//summary[starts-with(text(),'Retry all that match')]").await;
    chrome.click("//button[text()='Retry all that match']").await;
    chrome.sees("Done to 3 jobs.").await;
    counts(&mails, JobState::Failed, 6).await;
    counts(&mails, JobState::Waiting, 3).await;
    chrome.click("//a[text()='Back to the queue']").await;

    // Retries two jobs that are selected with the keyboard.
    chrome.click("//a[text()='Clear']").await;
    chrome.sees("550 5.1.1").await;
    let body = chrome.find("//body").await;
    body.send_keys("jxjx").await.unwrap();
    chrome.sees("2 jobs chosen").await;
    chrome.click("//div[@class='choice']//button[text()='Retry']").await;
    chrome.sees("2 jobs: run again.").await;
    counts(&mails, JobState::Failed, 4).await;

    // Cancels a job that is no longer wanted.
    let photos: Queue = shop.fixture.client.queue("photos").open().unwrap();
    chrome.go(&format!("{}/queue/photos?state=active", shop.url)).await;
    chrome.click("//table//a[text()='encode']").await;
    chrome.click("//summary[text()='Cancel…']").await;
    chrome.find("//input[@name='reason']").await.send_keys("not at night").await.unwrap();
    chrome.click("//button[text()='Cancel it']").await;
    chrome.sees("is asked to stop it").await;
    counts(&photos, JobState::Failed, 1).await;

    // Looks at a waiting flow.
    chrome.find("//input[@id='search']").await.send_keys(&format!("{}\n", shop.report)).await.unwrap();
    chrome.sees("It waits for 3 of 3 children").await;
    chrome.click("//ul[@class='tree']//a[contains(.,'reports')][1]").await;

    // Cleans the failed jobs and resumes the queue.
    chrome.go(&format!("{}/queue/mails?state=failed", shop.url)).await;
    chrome.click("//summary[text()='Remove all…']").await;
    chrome.click("//button[text()='Remove all']").await;
    chrome.sees("Done to 4 jobs.").await;
    counts(&mails, JobState::Failed, 0).await;
    chrome.click("//a[text()='Back to the queue']").await;
    chrome.click("//button[text()='Resume']").await;
    chrome.sees("The queue goes on.").await;
    assert!(!mails.is_paused().await.unwrap());

    // The pages loaded nothing from elsewhere.
    let asked = chrome.complaints().await;
    assert!(!asked.is_empty() && asked.iter().all(|url| url.starts_with(&shop.url)), "{asked:?}");
    chrome.close().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs chromium and chromedriver: make test-dashboard"]
async fn pages_follow_what_happens() {
    let shop = Shop::open(|dashboard| dashboard).await;
    let chrome = Chrome::open(1280, 900, false).await;
    let queue: Queue = shop.fixture.client.queue("search-index").open().unwrap();
    chrome.go(&format!("{}/queue/search-index?state=waiting", shop.url)).await;
    chrome.find("//button[@id='live' and @aria-pressed='true']").await;
    // A ticked box stays ticked while the page around it changes.
    chrome.click("(//input[@name='id'])[1]").await;
    queue.add("urgent", serde_json::json!({})).await.unwrap();
    chrome.sees("waiting 35").await;
    chrome.sees("1 job chosen").await;

    chrome.go(&format!("{}/queue/search-index/events", shop.url)).await;
    chrome.sees("Listening").await;
    queue.add("heard", serde_json::json!({})).await.unwrap();
    chrome.find("//ol[@id='events']//li[@data-kind='added']").await;
    chrome.close().await;
}

/// Returns what is cut off at the right of a page: the page itself, or what one of its buttons opens.
const CUT_OFF: &str = r#"
    const wide = document.documentElement.clientWidth;
    const cut = document.documentElement.scrollWidth > wide ? ['the page'] : [];
    for (const ask of document.querySelectorAll('details.ask')) {
        ask.open = true;
        const place = ask.querySelector('.popup').getBoundingClientRect();
        if (place.left < 0 || place.right > wide || document.documentElement.scrollWidth > wide) cut.push(ask.innerText);
        ask.open = false;
    }
    return cut"#;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs chromium and chromedriver: make test-dashboard"]
async fn nothing_is_cut_off_on_a_small_telephone() {
    let shop = Shop::open(|dashboard| dashboard).await;
    let chrome = Chrome::telephone().await;
    for path in shop.pages() {
        chrome.go(&format!("{}{path}", shop.url)).await;
        assert_eq!(chrome.script(CUT_OFF).await, serde_json::json!([]), "{path}");
    }
    assert_eq!(chrome.script("return document.documentElement.clientWidth").await, 360);
    chrome.close().await;
}

/// The title, the field and the button of the page's head are one line, however long the title is.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs chromium and chromedriver: make test-dashboard"]
async fn a_long_title_leaves_room_for_the_button_on_a_small_telephone() {
    for title in ["oxmq", "mails in production, Frankfurt"] {
        let shop = Shop::open(|dashboard| dashboard.title(title)).await;
        let chrome = Chrome::telephone().await;
        chrome.go(&shop.url).await;
        chrome.find("//button[@id='live']").await;
        let rows = "return ['.brand', '.search', '#live'].map(of => {
            const place = document.querySelector(of).getBoundingClientRect();
            return Math.round((place.top + place.bottom) / 2);
        })";
        let rows: Vec<i64> = serde_json::from_value(chrome.script(rows).await).unwrap();
        assert!(rows.iter().all(|row| (row - rows[0]).abs() < 8), "{title}: {rows:?}");
        assert_eq!(chrome.script(CUT_OFF).await, serde_json::json!([]), "{title}");
        chrome.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs chromium and chromedriver: make test-dashboard"]
async fn a_second_click_on_the_way_sends_nothing() {
    let shop = Shop::open(|dashboard| dashboard).await;
    let chrome = Chrome::open(1280, 900, false).await;
    let queue: Queue = shop.fixture.client.queue("search-index").open().unwrap();
    chrome.go(&format!("{}/queue/search-index/add", shop.url)).await;
    chrome.find("//input[@name='name']").await.send_keys("once").await.unwrap();
    let sent = r#"
        const form = document.querySelector('form.stacked'), button = form.querySelector('button');
        return [1, 2, 3].map(() => {
            const event = new SubmitEvent('submit', { submitter: button, bubbles: true, cancelable: true });
            return form.dispatchEvent(event);
        })"#;
    assert_eq!(chrome.script(sent).await, serde_json::json!([true, false, false]));
    // Of a click of a person the browser makes a request.
    chrome.go(&format!("{}/queue/search-index/add", shop.url)).await;
    chrome.find("//input[@name='name']").await.send_keys("once").await.unwrap();
    chrome.click("//button[text()='Add the job']").await;
    chrome.sees("is added.").await;
    counts(&queue, JobState::Waiting, 35).await;
    chrome.close().await;
}

/// Takes pictures for people to look at, in `target/tmp/dashboard`. This is not a test.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes pictures: make pictures"]
async fn pictures() {
    let shop = Shop::open(|dashboard| dashboard).await;
    let failed: Queue = shop.fixture.client.queue("mails").open().unwrap();
    let failed = failed.get_ranges(&[JobState::Failed], 0, 0, oxmq::queue::Order::Ascending).await.unwrap().remove(0);
    {
        let mut redis = shop.fixture.redis.clone();
        let key = |suffix: &str| format!("{}:mails:{suffix}", shop.fixture.prefix);
        let () = redis::cmd("SET").arg(key("9001:lock")).arg("token").query_async(&mut redis).await.unwrap();
        let () = redis::cmd("LPUSH").arg(key("wait")).arg("9002").query_async(&mut redis).await.unwrap();
        let chrome = Chrome::open(1280, 900, false).await;
        chrome.go(&format!("{}/doctor", shop.url)).await;
        chrome.click("//input[@name='memory']").await;
        chrome.click("//button[text()='Examine']").await;
        chrome.sees("The last examination").await;
        // The findings stay on the page; the other pages should show a healthy queue.
        let () = redis::cmd("DEL").arg(key("9001:lock")).query_async(&mut redis).await.unwrap();
        let () = redis::cmd("LREM").arg(key("wait")).arg(0).arg("9002").query_async(&mut redis).await.unwrap();
        chrome.go(&shop.url).await;
        chrome.click("//summary[text()='Pause all…']").await;
        chrome.picture("light-pause-all").await;
        chrome.go(&format!("{}/queue/mails/schedulers", shop.url)).await;
        chrome.click("(//summary[text()='Change…'])[1]").await;
        chrome.picture("light-change").await;
        chrome.close().await;
    }
    for look in ["light", "dark", "narrow"] {
        let chrome = match look {
            "narrow" => Chrome::telephone().await,
            _ => Chrome::open(1280, 1140, look == "dark").await,
        };
        for (name, path) in [
            ("overview", String::new()),
            ("queue", "/queue/mails?state=failed".to_owned()),
            ("delayed", "/queue/photos?state=delayed".to_owned()),
            ("job", format!("/queue/mails/job/{failed}")),
            ("flow", format!("/queue/reports/job/{}", shop.report)),
            ("running", format!("/queue/photos/job/{}", shop.running)),
            ("schedulers", "/queue/mails/schedulers".to_owned()),
            ("all-schedulers", "/schedulers".to_owned()),
            ("doctor", "/doctor".to_owned()),
            ("workers", "/workers?queue=photos".to_owned()),
            ("server", "/server".to_owned()),
            ("add", format!("/queue/mails/add?like={failed}")),
            ("none", "/queue/mails?state=failed&name=nothing".to_owned()),
            ("lost", "/queue/mails/job/gone".to_owned()),
        ] {
            chrome.go(&format!("{}{path}", shop.url)).await;
            chrome.picture(&format!("{look}-{name}")).await;
        }
        chrome.close().await;
    }
}
