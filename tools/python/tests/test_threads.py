"""Many threads, loops of asyncio, interrupts."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from conftest import DOCUMENTS, QUERY

import crossrank

PAIRS = [(QUERY, f"{document} {i}") for document in DOCUMENTS for i in range(20)]


def test_threads_share_a_model(model: crossrank.CrossEncoder) -> None:
    expected = model.predict(PAIRS).tolist()
    ranking = model.rank(QUERY, DOCUMENTS)
    with ThreadPoolExecutor(8) as pool:
        scores = [pool.submit(model.predict, PAIRS) for _ in range(40)]
        rankings = [pool.submit(model.rank, QUERY, DOCUMENTS) for _ in range(40)]
        assert all(score.result(120).tolist() == expected for score in scores)
        assert all(found.result(120) == ranking for found in rankings)


def test_a_model_that_is_deleted_while_others_use_it(folder: str) -> None:
    encoder = crossrank.CrossEncoder(folder, threads=2)
    expected = encoder.predict(PAIRS).tolist()
    began, results = threading.Barrier(5), []

    def score(own: crossrank.CrossEncoder) -> None:
        began.wait(60)
        for _ in range(5):
            results.append(own.predict(PAIRS).tolist())

    threads = [threading.Thread(target=score, args=(encoder,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    began.wait(60)
    del encoder
    for thread in threads:
        thread.join(120)
    assert results == [expected] * 20


def test_other_threads_run_while_one_scores(model: crossrank.CrossEncoder) -> None:
    over, counted = threading.Event(), 0

    def score() -> None:
        model.predict(PAIRS * 50)
        over.set()

    thread = threading.Thread(target=score)
    thread.start()
    while not over.wait(0.0005):
        counted += 1
    thread.join()
    assert counted > 0


def test_a_loop_runs_while_a_call_scores(model: crossrank.CrossEncoder) -> None:
    async def main() -> int:
        turns = 0
        call = asyncio.create_task(model.apredict(PAIRS * 20))
        while not call.done():
            turns += 1
            await asyncio.sleep(0)
        assert (await call).tolist() == model.predict(PAIRS * 20).tolist()
        return turns

    assert asyncio.run(main()) > 1


def test_calls_of_a_loop_are_as_the_others(model: crossrank.CrossEncoder) -> None:
    async def main() -> None:
        rankings = await asyncio.gather(*(model.arank(QUERY, DOCUMENTS, top_k=k) for k in range(6)))
        assert rankings == [model.rank(QUERY, DOCUMENTS, top_k=k) for k in range(6)]
        assert await model.apredict((QUERY, "sea")) == model.predict((QUERY, "sea"))
        options: dict[str, Any] = {"return_documents": True, "return_tokens": True, "long": "max", "min_score": 0.001}
        assert await model.arank(QUERY, DOCUMENTS, **options) == model.rank(QUERY, DOCUMENTS, **options)
        with pytest.raises(crossrank.InputError, match=r"documents\[0\]"):
            await model.arank(QUERY, [None])
        with pytest.raises(TypeError, match="convert_to_tensor"):
            await model.apredict([], convert_to_tensor=True)

    asyncio.run(main())


#: A call that would take the better part of an hour.
LONG = """
import asyncio, os, signal, sys, threading
import crossrank
model = crossrank.CrossEncoder()
pair = ("where do rivers go", "rivers go to the sea " * 120)
pairs = [pair] * 200_000
def alive():
    return bool(model.predict(pair) > 0)
"""


@pytest.mark.parametrize(
    "call",
    ["model.predict(pairs)", "model.predict_columns([pair[0]] * 200_000, [pair[1]] * 200_000)",
     "model.rank(pair[0], [f'{pair[1]} {i}' for i in range(200_000)])",
     "model.rank(pair[0], [f'{pair[1]} {i}' for i in range(200_000)], long='max')"],
)
def test_ctrl_c_ends_a_long_call(python: Callable[..., str], call: str) -> None:
    program = f"""
def interrupt(*_):
    os.kill(os.getpid(), signal.SIGINT)
signal.signal(signal.SIGALRM, interrupt)
signal.setitimer(signal.ITIMER_REAL, 1.0)
try:
    {call}
except KeyboardInterrupt:
    print("interrupted", alive())
"""
    assert python(LONG + program) == "interrupted True\n"


def test_ctrl_c_between_two_looks_at_progress(python: Callable[..., str]) -> None:
    program = """
from crossrank import _progress
_progress.Bar.update = lambda self, done: os.kill(os.getpid(), signal.SIGINT) if done else None
try:
    model.predict(pairs, show_progress_bar=True)
except KeyboardInterrupt:
    print("interrupted", alive())
"""
    assert python(LONG + program) == "interrupted True\n"


def test_an_error_of_progress_ends_the_call(python: Callable[..., str]) -> None:
    program = """
from crossrank import _progress
def fail(self, done):
    raise OSError("no terminal")
_progress.Bar.update = fail
try:
    model.predict(pairs, show_progress_bar=True)
except OSError as error:
    print(error, alive())
"""
    assert python(LONG + program) == "no terminal True\n"


@pytest.mark.parametrize("call", ["apredict(pairs)", "arank(pair[0], [f'{pair[1]} {i}' for i in range(200_000)])"])
def test_a_cancelled_call_ends(python: Callable[..., str], call: str) -> None:
    program = f"""
async def main():
    try:
        await asyncio.wait_for(model.{call}, 0.5)
    except asyncio.TimeoutError:
        print("cancelled")
# It waits for the thread of the call.
asyncio.run(main())
print(alive())
"""
    assert python(LONG + program) == "cancelled\nTrue\n"
