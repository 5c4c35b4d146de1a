"""On what, with what, and how a record was made. No host names and no paths: records are published."""

import datetime
import os
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from peers.defaults import ROOT

# The flags that decide which kernels an engine takes.
FLAGS = (
    "avx2 fma avx_vnni avx512f avx512bw avx512vl avx512_vnni avx512_bf16 avx512_fp16 amx_tile amx_int8 amx_bf16 "
    "neon asimd asimddp i8mm bf16 sve"
).split()
PACKAGES = ("onnxruntime", "openvino", "nncf", "torch", "transformers", "sentence-transformers", "tokenizers", "numpy")


def cpuinfo() -> dict[str, str]:
    """The first processor's entries."""
    try:
        text = Path("/proc/cpuinfo").read_text("utf-8")
    except OSError:
        return {}
    lines = (line.split(":", 1) for line in text.split("\n\n")[0].splitlines() if ":" in line)
    return {key.strip(): value.strip() for key, value in lines}


def cache(index: int) -> str | None:
    """The size of one of the first processor's caches."""
    try:
        return Path(f"/sys/devices/system/cpu/cpu0/cache/index{index}/size").read_text("utf-8").strip()
    except OSError:
        return None


def machine() -> dict:
    """What of the machine bears on the figures."""
    info = cpuinfo()
    flags = set((info.get("flags") or info.get("Features") or "").split())
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "cpu": info.get("model name") or platform.processor() or platform.machine(),
        "cpu_id": " ".join(info[key] for key in ("cpu family", "model", "stepping") if key in info),
        "flags": [flag for flag in FLAGS if flag in flags],
        "cores": cores,
        "l2": cache(2),
        "l3": cache(3),
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
    }


def said(*command: str) -> str | None:
    """What a command prints, if it can be run."""
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def versions(crossrank: str) -> dict:
    """Of everything that took part."""
    commit = said("git", "rev-parse", "--short", "HEAD")
    # Records and the README are written by the run itself; only the engine's sources say what was measured.
    dirty = said("git", "status", "--porcelain", "--", "src", "kernels", "tools/cli", "Cargo.toml", "Cargo.lock")
    return {
        "crossrank": crossrank,
        "commit": f"{commit} with changes" if commit and dirty else commit,
        "rustc": (said("rustc", "-vV") or "").splitlines(),
        "python": platform.python_version(),
        **{name: version(name) for name in PACKAGES},
    }


def instruction_set(binary: Path) -> str | None:
    """The one that crossrank takes here, as `inspect` says."""
    lines = (said(str(binary.resolve()), "inspect") or "").splitlines()
    return next((line.split()[-1] for line in lines if line.startswith("instruction")), None)


def cut(word: str) -> str:
    """A word of a command line: of an absolute path the last part."""
    return word.rsplit("/", 1)[-1] if word.startswith("/") else word


def command() -> str:
    """The command line as it was typed, with absolute paths cut to their last part."""
    script = os.path.relpath(Path(sys.argv[0]).resolve(), ROOT)
    return " ".join(["python", script, *map(cut, sys.argv[1:])])


def today() -> str:
    """The day, in UTC."""
    return datetime.datetime.now(datetime.UTC).date().isoformat()
