"""Records and tables of `fidelity.py`, without any engine: `python -m unittest discover tools/peers`."""

import contextlib
import io
import json
import tempfile
import unittest
from pathlib import Path

from peers import fidelity_table, record
from peers.errors import SetupError
from peers.fidelity import Fidelity, Plan, check_same, held_out
from peers.ranking import Figures, Query, figures


def a_ranking(engine: str, precision: str, mean_delta: float, hint: str | None = None) -> dict:
    """One line of a record."""
    about = {"who": f"{engine}-{precision}", "engine": engine, "precision": precision, "hint": hint}
    quality = {"ndcg10": 0.4125, "mrr10": 0.5, "overlap10": 0.9775, "kendall_tau": 0.98004}
    return about | quality | {"mean_delta": mean_delta, "worst_delta": 0.0876}


def a_set(name: str, rankings: list[dict], skipped: list[dict] | None = None) -> dict:
    """The part of a record that is about one set of texts."""
    return {
        "name": name,
        "calibration": f"texts/{name}.jsonl",
        "queries": 40,
        "judged_queries": 40,
        "queries_without_candidates": 0,
        "pairs": 2000,
        "logit_sd": 2.5,
        "reference": {"ndcg10": 0.4, "mrr10": 0.5021},
        "isa": "avx512",
        "passed": True,
        "skipped": skipped or [],
        "rankings": rankings,
    }


def a_record(sets: list[dict]) -> dict:
    """As a run writes it."""
    return {
        "kind": "fidelity",
        "date": "2026-01-01",
        "command": "python fidelity.py",
        "machine": {"cpu": "A CPU"},
        "versions": {"onnxruntime": "1", "openvino": "2"},
        "options": {"threads": 2, "queries": 40, "quantize": []},
        "sets": sets,
    }


OURS = a_ranking("crossrank", "int8", 0.01875)
BETTER = a_ranking("OpenVINO", "int8", 0.0411, "bf16")
WORSE = a_ranking("OpenVINO", "int8", 0.0412, "f32")


class Table(unittest.TestCase):
    """What is shown of a record."""

    def test_a_row_says_how_far_a_ranking_moved(self) -> None:
        lines = fidelity_table.table(a_record([a_set("one", [OURS])]))
        self.assertIn("nDCG@10 moved by | MRR@10 moved by | top-10 overlap | Kendall's tau-b", lines[0])
        expected = "| **crossrank** int8 | +0.0125 | -0.0021 | 0.978 | 0.980 | 1.88 % | 8.8 % |"
        self.assertEqual(lines[2:], [expected])

    def test_of_an_engines_settings_the_most_faithful_is_shown(self) -> None:
        part = a_set("one", [OURS, WORSE, BETTER])
        self.assertIs(fidelity_table.most_faithful(part, "OpenVINO", "int8"), BETTER)
        self.assertIsNone(fidelity_table.most_faithful(part, "OpenVINO", "bf16"))
        lines = fidelity_table.table(a_record([part]))
        self.assertEqual([line.split(" | ")[0] for line in lines[2:]], ["| **crossrank** int8", "| OpenVINO int8"])
        self.assertIn("| 4.11 % |", lines[3])

    def test_several_sets_share_a_cell_and_a_missing_engine_leaves_a_dash(self) -> None:
        lines = fidelity_table.table(a_record([a_set("one", [OURS, WORSE]), a_set("two", [OURS])]))
        self.assertIn("| 1.88 % / 1.88 % |", lines[2])
        self.assertIn("| +0.0125 / - |", lines[3])
        self.assertTrue(lines[3].endswith("| 8.8 % / - |"), lines[3])

    def test_the_caption_says_what_was_compared_and_how_openvino_was_calibrated(self) -> None:
        caption = fidelity_table.caption(a_record([a_set("one", [OURS, BETTER]), a_set("two", [OURS, BETTER])]))
        for part in (
            "one (40 queries, 2,000 pairs; f32: nDCG@10 0.4000, MRR@10 0.5021) / two (40 queries",
            "calibrated on texts/one.jsonl for one, texts/two.jsonl for two;",
            "of both precision hints the more faithful: bf16)",
            "2026-01-01, A CPU, crossrank on avx512: `python fidelity.py`",
        ):
            self.assertIn(part, caption)

    def test_hints_that_differ_are_named_by_set(self) -> None:
        said = fidelity_table.hint(a_record([a_set("one", [BETTER]), a_set("two", [WORSE])]))
        self.assertIn("the more faithful: bf16 on one, f32 on two)", said)
        self.assertEqual(fidelity_table.hint(a_record([a_set("one", [OURS])])), "")

    def test_who_is_missing_from_all_sets_is_named_once(self) -> None:
        skipped = [{"who": "onnxruntime-int8-1x16", "reason": "no\nfile"}]
        block = fidelity_table.block(a_record([a_set("one", [OURS], skipped), a_set("two", [OURS], skipped)]))
        self.assertEqual(block[-1], "Not shown: onnxruntime-int8-1x16 (no file).")
        self.assertEqual(sum(line.startswith("Not shown") for line in block), 1)


class Record(unittest.TestCase):
    """Records as files."""

    def test_a_record_survives_the_file_and_has_a_ranking_a_line(self) -> None:
        written = a_record([a_set("one", [OURS, BETTER])])
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "fidelity.json"
            record.write_record(written, path)
            self.assertEqual(record.read_record(path), written)
            lines = [line.strip().rstrip(",") for line in path.read_text("utf-8").splitlines()]
            self.assertIn(json.dumps(OURS), lines)

    def test_a_record_without_rankings_is_none(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "fidelity.json"
            for sets, expected in (([], "not a record"), ([a_set("one", [])], "nothing was measured")):
                path.write_text(json.dumps(a_record(sets)), "utf-8")
                with self.assertRaisesRegex(SetupError, expected):
                    record.read_record(path)

    def test_the_table_goes_between_its_markers(self) -> None:
        written = a_record([a_set("one", [OURS])])
        with tempfile.TemporaryDirectory() as folder:
            readme = Path(folder) / "README.md"
            readme.write_text("a\n<!-- fidelity:begin -->\n<!-- fidelity:end -->\nb\n", "utf-8")
            lines = record.report(written, Path(folder) / "fidelity.json", readme)
            self.assertEqual(lines, fidelity_table.block(written))
            text = readme.read_text("utf-8")
            expected = "\n".join(["a", "<!-- fidelity:begin -->", *lines, "<!-- fidelity:end -->", "b", ""])
            self.assertEqual(text, expected)

    def test_a_line_of_the_record_has_six_digits(self) -> None:
        plan = Plan(Path("m"), Path("set"), Path("b"), Path("p"), Path("c"), 2, None, [])
        run = Fidelity(plan)
        with contextlib.redirect_stderr(io.StringIO()):
            run.note("who", "engine", "int8", None, Figures(1 / 3, 0.5, 1.0, -1 / 3, 1e-7 / 3, 2.0))
        (line,) = run.rankings
        about = {"who": "who", "engine": "engine", "precision": "int8", "hint": None}
        self.assertEqual({key: line[key] for key in about}, about)
        values = [line[key] for key in ("ndcg10", "kendall_tau", "mean_delta", "worst_delta")]
        self.assertEqual(values, [0.333333, -0.333333, 3.33333e-08, 2.0])


class Same(unittest.TestCase):
    """Our Rust command's figures against these scripts'."""

    def setUp(self) -> None:
        self.queries = [Query("a", {"x": 1}, ["x", "y"], [("a", "x"), ("a", "y")], [1.0, -1.0])]
        self.found = figures(self.queries, [[1.0, -2.0]])

    def printed(self, **changes: float) -> dict:
        """As `crossrank quantize --verify` prints them; the reference's deviation is 1."""
        best = {"ndcg10": 1.0, "mrr10": 1.0}
        counts = {"queries": 1, "judged_queries": 1, "pairs": 2, "logit_sd": 1.0}
        moved = {"overlap10": 1.0, "kendall_tau": 1.0, "mean_delta": 0.5, "worst_delta": 1.0}
        return counts | moved | {"reference": best, "other": best} | changes

    def test_the_same_figures_pass(self) -> None:
        check_same(self.printed(), self.queries, self.found)
        check_same(self.printed(mean_delta=0.5 + 1e-7), self.queries, self.found)

    def test_another_figure_is_named_with_both_values(self) -> None:
        for key, value in (("pairs", 3), ("logit_sd", 1.5), ("kendall_tau", 0.9), ("mean_delta", 0.5001)):
            with self.assertRaisesRegex(SetupError, f"{key}: .* by these scripts, {value} by crossrank"):
                check_same(self.printed(**{key: value}), self.queries, self.found)
        for key in ("reference", "other"):
            changed = self.printed(**{key: {"ndcg10": 0.5, "mrr10": 1.0}})
            with self.assertRaisesRegex(SetupError, f"{key}.ndcg10: 1.0 by these scripts, 0.5"):
                check_same(changed, self.queries, self.found)


class HeldOut(unittest.TestCase):
    """Which texts OpenVINO's int8 is calibrated on."""

    def test_the_first_file_that_shares_no_text_with_the_set(self) -> None:
        with tempfile.TemporaryDirectory() as path:
            folder = Path(path)
            files = [folder / name for name in ("corpus.jsonl", "shared.jsonl", "other.jsonl")]
            for file, words in zip(files, (["a", "b"], ["c", "b"], ["c", "d"]), strict=True):
                file.write_text("".join(json.dumps({"text": word}) + "\n" for word in words), "utf-8")
            _, shared, other = files
            self.assertEqual(held_out(folder, [shared, other]), other)
            with self.assertRaisesRegex(SetupError, "has texts of"):
                held_out(folder, [shared])
            with self.assertRaisesRegex(SetupError, "no such file"):
                held_out(folder, [folder / "missing.jsonl", other])


if __name__ == "__main__":
    unittest.main()
