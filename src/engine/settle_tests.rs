//! Many outcomes in one call against the same outcomes one by one.

use std::sync::Arc;

use super::Engine;
use super::testing::queue;
use crate::error::Reason;
use crate::script::settle::{Ask, End, KEEP_ALL, Outcome};

fn done(id: &str, token: &str) -> Outcome {
    let end = End::Completed { value: format!("\"{id}\""), keep: KEEP_ALL.into(), made: Some(3) };
    Outcome { id: id.into(), token: token.into(), start: 1, end }
}

/// A queue with this many active jobs, the first of which began first.
async fn active(count: usize) -> Engine {
    let engine = queue().await;
    engine.redis("HSET @meta opts.maxLenEvents 10000").await;
    for n in 0..count {
        engine.store(&format!("j{n}"), &[("ats", "1"), ("atm", "2")]).await;
        engine.redis(&format!("SET @j{n}:lock t")).await;
        engine.redis(&format!("LPUSH @active j{n}")).await;
    }
    engine
}

async fn settle(engine: &Engine, outcomes: &[Outcome]) -> Vec<Result<i64, Reason>> {
    let decided = engine.settle(&mut Ask::default(), outcomes, || Arc::from("u")).await.unwrap();
    decided.settled.codes
}

/// All that the queue holds, as texts.
async fn contents(engine: &Engine, count: usize) -> Vec<String> {
    let mut all = vec![
        engine.says("LRANGE @active 0 -1").await,
        engine.says("ZRANGE @completed 0 -1 WITHSCORES").await,
        engine.left().await.join(" "),
    ];
    for n in 0..count {
        all.push(engine.says(&format!("HGETALL @j{n}")).await);
    }
    all.extend(engine.events().await);
    all.iter().map(|text| text.replace(engine.keys.base(), "@")).collect()
}

type Codes = Vec<Result<i64, Reason>>;

/// Settles the outcomes in one call, and in another queue one by one: the codes and the contents of each.
async fn both_ways(count: usize, outcomes: &[Outcome], prepare: impl AsyncFn(&Engine)) -> [(Codes, Vec<String>); 2] {
    let (together, alone) = (active(count).await, active(count).await);
    prepare(&together).await;
    prepare(&alone).await;
    let codes = settle(&together, outcomes).await;
    let mut codes_alone = Vec::new();
    for outcome in outcomes {
        codes_alone.extend(settle(&alone, std::slice::from_ref(outcome)).await);
    }
    [(codes, contents(&together, count).await), (codes_alone, contents(&alone, count).await)]
}

#[tokio::test]
async fn jobs_end_together_as_they_end_one_by_one() {
    // Of 1 to 60 jobs out of 90: in the order in which they began, the other way round, and in none.
    for count in [1, 2, 3, 8, 25, 60] {
        let orders: [Box<dyn Fn(usize) -> usize>; 3] =
            [Box::new(|n| n), Box::new(|n| 89 - n), Box::new(|n| (n * 37 + 11) % 90)];
        for order in orders {
            let outcomes: Vec<Outcome> = (0..count).map(|n| done(&format!("j{}", order(n)), "t")).collect();
            let [together, alone] = both_ways(90, &outcomes, async |_: &Engine| {}).await;
            assert_eq!(together, alone);
            assert_eq!(together.0, vec![Ok(0); count]);
            assert_eq!(together.1[0].split(' ').count(), 90 - count);
        }
    }
}

#[tokio::test]
async fn one_that_is_refused_leaves_its_neighbours_alone() {
    let mut outcomes: Vec<Outcome> = (0..30).rev().map(|n| done(&format!("j{n}"), "t")).collect();
    outcomes[3].token = "another's".into();
    outcomes.push(done("j7", "t"));
    outcomes.push(done("gone", "t"));
    let prepare = async |engine: &Engine| {
        engine.redis("LREM @active 1 j5").await;
        engine.redis("DEL @j9:lock").await;
        engine.redis("HSET @j12 parentKey @mum").await;
        engine.store("mum", &[]).await;
        engine.redis("ZADD @waiting-children 1 mum").await;
        engine.redis("SADD @mum:dependencies @j12").await;
    };
    // With a missing job among them nothing is taken for granted, and each is looked at alone.
    for count in [31, 32] {
        let [mut together, mut alone] = both_ways(40, &outcomes[..count], prepare).await;
        let codes = &together.0;
        assert_eq!(codes[3], Err(Reason::LockMismatch));
        assert_eq!(codes[29 - 9], Err(Reason::MissingLock));
        assert_eq!(codes[29 - 5], Err(Reason::NotInState));
        // The second of two outcomes of one job; its lock was there when the call began.
        assert_eq!((codes[30], alone.0[30]), (Err(Reason::NotInState), Err(Reason::MissingLock)));
        assert_eq!(codes.iter().filter(|code| code.is_ok()).count(), 27);
        assert_eq!(together.1[0].split(' ').count(), 40 - 27 - 1);
        together.0[30] = alone.0[30];
        // The child goes after the others.
        together.1.sort();
        alone.1.sort();
        assert_eq!(together, alone);
    }
}
