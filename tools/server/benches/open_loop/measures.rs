//! What is measured, a line of JSON each.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use crossrank::{RerankOptions, Reranker, ScoreMode};
use serde_json::{Value, json};

use crate::arrivals::{Outcome, poisson, run};
use crate::client::{Answer, Client, Direct};
use crate::requests::{Kind, Requests, Texts};

type Done = Result<(), Box<dyn std::error::Error>>;

/// How many times the unloaded p50 an answer may take to count.
const WITHIN: u32 = 10;

fn ms(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e5).round() / 100.0
}

fn percentile(latencies: &mut [Duration], of_100: f64) -> Duration {
    latencies.sort_unstable();
    let rank = (latencies.len() as f64 * of_100 / 100.0).ceil() as usize;
    latencies.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

/// Median of requests one after the other.
fn unloaded(client: &Client, bodies: &[Bytes]) -> Result<Duration, String> {
    let mut latencies = vec![];
    for i in 0..60 {
        let answer = client.send(&bodies[i % bodies.len()]);
        if !answer.ok() {
            return Err(format!("{:?}: {}", answer.status, String::from_utf8_lossy(&answer.body)));
        }
        // The first ones warm it up.
        if i >= 10 {
            latencies.push(answer.latency);
        }
    }
    Ok(percentile(&mut latencies, 50.0))
}

fn describe(outcome: &Outcome, within: Duration) -> Value {
    let good = outcome.answers.iter().filter(|answer| answer.ok() && answer.latency <= within).count();
    let count = |status: Option<u16>| {
        outcome.answers.iter().filter(|answer| answer.status.map(|status| status.as_u16()) == status).count()
    };
    let mut latencies: Vec<_> =
        outcome.answers.iter().filter(|answer| answer.ok()).map(|answer| answer.latency).collect();
    json!({
        "requests": outcome.answers.len(), "answered_200": count(Some(200)), "answered_429": count(Some(429)),
        "without_answer": count(None), "good": good,
        "goodput_a_second": good as f64 / outcome.length.as_secs_f64(),
        "p50_ms": ms(percentile(&mut latencies, 50.0)), "p99_ms": ms(percentile(&mut latencies, 99.0)),
        "generator_cores": outcome.own_cpu, "sent_late_ms": ms(outcome.latest),
    })
}

/// The capacity by halving, to 3 %; then what other rates do.
pub fn capacity(client: &Client, bodies: &[Bytes], seed: u64, seconds: Duration) -> Done {
    let p50 = unloaded(client, bodies)?;
    let within = p50 * WITHIN;
    println!("{}", json!({ "unloaded_p50_ms": ms(p50) }));
    let trial = |rate: f64| {
        let outcome = run(client, &poisson(bodies, rate, seconds, seed));
        let mut line = describe(&outcome, within);
        let passes = line["good"].as_f64().unwrap_or(0.0) >= 0.99 * outcome.answers.len() as f64;
        line["rate"] = json!(rate);
        line["passes"] = json!(passes);
        println!("{line}");
        passes
    };
    let (mut low, mut high) = (0.0, 1.0 / p50.as_secs_f64());
    while trial(high) {
        (low, high) = (high, high * 1.5);
    }
    while high - low > 0.03 * high {
        let rate = (low + high) / 2.0;
        if trial(rate) { low = rate } else { high = rate }
    }
    println!("{}", json!({ "capacity_a_second": low }));
    for share in [0.6, 0.8, 1.0, 2.0] {
        let outcome = run(client, &poisson(bodies, low * share, seconds, seed + 1));
        let mut line = describe(&outcome, within);
        line["share_of_capacity"] = json!(share);
        line["p99_of_unloaded_p50"] = json!(line["p99_ms"].as_f64().unwrap_or(0.0) / ms(p50));
        println!("{line}");
    }
    Ok(())
}

/// As many singles as requests of 50, or so many as make up a share of the work, at 80 % of capacity together.
pub fn mixed(
    client: &Client,
    requests: &Requests,
    (pairs, fifties): (f64, f64),
    share: Option<f64>,
    seed: u64,
    seconds: Duration,
) -> Done {
    let p50 = unloaded(client, requests.of(Kind::Pair))?;
    let together = 0.8 / (1.0 / pairs + 1.0 / fifties);
    let [of_pairs, of_fifties] =
        share.map_or([together; 2], |share| [0.8 * share * pairs, 0.8 * (1.0 - share) * fifties]);
    let singles = poisson(requests.of(Kind::Pair), of_pairs, seconds, seed);
    let larger = poisson(requests.of(Kind::Snippets50), of_fifties, seconds, seed + 1);
    let label = |kind: Kind| move |(at, body): (Duration, Bytes)| (at, body, kind);
    let mut both: Vec<_> = singles
        .into_iter()
        .map(label(Kind::Pair))
        .chain(larger.into_iter().map(label(Kind::Snippets50)))
        .collect();
    both.sort_by_key(|(at, ..)| *at);
    let kinds: Vec<Kind> = both.iter().map(|(.., kind)| *kind).collect();
    let outcome = run(client, &both.into_iter().map(|(at, body, _)| (at, body)).collect());
    for kind in [Kind::Pair, Kind::Snippets50] {
        let own =
            outcome.answers.iter().zip(&kinds).filter(|(_, own)| **own == kind).map(|(answer, _)| answer);
        let (mut latencies, mut failed) = (vec![], 0);
        own.for_each(|answer| if answer.ok() { latencies.push(answer.latency) } else { failed += 1 });
        println!(
            "{}",
            json!({
                "mixed": format!("{kind:?}"), "requests": latencies.len(), "not_200": failed,
                "p50_ms": ms(percentile(&mut latencies, 50.0)), "p99_ms": ms(percentile(&mut latencies, 99.0)),
                "single_unloaded_p50_ms": ms(p50), "generator_cores": outcome.own_cpu,
            })
        );
    }
    Ok(())
}

/// The first and the last answer of five equal clients, against the lone one; medians of 20 rounds.
pub fn five(client: &Client, bodies: &[Bytes]) -> Done {
    let (mut lone, mut firsts, mut lasts) = (vec![], vec![], vec![]);
    for round in 0..25 {
        let alone = client.send(&bodies[round % bodies.len()]);
        let schedule =
            (0..5).map(|i| (Duration::ZERO, bodies[(round + 7 * i) % bodies.len()].clone())).collect();
        let outcome = run(client, &schedule);
        if !alone.ok() || !outcome.answers.iter().all(Answer::ok) {
            return Err("a request was not answered by 200".into());
        }
        // The first ones warm it up.
        if round >= 5 {
            lone.push(alone.latency);
            firsts.push(outcome.answers.iter().map(|answer| answer.latency).min().unwrap_or_default());
            lasts.push(outcome.answers.iter().map(|answer| answer.latency).max().unwrap_or_default());
        }
    }
    let [lone, first, last] =
        [lone, firsts, lasts].map(|mut times| percentile(&mut times, 50.0).as_secs_f64());
    println!(
        "{}",
        json!({ "lone_ms": lone * 1e3, "first_of_lone": first / lone, "last_of_lone": last / lone })
    );
    Ok(())
}

/// What HTTP adds to the library, by turns.
pub fn alone(mut direct: Direct, requests: &Requests, kind: Kind, library: &Reranker, rounds: usize) -> Done {
    let body = &requests.of(kind)[0];
    let texts: Texts = serde_json::from_slice(body)?;
    let options = RerankOptions::default().score(ScoreMode::Sigmoid);
    let (mut over_http, mut by_library) = (vec![], vec![]);
    for round in 0..rounds + 10 {
        let start = Instant::now();
        let ranking = library.rerank(&texts.query, &texts.documents, &options)?;
        let library_time = start.elapsed();
        let start = Instant::now();
        let answer = direct.send(body)?;
        let http_time = start.elapsed();
        let results: Value = serde_json::from_slice(&answer)?;
        if results["results"][0]["index"].as_u64() != ranking.first().map(|first| first.index as u64) {
            return Err(format!("expected the library's order, found {results}").into());
        }
        if round >= 10 {
            over_http.push(http_time);
            by_library.push(library_time);
        }
    }
    let [http, library] =
        [over_http, by_library].map(|mut times| percentile(&mut times, 50.0).as_secs_f64() * 1e3);
    println!(
        "{}",
        json!({ "kind": format!("{kind:?}"), "http_ms": http, "library_ms": library, "over_ms": http - library })
    );
    Ok(())
}

/// Scores of an answer by document, as they were written.
fn scores(body: &Bytes) -> Result<HashMap<u64, String>, Box<dyn std::error::Error>> {
    let answer: Value = serde_json::from_slice(body)?;
    let results = answer["results"].as_array().ok_or("expected `results`")?;
    let score = |result: &Value| Some((result["index"].as_u64()?, result["relevance_score"].to_string()));
    Ok(results.iter().filter_map(score).collect())
}

/// Resident memory of a process, in MB.
fn resident(pid: u32) -> Result<f64, Box<dyn std::error::Error>> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).ok_or("expected VmRSS")?;
    let kilobytes: f64 = line.split_whitespace().nth(1).ok_or("expected a number")?.parse()?;
    Ok(kilobytes / 1e3)
}

/// One rate, minute by minute; fails if an answer is lost or differs from the one given alone.
pub fn soak(client: &Client, bodies: &[Bytes], rate: f64, seed: u64, minutes: f64, pid: u32) -> Done {
    let mut expected = HashMap::new();
    for body in bodies {
        let answer = client.send(body);
        if !answer.ok() {
            return Err(format!("{:?}: {}", answer.status, String::from_utf8_lossy(&answer.body)).into());
        }
        expected.insert(body.clone(), scores(&answer.body)?);
    }
    let (mut wrong, mut lost, mut refused, mut right) = (0, 0, 0, 0);
    for minute in 0..minutes.ceil() as u64 {
        let length = Duration::from_secs_f64(60.0_f64.min((minutes - minute as f64) * 60.0));
        let schedule = poisson(bodies, rate, length, seed + minute);
        let outcome = run(client, &schedule);
        for (answer, (_, body)) in outcome.answers.iter().zip(&schedule) {
            match answer.status.map(|status| status.as_u16()) {
                Some(200) if scores(&answer.body).is_ok_and(|found| Some(&found) == expected.get(body)) => {
                    right += 1
                }
                Some(200) => wrong += 1,
                Some(429) => refused += 1,
                _ => lost += 1,
            }
        }
        let mut line = describe(&outcome, Duration::MAX);
        line["minute"] = json!(minute + 1);
        line["resident_mb"] = json!(resident(pid)?);
        println!("{line}");
    }
    println!("{}", json!({ "right": right, "wrong": wrong, "lost": lost, "refused_429": refused }));
    if wrong + lost > 0 { Err("answers were wrong or lost".into()) } else { Ok(()) }
}
