"""Figures of a ranking, and of how far one is from another: `crossrank quantize --verify` computes the same ones in
Rust, and `fidelity.py` holds the two against each other. What is undefined for a query is None, and left out of means.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field

import numpy as np

DEPTH = 10


@dataclass
class Query:
    """What is known of a query, and what was scored for it."""

    id: str
    judgements: dict[str, int] = field(default_factory=dict)
    """By document: above 0 is relevant."""
    documents: list[str] = field(default_factory=list)
    pairs: list[tuple[str, str]] = field(default_factory=list)
    reference: list[float] = field(default_factory=list)
    quantized: list[float] = field(default_factory=list)

    @property
    def judged(self) -> bool:
        """Whether there is a relevant document, found or not."""
        return any(gain > 0 for gain in self.judgements.values())


@dataclass(frozen=True)
class Quality:
    """What a ranking is worth: means over the queries with a relevant document."""

    ndcg10: float
    mrr10: float


@dataclass(frozen=True)
class Figures:
    """A model's ranking held against the reference's."""

    ndcg10: float
    mrr10: float
    overlap10: float
    kendall_tau: float
    mean_delta: float
    """|logit - logit of the reference| over the standard deviation of the reference's logits."""
    worst_delta: float

    def as_dict(self) -> dict[str, float]:
        """For records."""
        return asdict(self)


def ranking(logits: Sequence[float]) -> list[int]:
    """Best first; of equal logits the first."""
    return np.argsort(-np.asarray(logits, np.float64), kind="stable").tolist()


def ndcg(gains: Sequence[int], judged: Iterable[int]) -> float | None:
    """Of the gains in their ranking, best rank first, against the ideal ranking of all that was judged."""

    def dcg(values: Sequence[int]) -> float:
        return sum(max(gain, 0) / float(np.log2(rank + 2)) for rank, gain in enumerate(values[:DEPTH]))

    ideal = dcg(sorted(judged, reverse=True))
    return dcg(gains) / ideal if ideal > 0 else None


def reciprocal_rank(gains: Sequence[int]) -> float:
    """1 / the rank of the first relevant document, 0 if none is near the top."""
    return next((1 / (rank + 1) for rank, gain in enumerate(gains[:DEPTH]) if gain > 0), 0.0)


def overlap(one: Sequence[int], other: Sequence[int]) -> float | None:
    """What the beginnings of two rankings share."""
    top = set(one[:DEPTH])
    return len(top & set(other[:DEPTH])) / len(top) if top else None


def kendall_tau_b(reference: Sequence[float], other: Sequence[float]) -> float | None:
    """Kendall's tau-b; None where the reference has no order to keep, 0 where the other has lost all of it."""
    signs = [np.sign(np.subtract.outer(x, x)) for x in (np.asarray(reference), np.asarray(other))]
    # Each pair of candidates is there twice, on both sides of the fraction.
    untied = [float(np.abs(sign).sum()) for sign in signs]
    if untied[0] == 0:
        return None
    return 0.0 if untied[1] == 0 else float((signs[0] * signs[1]).sum()) / (untied[0] * untied[1]) ** 0.5


def mean(values: Iterable[float | None]) -> float:
    """Of those that are defined."""
    defined = [value for value in values if value is not None]
    return sum(defined) / len(defined)


def gains(query: Query, logits: Sequence[float]) -> list[int]:
    """In the order that the logits give; what nobody judged is worth nothing."""
    return [query.judgements.get(query.documents[i], 0) for i in ranking(logits)]


def quality(queries: Sequence[Query], logits: Sequence[Sequence[float]]) -> Quality:
    """A query without candidates counts as 0."""
    ranked = [(gains(query, own), query) for query, own in zip(queries, logits, strict=True) if query.judged]
    return Quality(
        mean(ndcg(found, query.judgements.values()) for found, query in ranked),
        mean(reciprocal_rank(found) for found, _ in ranked),
    )


def deviation(queries: Sequence[Query]) -> float:
    """Of the reference's logits, over all pairs: of all there is, which is no sample."""
    return float(np.std([logit for query in queries for logit in query.reference]))


def figures(queries: Sequence[Query], logits: Sequence[Sequence[float]]) -> Figures:
    """Of logits, one for each candidate of each query."""
    worth = quality(queries, logits)
    both = [(query.reference, own) for query, own in zip(queries, logits, strict=True)]
    deltas = np.concatenate([np.abs(np.subtract(reference, own)) for reference, own in both])
    sd = deviation(queries)
    return Figures(
        worth.ndcg10,
        worth.mrr10,
        mean(overlap(ranking(reference), ranking(own)) for reference, own in both),
        mean(kendall_tau_b(reference, own) for reference, own in both),
        float(deltas.mean()) / sd,
        float(deltas.max()) / sd,
    )
