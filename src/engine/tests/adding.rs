//! Ids of new jobs.

use crate::engine::testing::queue;
use crate::script::Call;

#[tokio::test]
async fn a_counter_that_lags_is_overtaken_in_a_few_steps() {
    let queue = queue().await;
    let fill = "for i = 1, 50000 do redis.call('HSET', KEYS[1] .. i, 'name', 'n', 'data', '{}') end";
    queue.redis_words(&["EVAL", fill, "1", queue.keys.base()]).await;
    let job = ["w", "", "n", "{}", "{}", "1"];
    let call = Call::to(&crate::script::add_jobs::SCRIPT).texts([job, job, job].concat());
    queue.redis("CONFIG RESETSTAT").await;
    queue.call(call).await.unwrap();
    // Each number that is taken costs a step; if the steps did not double there would be 50,000 of them.
    let stats = queue.says("INFO commandstats").await;
    let calls = stats.split("cmdstat_incrby:calls=").nth(1).unwrap().split(',').next().unwrap().parse::<u32>().unwrap();
    assert!(calls < 1_000, "{calls} steps");
    let waiting = queue.says("LRANGE @wait 0 -1").await;
    let ids: std::collections::BTreeSet<u64> = waiting.split(' ').map(|id| id.parse().unwrap()).collect();
    assert_eq!(ids.len(), 3);
    assert!(ids.iter().all(|id| (50_001..200_000).contains(id)), "{ids:?}");
}
