"""What the clients ask, and what the server says by plain HTTP: what a client makes of it must be the same."""

import json
import urllib.request

QUERY = "where do rivers go"
DOCUMENTS = [
    "Bread is baked in an oven.",
    "To the sea.",
    "A river runs to the sea.",
    "Where do people go when rivers freeze?",
    "",
]


def expected(base):
    """(index, score) of all documents, best first."""
    body = json.dumps({"query": QUERY, "documents": DOCUMENTS}).encode()
    request = urllib.request.Request(base + "/v1/rerank", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as reply:
        results = json.load(reply)["results"]
    best_first = [(result["index"], result["relevance_score"]) for result in results]
    assert sorted(index for index, _ in best_first) == list(range(len(DOCUMENTS)))
    return best_first


def check_order(found, best_first, scores=True):
    """The same documents in the same order, and the same scores, to what a float of 32 bits tells apart."""
    found = list(found)
    assert [index for index, _ in found] == [index for index, _ in best_first], (found, best_first)
    if scores:
        for (_, ours), (_, theirs) in zip(found, best_first):
            assert abs(float(ours) - theirs) < 1e-6, (found, best_first)
