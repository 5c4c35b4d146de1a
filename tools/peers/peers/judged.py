"""Texts with judgements, as `crossrank quantize --verify` reads them, and what it wrote of them with `--logits`."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from peers.errors import SetupError
from peers.ranking import Query


def lines(path: Path) -> Iterator[str]:
    """Those that are not blank. Only a line feed ends one: texts may hold every other separator of Unicode."""
    try:
        with path.open(encoding="utf-8", newline="\n") as file:
            yield from (line.rstrip("\r\n") for line in file if line.strip())
    except (OSError, UnicodeDecodeError) as error:
        raise SetupError(f"{path}: {error}") from error


def texts(path: Path) -> set[str]:
    """The texts of a file with `text` a line."""
    try:
        return {text for line in lines(path) if (text := json.loads(line)["text"].strip())}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise SetupError(f'{path}: expected JSON with "text" a line: {error!r}') from error


def single(number: float) -> float:
    """A number as the engine had it: JSON has the shortest decimals that lead back to it."""
    return float(np.float32(number))


def read_queries(folder: Path, count: int | None, logits: Path) -> list[Query]:
    """The first queries of a folder, with their judgements and their lines of the file of logits."""
    ids = [line.split("\t", 1)[0] for line in lines(folder / "queries.tsv")][:count]
    queries = {name: Query(name) for name in ids}
    try:
        for line in lines(folder / "qrels.txt"):
            name, _, document, relevance = line.split()
            if name in queries:
                queries[name].judgements[document] = int(relevance)
        for line in lines(logits):
            row = json.loads(line)
            query = queries[row["query_id"]]
            query.documents.append(row["document_id"])
            query.pairs.append((row["query"], row["document"]))
            query.reference.append(single(row["reference"]))
            query.quantized.append(single(row["quantized"]))
    except (ValueError, TypeError, KeyError) as error:
        raise SetupError(f"{folder}: not what crossrank read: {error!r}") from error
    return list(queries.values())
