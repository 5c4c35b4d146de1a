"""crossrank.llama_index with the real package."""

import asyncio
import json
from typing import Any

import needs
import pytest

needs.package("llama_index.core", "adapters")

from llama_index.core.callbacks import CallbackManager, CBEventType, LlamaDebugHandler  # noqa: E402
from llama_index.core.postprocessor.types import BaseNodePostprocessor  # noqa: E402
from llama_index.core.schema import MetadataMode, NodeWithScore, TextNode  # noqa: E402
from needs import MODEL, OTHER_MODEL, QUERY, TEXTS  # noqa: E402

from crossrank import CrossEncoder  # noqa: E402
from crossrank.llama_index import CrossrankRerank  # noqa: E402


@pytest.fixture(scope="module")
def model() -> CrossEncoder:
    return CrossEncoder(MODEL)


def nodes() -> list[Any]:
    return [
        NodeWithScore(node=TextNode(text=text, id_=str(index), metadata={"title": "heat"}), score=index / 4)
        for index, text in enumerate(TEXTS)
    ]


def test_it_ranks_as_the_model_does_and_leaves_nodes_alone(model: CrossEncoder) -> None:
    given = nodes()
    before = [node.to_dict() for node in given]
    rerank = CrossrankRerank(model=model, top_n=None)
    assert isinstance(rerank, BaseNodePostprocessor)
    results = rerank.postprocess_nodes(given, query_str=QUERY)
    # The text of a node begins with its metadata, as an embedding sees it.
    texts = [node.node.get_content(metadata_mode=MetadataMode.EMBED) for node in given]
    assert model.rank(QUERY, texts) == [
        {"corpus_id": int(result.node_id), "score": result.score} for result in results
    ]
    assert texts[1] == "title: heat\n\nBread is baked."
    assert all(type(result.score) is float for result in results)
    assert [node.to_dict() for node in given] == before


def test_text_alone_top_n_and_retrieval_scores(model: CrossEncoder) -> None:
    rerank = CrossrankRerank(model=model, metadata_mode=MetadataMode.NONE, keep_retrieval_score=True)
    given = nodes()
    results = rerank.postprocess_nodes(given, query_str=QUERY)
    expected = model.rank(QUERY, TEXTS, top_k=2)
    assert [(int(result.node_id), result.score) for result in results] == [
        (result["corpus_id"], result["score"]) for result in expected
    ]
    assert [result.metadata["retrieval_score"] for result in results] == [
        result["corpus_id"] / 4 for result in expected
    ]
    assert all("retrieval_score" not in node.metadata for node in given)
    least = expected[0]["score"]
    kept = CrossrankRerank(model=model, metadata_mode=MetadataMode.NONE, min_score=least).postprocess_nodes(
        given, query_str=QUERY
    )
    assert {result.score for result in kept} == {least}


def test_async_gives_the_same_and_no_node_is_no_result(model: CrossEncoder) -> None:
    rerank = CrossrankRerank(model=model)
    expected = [result.to_dict() for result in rerank.postprocess_nodes(nodes(), query_str=QUERY)]
    results = asyncio.run(rerank.apostprocess_nodes(nodes(), query_str=QUERY))
    assert [result.to_dict() for result in results] == expected
    assert rerank.postprocess_nodes([], query_str=QUERY) == []


def test_callbacks_see_it(model: CrossEncoder) -> None:
    handler = LlamaDebugHandler(print_trace_on_end=False)
    rerank = CrossrankRerank(model=model)
    rerank.callback_manager = CallbackManager([handler])
    rerank.postprocess_nodes(nodes(), query_str=QUERY)
    assert len(handler.get_event_pairs(CBEventType.RERANKING)) == 1


def test_it_is_written_and_read(model: CrossEncoder) -> None:
    written = CrossrankRerank(model=MODEL, top_n=4, options={"dtype": "f32"}).to_json()
    assert json.loads(written)["class_name"] == "CrossrankRerank"
    read = CrossrankRerank.from_json(written)
    assert (read.model, read.top_n, read.options) == (MODEL, 4, {"dtype": "f32"})
    assert len(read.postprocess_nodes(nodes(), query_str=QUERY)) == 4


def test_two_models() -> None:
    scores = [
        [result.score for result in CrossrankRerank(model=name).postprocess_nodes(nodes(), query_str=QUERY)]
        for name in (MODEL, OTHER_MODEL)
    ]
    assert scores[0] != scores[1]


def test_errors_name_the_argument(model: CrossEncoder) -> None:
    with pytest.raises(ValueError, match="query_bundle: expected a query"):
        CrossrankRerank(model=model).postprocess_nodes(nodes())
    with pytest.raises(ValueError, match="top_n: expected a number above 0"):
        CrossrankRerank(model=model, top_n=0)
    with pytest.raises(TypeError, match="top_k: expected one of .*top_n"):
        CrossrankRerank(model=model, top_k=3)
    with pytest.raises(FileNotFoundError, match="/no/such/model"):
        CrossrankRerank(model="/no/such/model")
