//! What the pages promise to a person: contrast, names for those who cannot see, keys, local times. Needs Chromium:
//! `make test-dashboard`.

use chrono::{DateTime, FixedOffset};
use oxmq::{JobState, Queue};
use serde_json::{Value, json};

use super::chrome::Chrome;
use super::shop::Shop;

const ESCAPE: &str = "\u{e00c}";
const TAB: &str = "\u{e004}";
const ENTER: &str = "\u{e007}";
const CONTROL: &str = "\u{e009}";

/// Returns what a page does not give to all who read it: texts without contrast (4.5 to 1, level AA of WCAG 2), controls
/// without a name, ids that two elements have. All that can be opened is open.
const COMPLAINTS: &str = r#"
    for (const details of document.querySelectorAll('details')) details.open = true;
    document.querySelector('#keys').show();
    const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
    const known = new Map();
    const parts = (color) => {
        if (!known.has(color)) {
            canvas.clearRect(0, 0, 1, 1);
            canvas.fillStyle = color;
            canvas.fillRect(0, 0, 1, 1);
            const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
            known.set(color, { rgb: [r, g, b], a: a / 255 });
        }
        return known.get(color);
    };
    const over = (top, ground) => top.rgb.map((part, n) => part * top.a + ground[n] * (1 - top.a));
    const ground = (element) => {
        if (!element) return [255, 255, 255];
        const own = parts(getComputedStyle(element).backgroundColor);
        return own.a === 1 ? own.rgb : over(own, ground(element.parentElement));
    };
    const light = (rgb) => {
        const [r, g, b] = rgb.map((part) => part / 255).map((part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const contrast = (color, behind) => {
        const [dark, bright] = [light(over(parts(color), behind)), light(behind)].sort((a, b) => a - b);
        return (bright + 0.05) / (dark + 0.05);
    };
    const complaints = [], looked = { texts: 0, controls: 0 };
    const check = (element, color, text) => {
        looked.texts += 1;
        const found = contrast(color, ground(element));
        if (found < 4.5) complaints.push(`${found.toFixed(2)} of "${text.slice(0, 40)}" in ${element.tagName}.${element.className}`);
    };
    const walker = document.createTreeWalker(document.documentElement, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
        const text = walker.currentNode.textContent.trim(), element = walker.currentNode.parentElement;
        if (text === '' || !element.checkVisibility()) continue;
        const style = getComputedStyle(element);
        check(element, element instanceof SVGElement ? style.fill : style.color, text);
    }
    for (const field of document.querySelectorAll('[placeholder]')) {
        if (field.checkVisibility()) check(field, getComputedStyle(field, '::placeholder').color, field.placeholder);
    }
    const words = (element) => element.textContent.trim();
    const name = (control) => {
        const by = (control.getAttribute('aria-labelledby') ?? '').split(' ').map((id) => document.getElementById(id));
        const labels = [...(control.labels ?? [])].map(words).join(' ');
        const own = control.matches('a, button, summary') ? words(control) : '';
        return control.ariaLabel || by.filter(Boolean).map(words).join(' ') || labels || own;
    };
    for (const control of document.querySelectorAll('a[href], button, summary, input:not([type=hidden]), select, textarea, progress, dialog')) {
        if (!control.checkVisibility()) continue;
        looked.controls += 1;
        if (!name(control)) complaints.push(`no name: ${control.outerHTML.slice(0, 160)}`);
    }
    for (const svg of document.querySelectorAll('svg')) {
        if (!svg.closest('[aria-hidden=true]') && !svg.ariaLabel && !svg.getAttribute('aria-labelledby') && !svg.querySelector('title')) {
            complaints.push(`no name: ${svg.outerHTML.slice(0, 160)}`);
        }
    }
    const ids = [...document.querySelectorAll('[id]')].map((element) => element.id);
    for (const id of ids) if (ids.indexOf(id) !== ids.lastIndexOf(id)) complaints.push(`twice: #${id}`);
    if (looked.texts < 40 || looked.controls < 10) complaints.push(`hardly anything was looked at: ${JSON.stringify(looked)}`);
    return [...new Set(complaints)]"#;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs chromium and chromedriver: make test-dashboard"]
async fn texts_have_contrast_and_controls_have_names_in_light_and_in_dark() {
    let shop = Shop::open(|dashboard| dashboard).await;
    for is_dark in [false, true] {
        let chrome = Chrome::open(1280, 900, is_dark).await;
        chrome.go(&format!("{}/doctor", shop.url)).await;
        chrome.click("//button[text()='Examine']").await;
        chrome.sees("The last examination").await;
        let dark = "return matchMedia('(prefers-color-scheme: dark)').matches";
        assert_eq!(chrome.script(dark).await, is_dark);
        for path in shop.pages() {
            chrome.go(&format!("{}{path}", shop.url)).await;
            assert_eq!(chrome.script(COMPLAINTS).await, json!([]), "{path}, dark: {is_dark}");
        }
        chrome.close().await;
    }
}

/// Returns each moment of the page as the server has sent it, as it is shown, and as its title tells it.
const TIMES: &str = "return [...document.querySelectorAll('time[data-exact]')].map((time) => [time.dateTime, time.textContent, time.title])";

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs chromium and chromedriver: make test-dashboard"]
async fn times_are_those_of_the_readers_zone() {
    let shop = Shop::open(|dashboard| dashboard).await;
    let chrome = Chrome::in_zone("Asia/Kathmandu").await;
    let offset = FixedOffset::east_opt(5 * 3_600 + 45 * 60).unwrap();
    let are_local = |times: &Value| {
        let times = times.as_array().unwrap();
        assert!(!times.is_empty());
        for time in times {
            let [sent, shown, title] = [0, 1, 2].map(|n| time[n].as_str().unwrap());
            let local = DateTime::parse_from_rfc3339(sent).unwrap().with_timezone(&offset);
            let local = local.format("%Y-%m-%d %H:%M:%S%.3f").to_string();
            assert_eq!(shown, local, "{sent}");
            assert!(title.starts_with(&format!("{local} (Asia/Kat")) && title.ends_with(sent), "{title}");
        }
        times.len()
    };
    chrome.go(&format!("{}/queue/photos/job/{}", shop.url, shop.running)).await;
    let before = are_local(&chrome.script(TIMES).await);
    // What is read anew while the page is open is local too.
    chrome.find("//button[@id='live' and @aria-pressed='true']").await;
    let photos: Queue = shop.fixture.client.queue("photos").open().unwrap();
    photos.job(&shop.running).cancel("enough").await.unwrap();
    chrome.find("//*[@id='state']//*[text()='failed']").await;
    chrome.until(&format!("return document.querySelectorAll('time[data-exact]').length > {before}")).await;
    are_local(&chrome.script(TIMES).await);
    chrome.go(&format!("{}/queue/mails/schedulers", shop.url)).await;
    are_local(&chrome.script(TIMES).await);
    chrome.close().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs chromium and chromedriver: make test-dashboard"]
async fn json_is_copied_as_it_is_shown() {
    let shop = Shop::open(|dashboard| dashboard).await;
    let chrome = Chrome::open(1280, 900, false).await;
    chrome.go(&format!("{}/queue/photos/job/{}", shop.url, shop.running)).await;
    chrome.click("//*[@id='data']//button[@data-copy]").await;
    chrome.find("//*[@id='data']//button[text()='Copied']").await;
    chrome.find("//*[@id='data']//button[text()='Copy']").await;
    chrome.go(&format!("{}/queue/photos/add", shop.url)).await;
    chrome.click("//textarea[@name='data']").await;
    chrome.press(&format!("{CONTROL}av")).await;
    let pasted = chrome.script("return document.querySelector('textarea[name=data]').value").await;
    assert_eq!(pasted, r#"{"codec":"av1","film":"ox.mkv"}"#);
    // What is covered stays covered.
    chrome.go(&format!("{}/queue/mails/job/1", shop.url)).await;
    chrome.click("//*[@id='data']//button[@data-copy]").await;
    chrome.find("//*[@id='data']//button[text()='Copied']").await;
    chrome.go(&format!("{}/queue/photos/add", shop.url)).await;
    chrome.click("//textarea[@name='data']").await;
    chrome.press(&format!("{CONTROL}av")).await;
    let pasted = chrome.script("return document.querySelector('textarea[name=data]').value").await;
    let pasted = pasted.as_str().unwrap();
    assert!(pasted.contains("nobody@example.org") && !pasted.contains("secret"), "{pasted}");
    chrome.close().await;
}

/// Returns what the focus is on.
const FOCUS: &str = "const on = document.activeElement; return on.id || on.name || on.textContent.trim()";

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs chromium and chromedriver: make test-dashboard"]
async fn keys_do_what_their_list_says() {
    let shop = Shop::open(|dashboard| dashboard).await;
    let chrome = Chrome::open(1280, 900, false).await;
    let failed = format!("{}/queue/mails?state=failed", shop.url);
    chrome.go(&failed).await;
    chrome.press("?").await;
    chrome.until("return document.querySelector('#keys').open").await;
    let listed = "return [...document.querySelectorAll('#keys dt')].map((dt) => dt.innerText.replace(/\\s+/g, ''))";
    // Each of them is pressed below.
    let keys = ["/", "jk", "Enter", "x", "gq", "gw", "gs", "gd", "l", "Esc", "?"];
    assert_eq!(chrome.script(listed).await, json!(keys));
    // Over the list no other key does anything.
    chrome.press("gq").await;
    chrome.press(ESCAPE).await;
    chrome.until("return !document.querySelector('#keys').open").await;
    assert_eq!(chrome.client.current_url().await.unwrap().as_str(), failed);

    chrome.press("/").await;
    assert_eq!(chrome.script(FOCUS).await, "search");
    // In a field the keys are letters.
    chrome.press("jx?").await;
    assert_eq!(chrome.script("return document.querySelector('#search').value").await, "jx?");
    chrome.press(ESCAPE).await;
    chrome.until("return document.activeElement === document.body").await;

    let place = "const rows = [...document.querySelectorAll('.rows tbody tr')]; return rows.findIndex((row) => row.matches('.current'))";
    for (key, row) in [("j", 0), ("j", 1), ("j", 2), ("k", 1), ("kkk", 0)] {
        chrome.press(key).await;
        assert_eq!(chrome.script(place).await, row, "{key}");
    }
    chrome.press("x").await;
    chrome.sees("1 job chosen").await;
    chrome.press("x").await;
    chrome.sees("Choose jobs to act on them").await;
    chrome.press("l").await;
    chrome.find("//button[@id='live' and @aria-pressed='false']").await;
    chrome.press("l").await;
    chrome.find("//button[@id='live' and @aria-pressed='true']").await;
    let link = chrome.script("return document.activeElement.href").await;
    chrome.press(ENTER).await;
    chrome.until(&format!("return location.href === {link} && document.readyState === 'complete'")).await;
    for (keys, title) in [("gq", "Queues"), ("gw", "Workers"), ("gs", "Schedulers"), ("gd", "Doctor")] {
        chrome.press(keys).await;
        chrome.find(&format!("//header//a[@aria-current='page' and text()='{title}']")).await;
        chrome.until("return document.readyState === 'complete'").await;
    }
    chrome.close().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs chromium and chromedriver: make test-dashboard"]
async fn escape_closes_what_is_open_and_gives_the_focus_back() {
    let shop = Shop::open(|dashboard| dashboard).await;
    let chrome = Chrome::open(1280, 900, false).await;
    chrome.go(&format!("{}/queue/photos?state=delayed", shop.url)).await;
    let opened = "return document.querySelectorAll('details.ask[open]').length";
    let asks = chrome
        .script("return [...document.querySelectorAll('details.ask summary')].map((ask) => ask.textContent)")
        .await;
    let asks: Vec<&str> = asks.as_array().unwrap().iter().map(|ask| ask.as_str().unwrap()).collect();
    assert!(asks.contains(&"More") && asks.contains(&"Delay…") && asks.contains(&"Remove all…"), "{asks:?}");
    for (n, ask) in asks.iter().enumerate() {
        chrome.script(&format!("document.querySelectorAll('details.ask summary')[{n}].focus()")).await;
        // Once from the button itself, once from the first thing in what it opens that can be used.
        for way in ["", TAB] {
            chrome.press(ENTER).await;
            assert_eq!(chrome.script(opened).await, 1, "{ask}");
            if !way.is_empty() {
                chrome.press(way).await;
            }
            chrome.press(ESCAPE).await;
            assert_eq!(chrome.script(opened).await, 0, "{ask}");
            assert_eq!(chrome.script(FOCUS).await, *ask);
        }
    }
    // The list of keys gives the focus back as well.
    chrome.press("?").await;
    chrome.until("return document.querySelector('#keys').open").await;
    chrome.press(ESCAPE).await;
    chrome.until("return !document.querySelector('#keys').open").await;
    assert_eq!(chrome.script(FOCUS).await, *asks.last().unwrap());
    chrome.close().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs chromium and chromedriver: make test-dashboard"]
async fn the_place_of_the_keyboard_stays_while_the_page_changes() {
    let shop = Shop::open(|dashboard| dashboard).await;
    let chrome = Chrome::open(1280, 900, false).await;
    let queue: Queue = shop.fixture.client.queue("search-index").open().unwrap();
    chrome.go(&format!("{}/queue/search-index?state=waiting", shop.url)).await;
    chrome.find("//button[@id='live' and @aria-pressed='true']").await;
    chrome.press("jjj").await;
    let place = "const row = document.querySelector('tr.current'); return [row.rowIndex, row.querySelector('a').href, document.activeElement.href]";
    let before = chrome.script(place).await;
    assert_eq!((&before[0], &before[1]), (&json!(3), &before[2]));
    // The first of them goes away, so that the rows move up.
    let first = queue.get_ranges(&[JobState::Waiting], 0, 0, oxmq::queue::Order::Ascending).await.unwrap().remove(0);
    queue.job(&first).remove().await.unwrap();
    chrome.sees("waiting 33").await;
    let after = chrome.script(place).await;
    assert_eq!(after, json!([2, before[1], before[1]]));
    chrome.press("j").await;
    assert_eq!(chrome.script(place).await[0], 3);
    chrome.close().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs chromium and chromedriver: make test-dashboard"]
async fn enter_in_a_field_of_an_action_does_that_action() {
    let shop = Shop::open(|dashboard| dashboard).await;
    let chrome = Chrome::open(1280, 900, false).await;
    let photos: Queue = shop.fixture.client.queue("photos").open().unwrap();
    chrome.go(&format!("{}/queue/photos?state=delayed", shop.url)).await;
    chrome.click("(//input[@name='id'])[1]").await;
    chrome.click("//div[@class='choice']//summary[text()='Priority…']").await;
    chrome.click("//div[@class='choice']//input[@name='priority']").await;
    chrome.press(&format!("9{ENTER}")).await;
    chrome.sees("1 job: priority 9.").await;
    let counts = photos.get_job_counts(&[JobState::Delayed, JobState::Failed]).await.unwrap();
    assert_eq!((counts.delayed, counts.failed), (1, 0));
    chrome.close().await;
}
