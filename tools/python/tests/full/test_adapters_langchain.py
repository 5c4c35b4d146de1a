"""crossrank.langchain with the real package."""

import asyncio
from typing import Any

import needs
import pytest

needs.package("langchain_core", "adapters")

from langchain_core.documents import Document  # noqa: E402
from langchain_core.documents.compressor import BaseDocumentCompressor  # noqa: E402
from needs import MODEL, OTHER_MODEL, QUERY, TEXTS  # noqa: E402
from pydantic import ValidationError  # noqa: E402

from crossrank import CrossEncoder  # noqa: E402
from crossrank.langchain import CrossrankCompressor  # noqa: E402


@pytest.fixture(scope="module")
def model() -> CrossEncoder:
    return CrossEncoder(MODEL)


def documents() -> list[Any]:
    return [Document(page_content=text, metadata={"source": index}) for index, text in enumerate(TEXTS)]


def test_it_ranks_as_the_model_does_and_leaves_documents_alone(model: CrossEncoder) -> None:
    given = documents()
    compressor = CrossrankCompressor(model=model, top_n=None)
    assert isinstance(compressor, BaseDocumentCompressor)
    results = compressor.compress_documents(given, QUERY)
    expected = model.rank(QUERY, TEXTS)
    assert [result.metadata["source"] for result in results] == [result["corpus_id"] for result in expected]
    assert [result.metadata["relevance_score"] for result in results] == [result["score"] for result in expected]
    assert all(type(result.metadata["relevance_score"]) is float for result in results)
    assert given == documents()


def test_top_n_min_score_and_long(model: CrossEncoder) -> None:
    assert len(CrossrankCompressor(model=model).compress_documents(documents(), QUERY)) == 3
    middle = model.rank(QUERY, TEXTS)[2]["score"]
    results = CrossrankCompressor(model=model, top_n=None, min_score=middle).compress_documents(documents(), QUERY)
    assert min(result.metadata["relevance_score"] for result in results) == middle
    long = [Document(page_content="The sky is blue at noon. " * 40 + "Bread is baked."), Document(page_content="Dry air.")]
    results = CrossrankCompressor(model=model, long="max", stride=8).compress_documents(long, QUERY)
    expected = model.rank(QUERY, [document.page_content for document in long], long="max", stride=8)
    assert [result.metadata["relevance_score"] for result in results] == [result["score"] for result in expected]


def test_async_gives_the_same(model: CrossEncoder) -> None:
    compressor = CrossrankCompressor(model=model)
    expected = compressor.compress_documents(documents(), QUERY)
    assert asyncio.run(compressor.acompress_documents(documents(), QUERY)) == expected
    assert compressor.compress_documents([], QUERY) == asyncio.run(compressor.acompress_documents([], QUERY)) == []


def test_in_a_chain(model: CrossEncoder) -> None:
    from langchain_core.runnables import RunnableLambda

    compressor = CrossrankCompressor(model=model, top_n=1)
    chain = RunnableLambda(lambda query: compressor.compress_documents(documents(), query))
    assert chain.invoke(QUERY) == compressor.compress_documents(documents(), QUERY)


def test_two_models_and_a_path() -> None:
    by_path = CrossrankCompressor(model=MODEL, options={"dtype": "f32", "threads": 1})
    other = CrossrankCompressor(model=OTHER_MODEL)
    scores = [
        [result.metadata["relevance_score"] for result in compressor.compress_documents(documents(), QUERY)]
        for compressor in (by_path, other)
    ]
    assert scores[0] != scores[1]


def test_errors_name_the_argument(model: CrossEncoder) -> None:
    with pytest.raises(ValueError, match="top_n: expected a number above 0"):
        CrossrankCompressor(model=model, top_n=0)
    with pytest.raises(ValidationError, match="top_k"):
        CrossrankCompressor(model=model, top_k=3)
    with pytest.raises(FileNotFoundError, match="/no/such/model"):
        CrossrankCompressor(model="/no/such/model")
    with pytest.raises(TypeError, match="options: expected none .* found dtype"):
        CrossrankCompressor(model=model, options={"dtype": "f32"})
    with pytest.raises(TypeError):
        CrossrankCompressor(model=model).compress_documents(documents(), None)  # type: ignore[arg-type]
