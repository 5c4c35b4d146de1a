"""Figures of rankings, by hand: `python -m unittest discover tools/peers`."""

import json
import math
import tempfile
import unittest
from pathlib import Path

from peers import ranking
from peers.errors import SetupError
from peers.judged import read_queries, texts
from peers.ranking import Query


class Ranking(unittest.TestCase):
    """What one ranking is worth."""

    def test_the_best_comes_first_and_of_equals_the_first(self) -> None:
        self.assertEqual(ranking.ranking([0.5, 2.0, -1.0, 2.0]), [1, 3, 0, 2])
        self.assertEqual(ranking.ranking([]), [])

    def test_ndcg_discounts_by_the_logarithm_of_the_rank(self) -> None:
        # Ideal: 3 at rank 1, 2 at rank 2. Found: 2 at rank 1, 3 at rank 3.
        expected = (2 + 3 / 2) / (3 + 2 / math.log2(3))
        self.assertAlmostEqual(ranking.ndcg([2, 0, 3], [3, 2, 0]), expected)
        self.assertEqual(ranking.ndcg([3, 2, 0], [2, 0, 3]), 1)

    def test_ndcg_knows_of_what_was_not_found(self) -> None:
        self.assertAlmostEqual(ranking.ndcg([1], [1, 1]), 1 / (1 + 1 / math.log2(3)))
        self.assertEqual(ranking.ndcg([], [1]), 0)

    def test_ndcg_looks_at_ten_and_counts_no_judgement_below_zero(self) -> None:
        self.assertEqual(ranking.ndcg([0] * 10 + [1], [1]), 0)
        self.assertEqual(ranking.ndcg([1] * 11, [1] * 11), 1)
        self.assertEqual(ranking.ndcg([-1, 0], [1, -1]), 0)

    def test_ndcg_of_a_query_without_a_relevant_document_is_undefined(self) -> None:
        self.assertIsNone(ranking.ndcg([0, 0], [0]))
        self.assertIsNone(ranking.ndcg([], []))

    def test_the_reciprocal_rank_is_of_the_first_relevant_one_of_ten(self) -> None:
        self.assertEqual(ranking.reciprocal_rank([0, 0, 2, 1]), 1 / 3)
        self.assertEqual(ranking.reciprocal_rank([0] * 9 + [1]), 1 / 10)
        self.assertEqual(ranking.reciprocal_rank([0] * 10 + [1]), 0)
        self.assertEqual(ranking.reciprocal_rank([-1]), 0)


class Agreement(unittest.TestCase):
    """How near one ranking is to another."""

    def test_overlap_is_of_the_first_ten_whatever_their_order(self) -> None:
        one = list(range(12))
        self.assertEqual(ranking.overlap(one, one[::-1]), 8 / 10)
        self.assertEqual(ranking.overlap([0, 1, 2], [2, 1, 0]), 1)
        self.assertIsNone(ranking.overlap([], []))

    def test_kendalls_tau_counts_pairs_in_order_and_out_of_it(self) -> None:
        self.assertEqual(ranking.kendall_tau_b([1, 2, 3], [10, 20, 30]), 1)
        self.assertEqual(ranking.kendall_tau_b([1, 2, 3], [3, 2, 1]), -1)
        # Of six pairs one is turned around.
        self.assertAlmostEqual(ranking.kendall_tau_b([1, 2, 3, 4], [2, 1, 3, 4]), (5 - 1) / 6)

    def test_kendalls_tau_b_makes_ties_smaller_on_both_sides(self) -> None:
        # The reference has three pairs, the other two of them: 2 / sqrt(3 * 2).
        self.assertAlmostEqual(ranking.kendall_tau_b([1, 2, 3], [1, 1, 2]), 2 / math.sqrt(6))
        # Each ties another pair: of two untied ones each, one is common, in order.
        self.assertAlmostEqual(ranking.kendall_tau_b([1, 1, 2], [1, 2, 2]), 1 / 2)

    def test_kendalls_tau_where_there_is_no_order(self) -> None:
        for reference in ([], [1], [1, 1]):
            self.assertIsNone(ranking.kendall_tau_b(reference, reference))
        self.assertIsNone(ranking.kendall_tau_b([1, 1], [1, 2]))
        self.assertEqual(ranking.kendall_tau_b([1, 2], [1, 1]), 0)


class Figures(unittest.TestCase):
    """All figures of a few queries."""

    def queries(self) -> list[Query]:
        """One whose best document is relevant, one that nobody judged, one without candidates."""
        return [
            Query("a", {"x": 1, "z": 0}, ["x", "y"], [("a", "x"), ("a", "y")], [3.0, 1.0]),
            Query("b", {}, ["x", "y"], [("b", "x"), ("b", "y")], [-1.0, -3.0]),
            Query("c", {"y": 2}),
        ]

    def test_quality_is_a_mean_over_judged_queries_found_or_not(self) -> None:
        found = ranking.quality(self.queries(), [[3.0, 1.0], [-1.0, -3.0], []])
        self.assertEqual((found.ndcg10, found.mrr10), (0.5, 0.5))

    def test_deltas_are_parts_of_the_reference_deviation(self) -> None:
        # Reference: 3, 1, -1, -3, of mean square 5. Off by 0, 3, 0, 1: the first query turns around.
        queries = self.queries()
        found = ranking.figures(queries, [[3.0, 4.0], [-1.0, -2.0], []])
        sd = math.sqrt(5)
        self.assertAlmostEqual(ranking.deviation(queries), sd)
        self.assertAlmostEqual(found.mean_delta, 1 / sd)
        self.assertAlmostEqual(found.worst_delta, 3 / sd)
        # Its relevant document is second now; the query without candidates is worth nothing.
        self.assertAlmostEqual(found.ndcg10, 1 / math.log2(3) / 2)
        self.assertEqual(found.mrr10, 1 / 4)
        self.assertEqual((found.overlap10, found.kendall_tau), (1, 0))

    def test_the_reference_itself_loses_nothing(self) -> None:
        queries = self.queries()
        found = ranking.figures(queries, [query.reference for query in queries])
        expected = {"overlap10": 1, "kendall_tau": 1, "mean_delta": 0, "worst_delta": 0, "ndcg10": 0.5, "mrr10": 0.5}
        self.assertEqual(found.as_dict(), expected)

    def test_logits_of_fewer_queries_are_a_mistake(self) -> None:
        with self.assertRaises(ValueError):
            ranking.figures(self.queries(), [[3.0, 1.0]])


class Judged(unittest.TestCase):
    """Reading what `crossrank quantize --verify` read and wrote."""

    def folder(self, path: Path, logits: str) -> Path:
        """Two queries, one judgement of each, and the file of logits."""
        (path / "queries.tsv").write_text("q1\tone\nq2\ttwo\n\n", "utf-8")
        (path / "qrels.txt").write_text("q1 0 d1 2\nq2 0 d2 1\nq9 0 d1 1\n", "utf-8")
        (path / "logits.jsonl").write_text(logits, "utf-8")
        return path / "logits.jsonl"

    def line(self, query: str) -> str:
        """A pair that was scored; a text may hold any separator but a line feed."""
        row = {"query_id": query, "document_id": "d1", "query": "one", "document": "a\u2028b"}
        return json.dumps(row | {"reference": 0.1, "quantized": 0.2}, ensure_ascii=False) + "\n"

    def test_queries_have_their_judgements_and_pairs(self) -> None:
        with tempfile.TemporaryDirectory() as path:
            folder = Path(path)
            one, two = read_queries(folder, None, self.folder(folder, self.line("q1")))
            self.assertEqual((one.id, one.judgements, one.documents), ("q1", {"d1": 2}, ["d1"]))
            self.assertEqual(one.pairs, [("one", "a\u2028b")])
            # As f32 has it, which is not 0.1.
            self.assertEqual(one.reference, [0.10000000149011612])
            self.assertEqual((two.judgements, two.pairs, two.judged), ({"d2": 1}, [], True))
            self.assertEqual(len(read_queries(folder, 1, folder / "logits.jsonl")), 1)

    def test_logits_of_an_unknown_query_are_named(self) -> None:
        with tempfile.TemporaryDirectory() as path:
            folder = Path(path)
            logits = self.folder(folder, self.line("q3"))
            with self.assertRaisesRegex(SetupError, "not what crossrank read: KeyError"):
                read_queries(folder, None, logits)
            logits.unlink()
            with self.assertRaisesRegex(SetupError, "logits.jsonl"):
                read_queries(folder, None, logits)

    def test_texts_are_stripped_and_never_empty(self) -> None:
        with tempfile.TemporaryDirectory() as path:
            corpus = Path(path) / "corpus.jsonl"
            corpus.write_text('{"text": " a "}\n{"text": "a"}\n{"text": " "}\n', "utf-8")
            self.assertEqual(texts(corpus), {"a"})
            corpus.write_text('{"title": "a"}\n', "utf-8")
            with self.assertRaisesRegex(SetupError, "expected JSON with"):
                texts(corpus)


if __name__ == "__main__":
    unittest.main()
