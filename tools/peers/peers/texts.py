"""The requests that everyone runs."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from peers.errors import SetupError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Pairs = list[tuple[str, str]]


@dataclass(frozen=True)
class Workload:
    """One request: a query and its documents."""

    name: str
    query: str
    documents: list[str]

    @property
    def pairs(self) -> Pairs:
        """As most engines want it."""
        return [(self.query, document) for document in self.documents]

    def cut(self, name: str, documents: int) -> "Workload":
        """The first documents only, for models that are too slow for all of them."""
        return Workload(name, self.query, self.documents[:documents])


def read_workloads(path: Path, names: list[str]) -> list[Workload]:
    """The workloads of a file `{name: {query, docs}}` in its order, or those of `names` only."""
    try:
        found = json.loads(path.read_text("utf-8"))
        loads = [Workload(name, str(w["query"]), [str(d) for d in w["docs"]]) for name, w in found.items()]
    except OSError as error:
        raise SetupError(f"--workloads {path}: {error.strerror}") from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise SetupError(f"--workloads {path}: expected {{name: {{query, docs}}}}: {error!r}") from error
    missing = set(names) - {load.name for load in loads}
    if missing:
        raise SetupError(f"--only {', '.join(sorted(missing))}: not in {path}")
    empty = [load.name for load in loads if not load.documents]
    if empty:
        raise SetupError(f"--workloads {path}: no documents in {', '.join(empty)}")
    return [load for load in loads if not names or load.name in names]


def read_reference(path: Path) -> tuple[Pairs, list[list[float]]]:
    """Pairs and logits of a file of `{query, document, logits}` a line."""
    try:
        rows = [json.loads(line) for line in path.read_text("utf-8").splitlines() if line.strip()]
        return [(row["query"], row["document"]) for row in rows], [row["logits"] for row in rows]
    except OSError as error:
        raise SetupError(f"--reference {path}: {error.strerror}") from error
    except (ValueError, TypeError, KeyError) as error:
        raise SetupError(f"--reference {path}: expected {{query, document, logits}} a line: {error!r}") from error


def window(model: Path) -> int:
    """The most tokens of a pair: what the positions allow, or less where the tokenizer says so."""
    tokens = int(read_config(model)["max_position_embeddings"])
    tokenizer_config = model / "tokenizer_config.json"
    if tokenizer_config.is_file():
        tokens = min(tokens, int(json.loads(tokenizer_config.read_text("utf-8")).get("model_max_length", tokens)))
    return tokens


def read_config(model: Path) -> dict:
    """`config.json` of a checkpoint folder."""
    path = model / "config.json"
    try:
        return json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise SetupError(f"--model {model}: no readable config.json: {error.strerror}") from error
    except ValueError as error:
        raise SetupError(f"{path}: {error}") from error


def read_tokenizer(model: Path) -> "Tokenizer":
    """The model's tokenizer, truncating as crossrank does by default and padding nothing."""
    from tokenizers import Tokenizer

    path = model / "tokenizer.json"
    if not path.is_file():
        raise SetupError(f"--model {model}: no tokenizer.json")
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_padding()
    tokenizer.enable_truncation(window(model), strategy="longest_first")
    return tokenizer
