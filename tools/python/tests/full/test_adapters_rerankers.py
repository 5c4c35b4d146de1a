"""crossrank.rerankers with the real package."""

import asyncio

import needs
import pytest

needs.package("rerankers", "adapters")

from needs import MODEL, OTHER_MODEL, QUERY, TEXTS  # noqa: E402
from rerankers import Document, Reranker  # noqa: E402

from crossrank import CrossEncoder  # noqa: E402
from crossrank.rerankers import CrossrankRanker, register  # noqa: E402


@pytest.fixture(scope="module")
def model() -> CrossEncoder:
    return CrossEncoder(MODEL)


def test_it_ranks_as_the_model_does(model: CrossEncoder) -> None:
    results = CrossrankRanker(model).rank(QUERY, TEXTS)
    expected = model.rank(QUERY, TEXTS)
    assert [(result.doc_id, result.score) for result in results] == [
        (result["corpus_id"], result["score"]) for result in expected
    ]
    assert [result.rank for result in results] == [1, 2, 3, 4, 5]
    assert all(type(result.score) is float for result in results)
    assert [result.doc_id for result in results.top_k(2)] == [result["corpus_id"] for result in expected[:2]]


def test_ids_metadata_and_documents(model: CrossEncoder) -> None:
    ranker = CrossrankRanker(model)
    results = ranker.rank(QUERY, TEXTS, doc_ids=list("abcde"), metadata=[{"at": index} for index in range(5)])
    assert sorted((result.doc_id, result.document.metadata["at"]) for result in results) == [
        ("a", 0), ("b", 1), ("c", 2), ("d", 3), ("e", 4)
    ]  # fmt: skip
    given = [Document("The sky is blue.", doc_id="x", metadata={"k": 1}), Document("Bread."), Document("Air.", doc_id=0)]
    results = ranker.rank(QUERY, given)
    assert {result.text: result.doc_id for result in results} == {"The sky is blue.": "x", "Bread.": 1, "Air.": 0}
    ranker.rank(QUERY, given, doc_ids=[7, 8, 9])
    assert [document.doc_id for document in given] == ["x", None, 0]


def test_one_document_none_and_async(model: CrossEncoder) -> None:
    ranker = CrossrankRanker(model)
    assert ranker.score(QUERY, TEXTS[2]) == ranker.rank(QUERY, TEXTS[2])[0].score
    assert ranker.score(QUERY, TEXTS[2]) == float(model.predict([(QUERY, TEXTS[2])])[0])
    assert ranker.rank(QUERY, []).results == []
    results = asyncio.run(ranker.rank_async(QUERY, TEXTS, metadata=[{"at": index} for index in range(5)]))
    assert [result.document.metadata["at"] for result in results] == [result.doc_id for result in ranker.rank(QUERY, TEXTS)]


def test_reranker_makes_it_once_registered(capsys: pytest.CaptureFixture[str]) -> None:
    register()
    ranker = Reranker(MODEL, model_type="CrossrankRanker", verbose=0, threads=1)
    assert isinstance(ranker, CrossrankRanker)
    other = CrossrankRanker(OTHER_MODEL)
    assert ranker.score(QUERY, TEXTS[2]) != other.score(QUERY, TEXTS[2])
    assert capsys.readouterr().out == ""


def test_errors_name_the_argument(model: CrossEncoder) -> None:
    ranker = CrossrankRanker(model)
    with pytest.raises(ValueError, match="doc_ids: expected 5, one for each document, found 1"):
        ranker.rank(QUERY, TEXTS, doc_ids=["a"])
    with pytest.raises(TypeError, match=r"docs\[1\]: expected a str or a Document, found NoneType"):
        ranker.rank(QUERY, ["a", None])
    with pytest.raises(ValueError, match=r"docs\[0\]: expected a document with text"):
        ranker.rank(QUERY, [Document(document_type="image", base64="")])
    with pytest.raises(FileNotFoundError, match="/no/such/model"):
        CrossrankRanker("/no/such/model")
