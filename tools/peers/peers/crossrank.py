"""crossrank, run as its users run it: the command line."""

import json
import math
import subprocess
import tempfile
from pathlib import Path

from peers.errors import Refused, SetupError
from peers.texts import Pairs, Workload

BENCH_KEYS = (
    "workload",
    "dtype",
    "threads",
    "isa",
    "pairs",
    "tokens",
    "runs",
    "p50_ms",
    "p90_ms",
    "p99_ms",
    "tokenise_ms",
    "forward_ms",
    "peak_rss_mb",
)


class Crossrank:
    """The binary with a model and a number of threads."""

    def __init__(self, binary: Path, model: Path, threads: int) -> None:
        if not binary.is_file():
            raise SetupError(f"--crossrank {binary}: no such file; `cargo build --release -p crossrank-cli` makes it")
        self.binary = binary
        self.model = model
        self.threads = threads

    def run(self, command: str, dtype: str, *arguments: str) -> str:
        """stdout of a command. A dtype or command that the binary does not have is a refusal, not a crash."""
        whole = [str(self.binary), command, "--model", str(self.model), "--dtype", dtype]
        whole += ["--threads", str(self.threads), *arguments]
        try:
            done = subprocess.run(whole, capture_output=True, text=True, encoding="utf-8", check=False)
        except OSError as error:
            raise SetupError(f"--crossrank {self.binary}: {error.strerror}") from error
        if done.returncode != 0:
            said = [line for line in done.stderr.splitlines() if "error:" in line] or [f"exit code {done.returncode}"]
            raise Refused(f"crossrank {command} --dtype {dtype}: {said[0].strip()}")
        return done.stdout

    def version(self) -> str:
        """What the binary calls itself."""
        done = subprocess.run([str(self.binary), "--version"], capture_output=True, text=True, check=False)
        return done.stdout.strip()

    def quantize(self, out: Path, evaluated: Path, logits: Path, arguments: list[str]) -> dict:
        """The line that `quantize --verify` gives. A gate that fails has exit code 1, too, but gives its line before."""
        command = [str(self.binary), "quantize", str(self.model), str(out), "--verify", str(evaluated)]
        command += ["--logits", str(logits), "--format", "json", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=False)
        try:
            line = json.loads(done.stdout)
            return line | {"fidelity": line["fidelity"]}
        except (ValueError, TypeError, KeyError) as error:
            said = [line for line in done.stderr.splitlines() if "error:" in line] or [f"exit code {done.returncode}"]
            raise SetupError(f"crossrank quantize --verify {evaluated}: {said[0].strip()}") from error

    def score(self, dtype: str, pairs: Pairs) -> list[list[float]]:
        """Logits of the pairs, in order."""
        rows = [json.dumps({"query": query, "document": document}) for query, document in pairs]
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "pairs.jsonl"
            file.write_text("\n".join(rows) + "\n", "utf-8")
            lines = [json.loads(line) for line in self.run("score", dtype, str(file)).splitlines()]
        if [line.get("index") for line in lines] != list(range(len(pairs))):
            raise Refused(
                f"crossrank score --dtype {dtype}: {len(lines)} lines for {len(pairs)} pairs, or out of order"
            )
        return [line["logits"] for line in lines]

    def time(self, dtype: str, workload: Workload, seconds: float) -> dict:
        """The line that `bench` gives for one workload."""
        content = {workload.name: {"query": workload.query, "docs": workload.documents}}
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "workload.json"
            file.write_text(json.dumps(content), "utf-8")
            options = ["--workload", str(file), "--seconds", str(seconds), "--format", "json"]
            lines = self.run("bench", dtype, *options).splitlines()
        if len(lines) != 1:
            raise Refused(f"crossrank bench --dtype {dtype}: {len(lines)} lines where one was expected")
        line = json.loads(lines[0])
        missing = [key for key in BENCH_KEYS if key not in line]
        if missing:
            raise Refused(f"crossrank bench --dtype {dtype}: no {', '.join(missing)} in its line")
        if line["workload"] != workload.name or line["pairs"] != len(workload.documents):
            raise Refused(f"crossrank bench --dtype {dtype}: ran {line['workload']!r}, {line['pairs']} pairs")
        if not (math.isfinite(line["p50_ms"]) and line["p50_ms"] > 0):
            raise Refused(f"crossrank bench --dtype {dtype}: p50_ms is {line['p50_ms']}")
        return line
