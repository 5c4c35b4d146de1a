"""Compares `crossrank eval` with pytrec_eval (trec_eval 9.0.8's C code) and ir-measures on random judgements and runs.

    pip install -r tools/reference/requirements-eval.txt
    cargo build --release -p crossrank-cli
    python tools/reference/eval_peers.py target/release/crossrank [--cases 300] [--seed 1]

Runs have equal and nearly equal scores, grades below 0, queries without results or judgements or relevant documents, ids
whose bytes and letters differ in order. Each query's figures, and the means of both rules, must agree to 1e-4; p-values
must agree with a test of its own that goes through all signs. The files of a case that does not agree are kept.

ir-measures' RR@k and Judged@k rank equal scores by another rule, so that only runs without equal scores are compared
by them.
"""

import argparse
import itertools
import json
import math
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import ir_measures
import numpy as np
import pytrec_eval

TREC = {
    "ndcg": "ndcg",
    "ndcg@5": "ndcg_cut_5",
    "ndcg@10": "ndcg_cut_10",
    "mrr": "recip_rank",
    "map": "map",
    "p@5": "P_5",
    "p@10": "P_10",
    "recall@5": "recall_5",
    "recall@10": "recall_10",
}
IR_MEASURES = {"mrr@3": "RR@3", "judged@4": "Judged@4"}
MEASURES = {"ndcg", "ndcg_cut.5,10", "recip_rank", "map", "P.5,10", "recall.5,10"}
TOLERANCE = 1e-4


def document(rng):
    number = rng.randrange(40)
    return rng.choice([f"d{number}", f"d{number:02}", f"D{number}", f"é{number}", f"東{number}"])


def score(rng, kind):
    if kind == "equal":
        return str(rng.choice([1, 2, 2.5]))
    if kind == "near":
        return f"{8.607142 + rng.randrange(6) * 1e-7:.7f}"
    if kind == "odd":
        return rng.choice(["1e39", "1e40", "-1e40", "1e-46", "0.0", "-0.0", "inf", "-inf", "+3", ".5", "7."])
    return f"{rng.uniform(-10, 10):.6f}"


def case(rng):
    queries = [f"q{number}" for number in rng.sample(range(1, 30), rng.randint(1, 8))]
    qrels, run = {}, {}
    for query in queries:
        if rng.random() < 0.9:
            grades = rng.choice([(0, 1), (0, 1, 2, 3), (-2, -1, 0, 1, 2), (0, -1)])
            qrels[query] = {document(rng): rng.choice(grades) for _ in range(rng.randint(1, 25))}
            # With nothing but grades below 0 pytrec_eval 0.5.11 was seen not to return, depending on what ran before.
            if max(qrels[query].values()) < 0:
                qrels[query][document(rng)] = 0
        if rng.random() < 0.85:
            kind = rng.choice(["equal", "near", "odd", "apart", "apart"])
            known = list(qrels.get(query, {}))
            found = {rng.choice(known) if known and rng.random() < 0.5 else document(rng) for _ in range(rng.randint(1, 30))}
            run[query] = {each: score(rng, kind) for each in sorted(found)}
    return qrels, run


def write(folder, name, qrels, run, rng):
    lines = [f"{query} Q0 {each} {rng.randint(1, 99)} {value} t" for query in run for each, value in run[query].items()]
    rng.shuffle(lines)
    (folder / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    if rng.random() < 0.5:
        rows = [f"{query} 0 {each} {grade}\n" for query in qrels for each, grade in qrels[query].items()]
    else:
        rows = ["query-id\tcorpus-id\tscore\n"]
        rows += [f"{query}\t{each}\t{grade}\n" for query in qrels for each, grade in qrels[query].items()]
    (folder / "qrels").write_text("".join(rows), encoding="utf-8")


def crossrank(binary, folder, names, *more):
    metrics = ",".join([*TREC, *IR_MEASURES])
    args = [binary, "eval", "--qrels", str(folder / "qrels"), "--metrics", metrics, "--format", "json", *more]
    done = subprocess.run([*args, *(str(folder / name) for name in names)], capture_output=True, text=True)
    if done.returncode != 0:
        raise AssertionError(done.stderr)
    return [json.loads(line) for line in done.stdout.splitlines()]


def near(found, expected, what):
    if not math.isclose(found, expected, rel_tol=0, abs_tol=TOLERANCE):
        raise AssertionError(f"{what}: {found}, expected {expected}")


def distinct(scores):
    with np.errstate(over="ignore"):
        return len({np.float32(score) for score in map(float, scores.values())}) == len(scores)


def check(binary, folder, qrels, run):
    """How many figures were compared."""
    rows = crossrank(binary, folder, ["run"], "--per-query")
    ours = {row["query"]: row["metrics"] for row in rows[:-1]}
    if set(ours) != set(qrels) or list(ours) != sorted(ours, key=str.encode):
        raise AssertionError(f"queries: {list(ours)}, expected {sorted(qrels)}")
    floats = {query: {each: float(value) for each, value in run[query].items()} for query in run}
    theirs = pytrec_eval.RelevanceEvaluator(qrels, MEASURES).evaluate(floats)
    compared = 0
    for query in qrels:
        for metric, name in TREC.items():
            near(ours[query][metric], theirs.get(query, {}).get(name, 0.0), f"{query} {metric}")
            compared += 1
    answered = [query for query in qrels if query in theirs]
    for row, over in [(rows[-1], list(qrels)), (crossrank(binary, folder, ["run"], "--retrieved-only")[-1], answered)]:
        for metric, name in TREC.items():
            mean = sum(theirs.get(query, {}).get(name, 0.0) for query in over) / len(over)
            near(row["metrics"][metric], mean, f"mean of {metric}")
            compared += 1
        counts = {"judged": len(qrels), "answered": len(answered), "missing": len(qrels) - len(answered)}
        if row["queries"] != counts:
            raise AssertionError(f"queries: {row['queries']}, expected {counts}")
    measures = [ir_measures.parse_measure(name) for name in IR_MEASURES.values()]
    names = {str(measure): metric for measure, metric in zip(measures, IR_MEASURES)}
    apart = {query: floats[query] for query in answered if distinct(run[query])}
    for found in ir_measures.iter_calc(measures, {query: qrels[query] for query in apart}, apart) if apart else []:
        metric = names[str(found.measure)]
        near(ours[found.query_id][metric], found.value, f"{found.query_id} {metric}")
        compared += 1
    return compared


def check_two(binary, folder, qrels):
    """The p-values, by all signs of at most 2 to the power of 8 queries."""
    rows = crossrank(binary, folder, ["run", "other"], "--per-query")
    per_query = {}
    for row in rows:
        if row.get("query") in qrels and "queries" not in row:
            per_query.setdefault(row["run"], []).append(row["metrics"])
    a, b = (per_query[str(folder / name)] for name in ("run", "other"))
    found = [row for row in rows if "metric" in row]
    if [row["metric"] for row in found] != [*TREC, *IR_MEASURES]:
        raise AssertionError(f"compared: {found}")
    for row in found:
        metric = row["metric"]
        differences = [y[metric] - x[metric] for x, y in zip(a, b)]
        mean = sum(differences) / len(differences)
        near(row["delta"], mean, f"delta of {metric}")
        signs = list(itertools.product([1, -1], repeat=len(differences)))
        as_far = [abs(sum(s * d for s, d in zip(choice, differences))) >= abs(sum(differences)) - 1e-9 for choice in signs]
        near(row["p_value"], sum(as_far) / len(signs), f"p of {metric}")
    return 2 * len(found)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary")
    parser.add_argument("--cases", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    cases = compared = 0
    for number in itertools.count():
        if cases == args.cases:
            break
        rng = random.Random(f"{args.seed}/{number}")
        qrels, run = case(rng)
        other = {query: {each: score(rng, "apart") for each in run[query]} for query in run}
        if not set(qrels) & set(run):
            continue
        folder = Path(tempfile.mkdtemp(prefix="eval-peers-"))
        write(folder, "other", qrels, other, rng)
        write(folder, "run", qrels, run, rng)
        try:
            compared += check(args.binary, folder, qrels, run) + check_two(args.binary, folder, qrels)
        except AssertionError as error:
            sys.exit(f"case {number}: {error}; its files are in {folder}")
        shutil.rmtree(folder)
        cases += 1
    print(f"{cases} cases, {compared} figures agree to {TOLERANCE}")


if __name__ == "__main__":
    main()
