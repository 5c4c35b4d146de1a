"""What can be checked without any engine, with numpy alone: `python -m unittest discover tools/peers`."""

import tempfile
import unittest
from pathlib import Path

import numpy as np

from peers import plot, record, summary, table
from peers.errors import Refused, SetupError
from peers.scores import Expected, compare, refuse_wrong, require_telling
from peers.settings import OPENVINO_F32, PAIRINGS, select


def a_round(number: int, who: str, workload: str, ours: float | None, theirs: float) -> dict:
    """A round as a run notes it."""
    line = {"p50_ms": ours, "peak_rss_mb": 150.0} if ours else None
    about = {"dtype": "f32", "who": who, "workload": workload, "round": number}
    return about | {"ours": line, "theirs": {"p50_ms": theirs, "runs": 2}}


def a_record() -> dict:
    """OpenVINO's second setting is faster on both workloads, by medians; its first round is an outlier."""
    one, two = (setting.key for setting in OPENVINO_F32)
    rounds = []
    for workload, ours in (("pair", 2.0), ("many", 200.0)):
        for n, drift in enumerate((1.0, 1.5, 2.0)):
            rounds.append(a_round(n, one, workload, ours * drift, ours * drift * 2))
            rounds.append(a_round(n, two, workload, ours * drift, ours * (9 if n == 0 else drift * 1.5)))
    engines = {s.key: {"engine": s.engine, "precision": s.precision, "streams": s.streams} for s in OPENVINO_F32}
    model = {
        "name": "m",
        "sizes": {"hidden_size": 8, "num_hidden_layers": 2},
        "workloads": {"pair": {"pairs": 1, "tokens": 60}, "many": {"pairs": 50, "tokens": 3000}},
        "engines": engines,
        "scores": [{"who": "crossrank-f32", "against": "PyTorch f32", "worst": 1e-5, "mean": 2e-6}],
        "skipped": [{"who": "crossrank-int8", "reason": "no such\ndtype"}],
        "fresh": [{"who": one, "peak_rss_mb": 500.0}, {"who": two, "peak_rss_mb": 400.0}],
        "rounds": rounds,
    }
    return {
        "kind": "peers",
        "date": "2026-01-01",
        "command": "python compare.py",
        "machine": {"cpu": "A CPU", "cores": 2, "flags": ["avx2", "avx512_vnni"]},
        "versions": {"onnxruntime": "1", "openvino": "2", "sentence-transformers": "3", "torch": "4"},
        "options": {"threads": 2, "rounds": 3},
        "models": [model],
    }


class Summary(unittest.TestCase):
    """Medians, ratios and the choice of a setting."""

    def test_a_single_pair_counts_one_stream_only(self) -> None:
        cell = summary.cell(a_record()["models"][0], "f32", "OpenVINO", "pair")
        self.assertEqual((cell.key, cell.ms, cell.ratio), ("openvino-f32-1x16", 6.0, 2.0))

    def test_the_faster_setting_counts_and_ratios_are_of_neighbours(self) -> None:
        model = a_record()["models"][0]
        cell = summary.cell(model, "f32", "OpenVINO", "many")
        self.assertEqual((cell.key, cell.ms), ("openvino-f32-1x16", 600.0))
        for r in model["rounds"]:
            if r["who"] == "openvino-f32-2x4" and r["round"] == 0:
                r["theirs"]["p50_ms"] = 100.0
        cell = summary.cell(model, "f32", "OpenVINO", "many")
        self.assertEqual((cell.key, cell.ms, cell.ratio), ("openvino-f32-2x4", 450.0, 1.5))
        self.assertEqual((cell.low, cell.high), (0.5, 1.5))

    def test_without_ours_there_is_a_time_and_no_ratio(self) -> None:
        model = a_record()["models"][0]
        for r in model["rounds"]:
            r["ours"] = None
        cell = summary.cell(model, "f32", "OpenVINO", "pair")
        self.assertEqual((cell.ms, cell.ratio), (6.0, None))
        self.assertIsNone(summary.ours_ms(model, "f32", "pair"))


class Shown(unittest.TestCase):
    """Table, plot and README."""

    def test_table_and_plot_show_the_same_figures(self) -> None:
        lines = table.block(a_record(), None)
        self.assertIn("| f32 | **crossrank** | **3.00** | **300** | 150 |", lines)
        self.assertIn("|  | OpenVINO | 6.00 (2.00) | 600 (2.00) | 400 |", lines)
        self.assertIn("Not shown: crossrank-int8 (no such dtype).", lines)
        svg = plot.plot(a_record())
        for value in (">3.00<", ">300<", ">6.00<", ">600<", "pair: 1 pair, 60 tokens"):
            self.assertIn(value, svg)

    def test_the_spread_is_that_of_the_shown_setting(self) -> None:
        self.assertEqual(table.spread(a_record()), 0.0)
        disturbed = a_record()
        disturbed["models"][0]["rounds"][0]["theirs"]["p50_ms"] *= 1.5
        self.assertAlmostEqual(table.spread(disturbed), 0.5)

    def test_a_record_survives_the_file(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "r.json"
            record.write_record(a_record(), path)
            self.assertEqual(record.read_record(path), a_record())

    def test_only_what_is_between_the_markers_changes(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            readme = Path(folder) / "README.md"
            text = "before\n<!-- peers:begin -->\nold\n<!-- peers:end -->\nafter\n"
            readme.write_text(text, "utf-8")
            record.insert(readme, "peers", ["new"])
            self.assertEqual(readme.read_text("utf-8"), text.replace("old", "new"))
            record.insert(readme, "peers", ["old"])
            self.assertEqual(readme.read_text("utf-8"), text)
            with self.assertRaisesRegex(SetupError, "150 or more"):
                record.insert(readme, "peers", ["x"] * 150)
            with self.assertRaisesRegex(SetupError, "widths:begin"):
                record.insert(readme, "widths", ["x"])


class Scores(unittest.TestCase):
    """Who is let in."""

    def test_wrong_f32_is_refused_and_rounding_is_not(self) -> None:
        expected = Expected("r", [[("q", "d"), ("q", "e")]], np.array([[1.0], [2.0]]))
        result = compare(expected, [[1.0], [2.01]])
        self.assertAlmostEqual(result["worst"], 0.01, 6)
        refuse_wrong("bf16", [result])
        with self.assertRaisesRegex(Refused, "0.01"):
            refuse_wrong("f32", [result])

    def test_logits_that_hardly_differ_show_nothing(self) -> None:
        require_telling(Expected("r", [[]], np.array([[1.0], [2.0]])))
        with self.assertRaisesRegex(SetupError, "show nothing"):
            require_telling(Expected("r", [[]], np.array([[1.0], [1.001]])))

    def test_nan_and_missing_logits_are_refused(self) -> None:
        expected = Expected("r", [[("q", "d")]], np.array([[1.0]]))
        for logits in ([[float("nan")]], [], [[1.0], [2.0]]):
            with self.assertRaises(Refused):
                compare(expected, logits)


class Selection(unittest.TestCase):
    """Options."""

    def test_settings_by_part_of_the_key(self) -> None:
        self.assertEqual(select(["f32"], ["openvino"]), {"f32": OPENVINO_F32})
        self.assertEqual(select(["int8"], []), {"int8": PAIRINGS["int8"]})
        for dtypes, peers in ((["f64"], []), (["f32"], ["none"])):
            with self.assertRaises(SetupError):
                select(dtypes, peers)

    def test_keys_are_unique(self) -> None:
        settings = {s for chosen in PAIRINGS.values() for s in chosen}
        self.assertEqual(len({s.key for s in settings}), len(settings))


if __name__ == "__main__":
    unittest.main()
