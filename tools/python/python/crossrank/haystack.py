"""crossrank as a ranker component of Haystack pipelines."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

try:
    from haystack import Document, component, default_from_dict, default_to_dict
except ImportError as error:
    raise ImportError("crossrank.haystack needs the package haystack-ai: pip install haystack-ai") from error

from crossrank import _adapters

__all__ = ["CrossrankRanker"]


@component
class CrossrankRanker:
    """Ranks documents by how well they answer a query, best first.

    Results are copies with the model's score; the documents that were passed in stay as they are. Of several documents
    with one id the best scored is kept, as Haystack's own rankers do.

    The model is loaded by ``warm_up``, which a pipeline calls, or by the first ``run``.
    """

    def __init__(
        self,
        model: Any = None,
        top_k: int | None = 10,
        score_threshold: float | None = None,
        meta_fields_to_embed: list[str] | None = None,
        embedding_separator: str = "\n",
        long: Any = None,
        stride: int | None = None,
        options: dict[str, Any] | None = None,
    ) -> None:
        """Makes a ranker; the model is not loaded yet.

        ``model``: a name or path as :class:`crossrank.CrossEncoder` takes it, ``None`` for the default model; an encoder
        that is loaded already is taken too, but such a component cannot be written to a file. ``top_k``: how many
        documents to keep, ``None`` for all. ``score_threshold``: documents with a lower score are left out.
        ``meta_fields_to_embed``: metadata whose values, where there are any, are put before the text, with
        ``embedding_separator`` between. ``long`` and ``stride``: as in :meth:`crossrank.CrossEncoder.rank`.
        ``options``: other arguments of :class:`crossrank.CrossEncoder`.

        Raises ``TypeError`` or ``ValueError`` where ``top_k`` is not a number above 0.
        """
        self.model = model
        self.top_k = _adapters.positive("top_k", top_k)
        self.score_threshold = score_threshold
        self.meta_fields_to_embed = list(meta_fields_to_embed or [])
        self.embedding_separator = embedding_separator
        self.long = long
        self.stride = stride
        self.options = options
        self._encoder: Any = None

    def warm_up(self) -> None:
        """Loads the model, once. Raises what :class:`crossrank.CrossEncoder` raises."""
        if self._encoder is None:
            self._encoder = _adapters.load(self.model, self.options)

    def to_dict(self) -> dict[str, Any]:
        """Gives the component as a dictionary. Raises ``TypeError`` where the model is not a name or path."""
        if self.model is not None and not isinstance(self.model, str):
            raise TypeError(f"model: expected a name or path to write down, found {type(self.model).__name__}")
        return default_to_dict(
            self,
            model=self.model,
            top_k=self.top_k,
            score_threshold=self.score_threshold,
            meta_fields_to_embed=self.meta_fields_to_embed,
            embedding_separator=self.embedding_separator,
            long=self.long,
            stride=self.stride,
            options=self.options,
        )

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> CrossrankRanker:
        """Makes a component from what :meth:`to_dict` gave."""
        return default_from_dict(cls, data)

    @component.output_types(documents=list[Document])
    def run(
        self,
        query: str,
        documents: list[Document],
        top_k: int | None = None,
        score_threshold: float | None = None,
    ) -> dict[str, list[Document]]:
        """Ranks ``documents`` for ``query``; ``top_k`` and ``score_threshold`` come before the component's own.

        Raises ``ValueError`` for a document without text, with its id, and for a ``top_k`` that is not above 0.
        """
        texts, limit = self._inputs(documents, top_k)
        self.warm_up()
        ranking = _adapters.rank(self._encoder, query, texts, **self._limits(score_threshold))
        return {"documents": _results(documents, ranking, limit)}

    @component.output_types(documents=list[Document])
    async def run_async(
        self,
        query: str,
        documents: list[Document],
        top_k: int | None = None,
        score_threshold: float | None = None,
    ) -> dict[str, list[Document]]:
        """Does what :meth:`run` does, without blocking the event loop while it ranks."""
        texts, limit = self._inputs(documents, top_k)
        self.warm_up()
        ranking = await _adapters.arank(self._encoder, query, texts, **self._limits(score_threshold))
        return {"documents": _results(documents, ranking, limit)}

    def _inputs(self, documents: list[Document], top_k: int | None) -> tuple[list[str], int | None]:
        limit = _adapters.positive("top_k", top_k)
        return [self._text(document) for document in documents], self.top_k if limit is None else limit

    def _limits(self, score_threshold: float | None) -> dict[str, Any]:
        threshold = self.score_threshold if score_threshold is None else score_threshold
        return {"min_score": threshold, "long": self.long, "stride": self.stride}

    def _text(self, document: Document) -> str:
        if document.content is None:
            raise ValueError(f"document {document.id}: expected text in `content`, found None")
        values = (document.meta.get(field) for field in self.meta_fields_to_embed)
        return self.embedding_separator.join([*(str(value) for value in values if value), document.content])


def _results(documents: list[Document], ranking: list[tuple[int, float]], limit: int | None) -> list[Document]:
    best: dict[str, Document] = {}
    for index, score in ranking:
        document = documents[index]
        if document.id not in best:
            best[document.id] = replace(document, score=score)
    return list(best.values())[:limit]
