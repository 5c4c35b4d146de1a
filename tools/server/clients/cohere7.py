"""cohere 7 against a running server: sync and async, both versions of its interface, and its errors.

    python cohere7.py http://127.0.0.1:8080 http://127.0.0.1:8081

The second server asks for the key `secret`.
"""

import asyncio
import sys

import cohere

from expected import DOCUMENTS, QUERY, check_order, expected


def check(results, best_first):
    check_order([(result.index, result.relevance_score) for result in results], best_first)


def main(base, closed):
    best_first = expected(base)
    for url in (base, base + "/v1"):
        v1 = cohere.Client(api_key="any", base_url=url)
        v2 = cohere.ClientV2(api_key="any", base_url=url)
        check(v1.rerank(query=QUERY, documents=DOCUMENTS).results, best_first)
        check(v2.rerank(model="rerank-v3.5", query=QUERY, documents=DOCUMENTS).results, best_first)
        check(v2.rerank(model="m", query=QUERY, documents=DOCUMENTS, top_n=2).results, best_first[:2])
    objects = [{"text": text, "id": str(i)} for i, text in enumerate(DOCUMENTS)]
    answer = cohere.Client(api_key="any", base_url=base).rerank(
        query=QUERY, documents=objects, return_documents=True, model="m"
    )
    check(answer.results, best_first)
    for result in answer.results:
        assert result.document.text == DOCUMENTS[result.index], result
    assert answer.meta.billed_units.search_units == 1

    async def both():
        v1 = cohere.AsyncClient(api_key="any", base_url=base)
        v2 = cohere.AsyncClientV2(api_key="any", base_url=base)
        one, two = await asyncio.gather(
            v1.rerank(query=QUERY, documents=DOCUMENTS), v2.rerank(model="m", query=QUERY, documents=DOCUMENTS)
        )
        check(one.results, best_first)
        check(two.results, best_first)

    asyncio.run(both())

    # Its own classes of errors, which need JSON bodies.
    try:
        cohere.ClientV2(api_key="wrong", base_url=closed).rerank(model="m", query=QUERY, documents=DOCUMENTS)
        raise AssertionError("a wrong key")
    except cohere.UnauthorizedError as error:
        assert "key" in error.body["message"], error.body
    check(cohere.ClientV2(api_key="secret", base_url=closed).rerank(model="m", query=QUERY, documents=DOCUMENTS).results, best_first)
    try:
        cohere.ClientV2(api_key="any", base_url=base).rerank(model="m", query=QUERY, documents=[])
        raise AssertionError("no documents")
    except cohere.BadRequestError as error:
        assert error.body["message"] == "invalid request: list of documents must not be empty", error.body
    print("cohere", cohere.__version__, "ok")


if __name__ == "__main__":
    main(*sys.argv[1:])
