"""A table of pairs for Ray and Spark, and what one process makes of it."""

from collections.abc import Callable
from typing import Any

import pyarrow as pa
from needs import MODEL

from crossrank import table

WORDS = "sky blue noon trains run Tokyo desert cold night 東京 naïve 😀 river bread oven heat escape dry air".split()


def pairs(queries: int = 12, documents: int = 25) -> pa.Table:
    """Pairs of all lengths: empty texts, texts that are cut, the same pair several times, text beyond the BMP. A document's
    id comes again with another query."""
    rows = []
    for q in range(queries):
        query = " ".join(WORDS[(q * 5 + i) % len(WORDS)] for i in range(q % 6 + 1))
        for d in range(documents):
            words = [WORDS[(q * 7 + d * 3 + i * (d % 4 + 1)) % len(WORDS)] for i in range((d * d) % 90)]
            rows.append({"query_id": f"q{q}", "document_id": f"d{d}", "query": query, "document": " ".join(words)})
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    # Not the last column, and one that no test scores: columns must stay where they are.
    return pa.table({"row": pa.array(range(len(rows)), pa.int64()), **columns, "extra": [i / 8 for i in range(len(rows))]})


def expected(given: pa.Table, **arguments: Any) -> pa.Table:
    """What one process gives."""
    return table.rerank(given, MODEL, **arguments)


def dies_once(folder: str) -> Callable[[Any], Any]:
    """An activation that kills its process the first time it is called, and changes nothing afterwards."""

    def activation(scores: Any) -> Any:
        import os
        import signal

        try:
            os.close(os.open(os.path.join(folder, "died"), os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return scores
        os.kill(os.getpid(), signal.SIGKILL)

    return activation


def unchanged(scores: Any) -> Any:
    """An activation that changes nothing: logits."""
    return scores
