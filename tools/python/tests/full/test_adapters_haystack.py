"""crossrank.haystack with the real package."""

import asyncio
from typing import Any

import needs
import pytest

needs.package("haystack", "adapters")

from haystack import Document, Pipeline  # noqa: E402
from needs import MODEL, OTHER_MODEL, QUERY, TEXTS  # noqa: E402

from crossrank import CrossEncoder  # noqa: E402
from crossrank.haystack import CrossrankRanker  # noqa: E402


@pytest.fixture(scope="module")
def model() -> CrossEncoder:
    return CrossEncoder(MODEL)


def documents() -> list[Any]:
    return [Document(id=str(index), content=text, meta={"title": "heat"}) for index, text in enumerate(TEXTS)]


def ranking(output: Any) -> list[tuple[int, float]]:
    return [(int(document.id), document.score) for document in output["documents"]]


def expected(model: CrossEncoder, texts: list[str] = TEXTS, **arguments: Any) -> list[tuple[int, float]]:
    return [(result["corpus_id"], result["score"]) for result in model.rank(QUERY, texts, **arguments)]


def test_it_ranks_as_the_model_does_and_leaves_documents_alone(model: CrossEncoder) -> None:
    given = documents()
    ranker = CrossrankRanker(model=model)
    assert ranking(ranker.run(query=QUERY, documents=given)) == expected(model)
    assert given == documents()
    assert all(type(score) is float for _, score in ranking(ranker.run(query=QUERY, documents=given)))


def test_top_k_threshold_and_metadata(model: CrossEncoder) -> None:
    ranker = CrossrankRanker(model=model, top_k=2, meta_fields_to_embed=["title", "absent"], embedding_separator=" | ")
    texts = [f"heat | {text}" for text in TEXTS]
    assert ranking(ranker.run(query=QUERY, documents=documents())) == expected(model, texts, top_k=2)
    assert ranking(ranker.run(query=QUERY, documents=documents(), top_k=4)) == expected(model, texts, top_k=4)
    least = expected(model, texts)[0][1]
    assert ranking(ranker.run(query=QUERY, documents=documents(), score_threshold=least)) == expected(
        model, texts, min_score=least
    )


def test_of_one_id_the_best_is_kept(model: CrossEncoder) -> None:
    twice = [Document(id="0", content=TEXTS[0]), Document(id="0", content=TEXTS[2]), Document(id="0", content=TEXTS[1])]
    best = max(score for _, score in expected(model, [document.content for document in twice]))
    assert ranking(CrossrankRanker(model=model).run(query=QUERY, documents=twice)) == [(0, best)]


def test_async_and_no_document(model: CrossEncoder) -> None:
    ranker = CrossrankRanker(model=model)
    assert ranking(asyncio.run(ranker.run_async(query=QUERY, documents=documents()))) == expected(model)
    assert ranker.run(query=QUERY, documents=[]) == {"documents": []}


def test_in_a_pipeline_that_is_written_and_read(model: CrossEncoder) -> None:
    pipeline = Pipeline()
    pipeline.add_component("ranker", CrossrankRanker(model=MODEL, top_k=3, options={"threads": 1}))
    read = Pipeline.loads(pipeline.dumps(), allowed_modules=["crossrank.haystack"])
    inputs = {"ranker": {"query": QUERY, "documents": documents()}}
    for each in (pipeline, read):
        assert ranking(each.run(inputs)["ranker"]) == expected(model, top_k=3)


def test_two_models(model: CrossEncoder) -> None:
    outputs = [CrossrankRanker(model=name).run(query=QUERY, documents=documents()) for name in (MODEL, OTHER_MODEL)]
    assert ranking(outputs[0]) != ranking(outputs[1])


def test_errors_name_the_argument(model: CrossEncoder) -> None:
    with pytest.raises(ValueError, match="top_k: expected a number above 0"):
        CrossrankRanker(top_k=0)
    with pytest.raises(ValueError, match="top_k: expected a number above 0"):
        CrossrankRanker(model=model).run(query=QUERY, documents=documents(), top_k=-1)
    with pytest.raises(ValueError, match="document x: expected text in `content`, found None"):
        CrossrankRanker(model=model).run(query=QUERY, documents=[Document(id="x")])
    with pytest.raises(FileNotFoundError, match="/no/such/model"):
        CrossrankRanker(model="/no/such/model").warm_up()
    with pytest.raises(TypeError, match="model: expected a name or path to write down"):
        CrossrankRanker(model=model).to_dict()
