"""crossrank as a document compressor of LangChain, for ``ContextualCompressionRetriever`` and chains of one's own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

try:
    from langchain_core.documents import BaseDocumentCompressor, Document
    from pydantic import ConfigDict, PrivateAttr
except ImportError as error:
    raise ImportError("crossrank.langchain needs the package langchain-core: pip install langchain-core") from error

from crossrank import _adapters

__all__ = ["CrossrankCompressor"]


class CrossrankCompressor(BaseDocumentCompressor):
    """Keeps the documents that answer the query best, best first.

    Results are copies; the documents that were passed in stay as they are. A copy's metadata has the score under
    ``relevance_score``, a Python float.

    Errors of loading are raised when the compressor is made: ``TypeError`` and ``ValueError`` for arguments, and what
    :class:`crossrank.CrossEncoder` raises.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    model: Any = None
    """A :class:`crossrank.CrossEncoder`, or a name or path of one; ``None`` is the default model."""
    top_n: int | None = 3
    """How many documents to keep, at least 1; ``None`` keeps all of them."""
    min_score: float | None = None
    """Documents with a lower score are left out; ``None`` keeps them."""
    long: Any = None
    """How documents that exceed the model's length are scored, as in :meth:`crossrank.CrossEncoder.rank`."""
    stride: int | None = None
    """The overlap of passages with ``long``, in tokens."""
    options: dict[str, Any] | None = None
    """Other arguments of :class:`crossrank.CrossEncoder`, such as ``{"dtype": "int8"}``."""

    _encoder: Any = PrivateAttr()

    def model_post_init(self, context: Any, /) -> None:
        _adapters.positive("top_n", self.top_n)
        self._encoder = _adapters.load(self.model, self.options)

    def compress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Any = None
    ) -> Sequence[Document]:
        """Ranks ``documents`` for ``query``; ``callbacks`` are not called."""
        texts = [document.page_content for document in documents]
        return _copies(documents, _adapters.rank(self._encoder, query, texts, **self._limits()))

    async def acompress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Any = None
    ) -> Sequence[Document]:
        """Does what :meth:`compress_documents` does, without blocking the event loop."""
        texts = [document.page_content for document in documents]
        return _copies(documents, await _adapters.arank(self._encoder, query, texts, **self._limits()))

    def _limits(self) -> dict[str, Any]:
        return {"top_k": self.top_n, "min_score": self.min_score, "long": self.long, "stride": self.stride}


def _copies(documents: Sequence[Document], ranking: list[tuple[int, float]]) -> list[Document]:
    def copy(index: int, score: float) -> Document:
        document = documents[index]
        return document.model_copy(update={"metadata": {**document.metadata, "relevance_score": score}})

    return [copy(index, score) for index, score in ranking]
