"""crossrank as a ranker of the package ``rerankers``, with its documents and results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

try:
    from rerankers.documents import Document
    from rerankers.models import AVAILABLE_RANKERS
    from rerankers.models.ranker import BaseRanker
    from rerankers.results import RankedResults, Result
except ImportError as error:
    raise ImportError("crossrank.rerankers needs the package rerankers: pip install rerankers") from error

from crossrank import _adapters

__all__ = ["CrossrankRanker", "register"]


class CrossrankRanker(BaseRanker):
    """A ranker whose results carry scores and ranks, ranks from 1.

    ``model_name_or_path`` is a :class:`crossrank.CrossEncoder`, or a name or path of one; ``None`` is the default model.
    ``verbose`` is taken because ``rerankers.Reranker`` passes it; nothing is printed. ``long`` and ``stride`` are those of
    :meth:`crossrank.CrossEncoder.rank`, ``options`` other arguments of :class:`crossrank.CrossEncoder`.
    """

    ranking_type = "pointwise"

    def __init__(
        self, model_name_or_path: Any = None, verbose: int = 0, *, long: Any = None, stride: int | None = None, **options: Any
    ) -> None:
        self.verbose = verbose
        self.model = _adapters.load(model_name_or_path, options)
        self._limits = {"long": long, "stride": stride}

    def score(self, query: str, doc: str) -> float:
        """Gives the score of one document, a Python float."""
        [(_, score)] = _adapters.rank(self.model, query, [doc], **self._limits)
        return score

    def rank(
        self,
        query: str,
        docs: str | Document | Sequence[str] | Sequence[Document],
        doc_ids: Sequence[str] | Sequence[int] | None = None,
        metadata: Sequence[dict[str, Any]] | None = None,
    ) -> RankedResults:
        """Ranks texts or documents, best first. No document, no result.

        ``doc_ids`` and ``metadata`` are one for each document; without ids a document's own is kept, and one that has none
        gets its index. Documents that were passed in stay as they are.

        Raises ``ValueError`` where their number is another, and for a document without text; ``TypeError`` for other types.
        """
        documents = _documents(docs, doc_ids, metadata)
        ranking = _adapters.rank(self.model, query, [document.text for document in documents], **self._limits)
        return _results(query, documents, ranking)

    async def rank_async(
        self,
        query: str,
        docs: str | Document | Sequence[str] | Sequence[Document],
        doc_ids: Sequence[str] | Sequence[int] | None = None,
        metadata: Sequence[dict[str, Any]] | None = None,
    ) -> RankedResults:
        """Does what :meth:`rank` does, without blocking the event loop."""
        documents = _documents(docs, doc_ids, metadata)
        texts = [document.text for document in documents]
        return _results(query, documents, await _adapters.arank(self.model, query, texts, **self._limits))


def register() -> None:
    """Lets ``rerankers.Reranker(name, model_type="CrossrankRanker")`` make a :class:`CrossrankRanker`."""
    AVAILABLE_RANKERS["CrossrankRanker"] = CrossrankRanker


def _results(query: str, documents: list[Document], ranking: list[tuple[int, float]]) -> RankedResults:
    results = [
        Result(document=documents[index], score=score, rank=rank)
        for rank, (index, score) in enumerate(ranking, start=1)
    ]
    return RankedResults(results=results, query=query, has_scores=True)


def _documents(docs: Any, doc_ids: Any, metadata: Any) -> list[Document]:
    docs = [docs] if isinstance(docs, (str, Document)) else list(docs)
    for name, given in (("doc_ids", doc_ids), ("metadata", metadata)):
        if given is not None and len(given) != len(docs):
            raise ValueError(f"{name}: expected {len(docs)}, one for each document, found {len(given)}")
    documents = []
    for index, doc in enumerate(docs):
        if isinstance(doc, str):
            doc = Document(doc)
        elif not isinstance(doc, Document):
            raise TypeError(f"docs[{index}]: expected a str or a Document, found {type(doc).__name__}")
        if doc.text is None:
            raise ValueError(f"docs[{index}]: expected a document with text, found one of type {doc.document_type}")
        own = doc.doc_id if doc.doc_id is not None else index
        documents.append(
            Document(
                doc.text,
                doc_id=own if doc_ids is None else doc_ids[index],
                metadata=doc.metadata if metadata is None else metadata[index],
                document_type=doc.document_type,
                image_path=doc.image_path,
                base64=doc.base64,
            )
        )
    return documents
