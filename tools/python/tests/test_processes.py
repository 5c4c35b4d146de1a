"""Forks after loading, workers of gunicorn, processes of multiprocessing, pickles."""

from __future__ import annotations

import copy
import json
import pickle
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import DOCUMENTS, QUERY

import crossrank

FORK = """
import os, signal, sys, threading, warnings
warnings.simplefilter("ignore")
import crossrank

def in_a_fork(run):
    child = os.fork()
    if child == 0:
        signal.alarm(90)
        try:
            os._exit(0 if run() else 1)
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(2)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

model = crossrank.CrossEncoder(sys.argv[1], threads=int(sys.argv[2]))
pairs = [("where do rivers go", f"to the sea {i}") for i in range(300)]
expected = model.predict(pairs).tolist()
right = lambda: model.predict(pairs).tolist() == expected
"""


@pytest.mark.parametrize("threads", [1, 2])
def test_a_child_goes_on(python: Callable[..., str], folder: str, threads: int) -> None:
    program = """
print(in_a_fork(right), right())
# And its child, and one that loads its own.
print(in_a_fork(lambda: right() and in_a_fork(right) == 0 and right()))
print(in_a_fork(lambda: crossrank.CrossEncoder(sys.argv[1], threads=2).predict(pairs).tolist() == expected))
"""
    assert python(FORK + program, folder, str(threads)) == "0 True\n0\n0\n"


@pytest.mark.parametrize("threads", [1, 2])
def test_a_child_of_a_process_that_was_scoring_goes_on(python: Callable[..., str], folder: str, threads: int) -> None:
    program = """
over = threading.Event()
rounds = threading.Semaphore(0)
wrong = []

def score():
    while not over.is_set():
        if not right():
            wrong.append(1)
        rounds.release()

scorers = [threading.Thread(target=score) for _ in range(3)]
for scorer in scorers:
    scorer.start()
codes = []
for _ in range(12):
    rounds.acquire()
    codes.append(in_a_fork(right))
over.set()
for scorer in scorers:
    scorer.join()
print(codes == [0] * 12, wrong)
"""
    assert python(FORK + program, folder, str(threads)) == "True []\n"


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing(python: Callable[..., str], tmp_path: Path, folder: str, method: str) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        """
import multiprocessing, sys, warnings
warnings.simplefilter("ignore")
import crossrank

model = crossrank.CrossEncoder(sys.argv[1], threads=2)

def rank(query):
    return model.rank(query, ["to the sea", "of flour"])

if __name__ == "__main__":
    queries = [f"where do rivers go {i}" for i in range(20)]
    expected = [rank(query) for query in queries]
    with multiprocessing.get_context(sys.argv[2]).Pool(2) as pool:
        print(pool.map_async(rank, queries).get(90) == expected)
"""
    )
    command = [sys.executable, str(program), folder, method]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.stdout == "True\n", done.stderr


def test_gunicorn_with_preload(tmp_path: Path, folder: str, model: crossrank.CrossEncoder) -> None:
    (tmp_path / "app.py").write_text(
        f"""
import json, os
import crossrank

model = crossrank.CrossEncoder({folder!r}, threads=2)
loaded_in = os.getpid()
model.rank("warm", ["up"])

def app(environ, start_response):
    ranking = model.rank({QUERY!r}, {DOCUMENTS!r})
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps([loaded_in, os.getpid(), ranking]).encode()]
"""
    )
    command = [sys.executable, "-m", "gunicorn", "--preload", "--workers", "2", "--bind", "127.0.0.1:0", "app:app"]
    command += ["--no-control-socket"]
    server = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    try:
        assert server.stderr is not None
        lines: list[str] = []
        address = None
        booted = 0
        while booted < 2:
            line = server.stderr.readline()
            assert line, "".join(lines)
            lines.append(line)
            found = re.search(r"Listening at: (http://[0-9.:]+)", line)
            address = found.group(1) if found else address
            booted += "Booting worker" in line
        assert address is not None
        expected = model.rank(QUERY, DOCUMENTS)
        for _ in range(10):
            with urllib.request.urlopen(address, timeout=60) as answer:
                loaded_in, here, ranking = json.load(answer)
            assert ranking == expected and here != loaded_in == server.pid
    finally:
        server.send_signal(signal.SIGTERM)
        server.communicate(timeout=60)


def test_pickles_hold_the_folder(model: crossrank.CrossEncoder, folder: str) -> None:
    encoder = crossrank.CrossEncoder(
        folder, activation_fn="identity", max_length=40, prompts={"q": "x: "}, default_prompt_name="q"
    )
    data = pickle.dumps(encoder)
    assert len(data) < 1000, "no weights"
    found = pickle.loads(data)
    assert found.rank(QUERY, DOCUMENTS) == encoder.rank(QUERY, DOCUMENTS) != model.rank(QUERY, DOCUMENTS)
    assert (found.max_length, found.prompts, found.default_prompt_name) == (40, {"q": "x: "}, "q")


def test_a_pickle_of_a_folder_that_went(tmp_path: Path, folder: str) -> None:
    import shutil

    there = tmp_path / "model"
    shutil.copytree(folder, there)
    data = pickle.dumps(crossrank.CrossEncoder(there))
    shutil.rmtree(there)
    with pytest.raises(FileNotFoundError, match=re.escape(str(there))):
        pickle.loads(data)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_copies_share_what_is_loaded(folder: str, copied: Callable[[crossrank.CrossEncoder], crossrank.CrossEncoder]) -> None:
    encoder = crossrank.CrossEncoder(folder, prompts={"q": "x: "})
    other = copied(encoder)
    other.activation_fn = "identity"
    other.prompts["q"] = "y: "
    assert other.rank(QUERY, DOCUMENTS) == encoder.rank(QUERY, DOCUMENTS, activation_fn="identity")
    assert encoder.activation_fn is None and encoder.prompts == {"q": "x: "}
    assert other._model is encoder._model
