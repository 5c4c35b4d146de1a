"""crossrank as a node postprocessor of LlamaIndex, for query engines and retrievers."""

from __future__ import annotations

from typing import Any

try:
    from llama_index.core.bridge.pydantic import Field, PrivateAttr
    from llama_index.core.callbacks import CBEventType, EventPayload
    from llama_index.core.postprocessor.types import BaseNodePostprocessor
    from llama_index.core.schema import MetadataMode, NodeWithScore, QueryBundle
except ImportError as error:
    raise ImportError(
        "crossrank.llama_index needs the package llama-index-core: pip install llama-index-core"
    ) from error

from crossrank import _adapters

__all__ = ["CrossrankRerank"]


class CrossrankRerank(BaseNodePostprocessor):
    """Keeps the nodes that answer the query best, best first.

    Results are new ``NodeWithScore`` objects with the model's score, a Python float; the list and the objects that were
    passed in stay as they are. With ``keep_retrieval_score`` a result's node is a copy whose metadata has the score of the
    retriever under ``retrieval_score``, else it is the node itself.

    Arguments: ``model``, a :class:`crossrank.CrossEncoder` or a name or path of one (``None`` is the default model);
    ``top_n``, how many nodes to keep (``None`` keeps all); ``min_score``, below which nodes are left out; ``long`` and
    ``stride`` as in :meth:`crossrank.CrossEncoder.rank`; ``metadata_mode``, which metadata the text of a node begins with;
    ``options``, other arguments of :class:`crossrank.CrossEncoder`. ``TypeError`` and ``ValueError`` name the argument.
    """

    model: str | None = Field(default=None, description="The model's name or path.")
    top_n: int | None = Field(default=2, description="How many nodes to keep; None keeps all.")
    min_score: float | None = Field(default=None, description="Nodes with a lower score are left out.")
    long: Any = Field(default=None, description="How nodes that exceed the model's length are scored.")
    stride: int | None = Field(default=None, description="The overlap of passages, in tokens.")
    keep_retrieval_score: bool = Field(default=False, description="Whether metadata keeps the retriever's score.")
    metadata_mode: MetadataMode = Field(default=MetadataMode.EMBED, description="Which metadata is scored.")
    options: dict[str, Any] | None = Field(default=None, description="Other arguments of CrossEncoder.")
    _encoder: Any = PrivateAttr()

    def __init__(self, model: Any = None, **fields: Any) -> None:
        unknown = sorted(set(fields) - set(type(self).model_fields))
        if unknown:
            raise TypeError(f"{unknown[0]}: expected one of {', '.join(sorted(type(self).model_fields))}")
        encoder = _adapters.load(model, fields.get("options"))
        _adapters.positive("top_n", fields.get("top_n"))
        # An encoder is no field, because fields are written to JSON.
        name = None if model is None or encoder is model else str(model)
        super().__init__(model=name, **fields)
        self._encoder = encoder

    @classmethod
    def class_name(cls) -> str:
        return "CrossrankRerank"

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        query = _query(query_bundle)
        with self._event(nodes, query) as event:
            results = self._results(nodes, _adapters.rank(self._encoder, query, self._texts(nodes), **self._limits()))
            event.on_end(payload={EventPayload.NODES: results})
        return results

    async def _apostprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        query = _query(query_bundle)
        with self._event(nodes, query) as event:
            ranking = await _adapters.arank(self._encoder, query, self._texts(nodes), **self._limits())
            results = self._results(nodes, ranking)
            event.on_end(payload={EventPayload.NODES: results})
        return results

    def _event(self, nodes: list[NodeWithScore], query: str) -> Any:
        payload = {
            EventPayload.NODES: nodes,
            EventPayload.MODEL_NAME: self.model,
            EventPayload.QUERY_STR: query,
            EventPayload.TOP_K: self.top_n,
        }
        return self.callback_manager.event(CBEventType.RERANKING, payload=payload)

    def _texts(self, nodes: list[NodeWithScore]) -> list[str]:
        return [node.node.get_content(metadata_mode=self.metadata_mode) for node in nodes]

    def _limits(self) -> dict[str, Any]:
        return {"top_k": self.top_n, "min_score": self.min_score, "long": self.long, "stride": self.stride}

    def _results(self, nodes: list[NodeWithScore], ranking: list[tuple[int, float]]) -> list[NodeWithScore]:
        results = []
        for index, score in ranking:
            node = nodes[index].node
            if self.keep_retrieval_score:
                metadata = {**node.metadata, "retrieval_score": nodes[index].score}
                node = node.model_copy(update={"metadata": metadata})
            results.append(NodeWithScore(node=node, score=score))
        return results


def _query(query_bundle: QueryBundle | None) -> str:
    if query_bundle is None:
        raise ValueError("query_bundle: expected a query, found None (pass query_str or query_bundle)")
    return query_bundle.query_str
