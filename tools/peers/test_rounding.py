"""What can be checked of `rounding.py` without any engine: `python -m unittest discover tools/peers`."""

import tempfile
import unittest
from pathlib import Path

import numpy as np

import rounding
from peers import record
from peers.family_sizes import MIDDLES


class Rounding(unittest.TestCase):
    """Figures, pairs and table."""

    def test_changes_are_parts_of_the_deviation(self) -> None:
        f32 = np.array([1.0, 3.0, 1.0, 3.0])
        self.assertEqual(rounding.moved(f32, f32 + [0.1, -0.3, 0.0, 0.0]), {"mean": 0.1, "worst": 0.3})

    def test_pairs_are_those_that_are_judged(self) -> None:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "queries.tsv").write_text("a\twhere\nb\twho\n", "utf-8")
            (folder / "corpus.jsonl").write_text('{"id": "1", "text": "x"}\n{"id": "2", "text": "y"}\n', "utf-8")
            (folder / "qrels.txt").write_text("b 0 1 2\na 0 2 0\na 0 1 1\n", "utf-8")
            self.assertEqual(rounding.judged_pairs(folder, 2), [("who", "x"), ("where", "y")])

    def test_only_the_mean_pooled_are_called_so(self) -> None:
        means = [family.name for family in MIDDLES if rounding.pooled(family) == "mean"]
        self.assertEqual(means, ["modernbert-middle-mean"])

    def test_the_table_and_the_file_have_the_figures(self) -> None:
        moved = {"mean": 0.0123, "worst": 0.1}
        model = {"name": "m", "sizes": {"num_hidden_layers": 6, "hidden_size": 256}, "pooled": "mean", "pairs": 240}
        model |= {"deviation": 1.5, "f32_worst": 1e-6, "bf16": moved, "int8": moved}
        about = {"date": "2026-01-01", "machine": {"cpu": "A CPU"}, "isa": "amx", "command": "python rounding.py"}
        found = {"kind": "rounding", "models": [model]} | about
        lines = rounding.table(found)
        self.assertIn("| m | 6 x 256 | mean | 1.5 | 1.23 % / 10.0 % | 1.23 % / 10.0 % |", lines)
        self.assertTrue(any(line.startswith("Random weights.") and "240 pairs" in line for line in lines))
        with tempfile.TemporaryDirectory() as folder:
            record.write_record(found, Path(folder) / "r.json")
            self.assertIn('"worst": 0.1', (Path(folder) / "r.json").read_text("utf-8"))


if __name__ == "__main__":
    unittest.main()
