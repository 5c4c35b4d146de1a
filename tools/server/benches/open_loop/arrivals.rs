//! Requests at times that were drawn before.

use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::client::{Answer, Client};

/// When requests are due, and which body each has.
pub type Schedule = Vec<(Duration, Bytes)>;

/// Arrivals of a Poisson process of `rate` a second for so long; bodies in turn.
pub fn poisson(bodies: &[Bytes], rate: f64, length: Duration, seed: u64) -> Schedule {
    let mut random = fastrand::Rng::with_seed(seed);
    let (mut at, mut schedule) = (0.0, vec![]);
    loop {
        at -= (1.0 - random.f64()).ln() / rate;
        if at >= length.as_secs_f64() {
            return schedule;
        }
        schedule.push((Duration::from_secs_f64(at), bodies[schedule.len() % bodies.len()].clone()));
    }
}

/// What came of a schedule.
pub struct Outcome {
    /// By number in the schedule.
    pub answers: Vec<Answer>,
    /// From the first due time to the last answer.
    pub length: Duration,
    /// Share of one core that this process took.
    pub own_cpu: f64,
    /// How late the latest request left here.
    pub latest: Duration,
}

/// Sends each request when it is due, whatever became of those before it.
pub fn run(client: &Client, schedule: &Schedule) -> Outcome {
    let (to, mut from) = mpsc::unbounded_channel();
    let cpu = cpu_seconds();
    let start = Instant::now() + Duration::from_millis(5);
    let mut latest = Duration::ZERO;
    for (number, (at, body)) in schedule.iter().enumerate() {
        let due = start + *at;
        if let Some(wait) = due.checked_duration_since(Instant::now()) {
            std::thread::sleep(wait);
        }
        latest = latest.max(due.elapsed());
        let (to, sender, body) = (to.clone(), client.sender(), body.clone());
        client.runtime.spawn(async move {
            let answer = sender.send(body, due).await;
            // It is read below.
            let _ = to.send((number, answer));
        });
    }
    drop(to);
    let mut answers: Vec<Option<Answer>> = schedule.iter().map(|_| None).collect();
    while let Some((number, answer)) = from.blocking_recv() {
        answers[number] = Some(answer);
    }
    let length = start.elapsed();
    let own_cpu = (cpu_seconds() - cpu) / length.as_secs_f64();
    Outcome { answers: answers.into_iter().flatten().collect(), length, own_cpu, latest }
}

/// What this process has taken of processors, in seconds.
fn cpu_seconds() -> f64 {
    const TICKS: f64 = 100.0;
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let field = |i: usize| fields.get(i).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
    (field(11) + field(12)) / TICKS
}
