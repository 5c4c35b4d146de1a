//! The queue's order, without a clock: time is the work that has been taken.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

fn pairs(works: &[u64]) -> Vec<Pair> {
    works.iter().enumerate().map(|(number, &work)| Pair { number, work }).collect()
}

fn order(queue: &mut Queue, budget: u64) -> Vec<(JobId, usize)> {
    let mut order = vec![];
    while let Some(batch) = queue.take(|_| budget) {
        order.extend(batch.pairs.iter().map(|(id, pair)| (*id, pair.number)));
    }
    order
}

#[test]
fn the_job_with_the_least_work_left_goes_first() {
    let mut queue = Queue::default();
    queue.push(0, pairs(&[10; 100]));
    queue.push(0, pairs(&[10, 10]));
    queue.push(0, pairs(&[5]));
    let order = order(&mut queue, 10);
    assert_eq!(order[..4], [(2, 0), (1, 0), (1, 1), (0, 0)]);
    assert_eq!(order.len(), 103);
    assert_eq!((queue.waiting(), queue.len()), (0, 0));
}

#[test]
fn a_stream_of_small_jobs_does_not_hold_a_large_one() {
    let mut queue = Queue::default();
    queue.push(0, pairs(&[10; 10]));
    let mut taken = 0;
    let mut left = 10;
    while left > 0 {
        queue.push(0, pairs(&[10]));
        let batch = queue.take(|_| 10).unwrap();
        taken += batch.work;
        left -= batch.pairs.iter().filter(|(id, _)| *id == 0).count();
        assert!(taken <= 120, "the large job was promised to be served by then");
    }
}

#[test]
fn a_batch_is_of_one_model_and_about_the_budget() {
    let mut queue = Queue::default();
    queue.push(0, pairs(&[30, 30, 30, 15, 15, 15]));
    queue.push(1, pairs(&[20; 4]));
    queue.push(0, pairs(&[10; 4]));
    let batch = queue.take(|_| 100).unwrap();
    // The first may wait for 27 units, a fifth of 135: two pairs of the third, then its own.
    let order: Vec<_> = batch.pairs.iter().map(|(id, pair)| (*id, pair.number)).collect();
    assert_eq!((batch.model, order), (0, vec![(2, 0), (2, 1), (0, 0), (0, 1), (0, 2)]));
    assert_eq!(batch.work, 110, "an eighth more than the budget at most");
    assert!(batch.pairs.iter().all(|(id, _)| *id != 1));
    let mut queue = Queue::default();
    queue.push(0, pairs(&[500, 1]));
    queue.push(0, pairs(&[600, 1]));
    assert_eq!(queue.take(|_| 100).unwrap().work, 500, "a pair goes whole");
}

#[test]
fn a_small_rest_of_a_job_goes_with_what_is_before_it() {
    // Half of the budget more, and not a unit beyond.
    for (last, taken) in [(10, 5), (11, 3)] {
        let mut queue = Queue::default();
        queue.push(0, pairs(&[40, 40, 30, 30, last]));
        queue.push(0, pairs(&[200]));
        assert_eq!(queue.take(|_| 100).unwrap().pairs.len(), taken);
    }
}

#[test]
fn a_job_that_is_alone_goes_whole_and_what_comes_back_keeps_its_place() {
    let mut queue = Queue::default();
    let (id, deadline) = queue.push(0, pairs(&[10; 50]));
    let batch = queue.take(|_| 20).unwrap();
    assert_eq!((batch.pairs.len(), batch.alone), (50, true));
    let (other, _) = queue.push(0, pairs(&[10]));
    queue.give_back(0, (id, deadline), batch.pairs[7..].iter().map(|(_, pair)| *pair).collect());
    let order = order(&mut queue, 10);
    assert_eq!(order[0], (other, 0));
    assert_eq!(order[1..], (7..50).map(|number| (id, number)).collect::<Vec<_>>());
}

#[test]
fn what_is_cancelled_is_gone() {
    let mut queue = Queue::default();
    let (a, _) = queue.push(0, pairs(&[10; 5]));
    let (b, _) = queue.push(0, pairs(&[20; 5]));
    queue.cancel(a);
    assert_eq!(queue.waiting(), 100);
    assert!(order(&mut queue, 10).iter().all(|(id, _)| *id == b));
    queue.cancel(b);
    assert_eq!(queue.waiting(), 0);
    assert_eq!(queue.push(0, vec![]).0, 2);
    assert_eq!(queue.take(|_| 10), None);
}

proptest! {
    /// Jobs come at any time; each ends by 1.2 times the work that was ahead when it came, and one batch, which may have
    /// been about to begin.
    #[test]
    fn every_job_is_served_by_its_deadline(
        events in prop::collection::vec(prop_oneof![
            3 => (0_usize..2, prop::collection::vec(1_u64..40, 1..20)).prop_map(Some),
            2 => Just(None),
        ], 1..120),
        budget in 1_u64..100,
        models in 1_usize..3,
    ) {
        let mut queue = Queue::default();
        let (mut served, mut left, mut due) = (0, HashMap::new(), HashMap::new());
        let take = |queue: &mut Queue, served: &mut u64, left: &mut HashMap<JobId, u64>, due: &HashMap<JobId, u64>| {
            let Some(batch) = queue.take(|_| budget) else { return Ok(false) };
            for (id, pair) in &batch.pairs {
                *served += pair.work;
                let rest = left.get_mut(id).unwrap();
                *rest -= pair.work;
                if *rest == 0 {
                    prop_assert!(*served <= due[id] + budget * 3 / 2 + 40, "{} after {}", served, due[id]);
                }
            }
            Ok(true)
        };
        for event in events {
            match event {
                Some((model, works)) => {
                    let work: u64 = works.iter().sum();
                    let ahead = queue.waiting() + work;
                    let (id, _) = queue.push(model % models, pairs(&works));
                    left.insert(id, work);
                    due.insert(id, served + ahead + ahead / 5);
                }
                None => { take(&mut queue, &mut served, &mut left, &due)?; }
            }
        }
        while take(&mut queue, &mut served, &mut left, &due)? {}
        prop_assert!(left.values().all(|work| *work == 0), "all are served");
    }
}
