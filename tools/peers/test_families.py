"""What can be checked of `families.py` without any engine: `python -m unittest discover tools/peers`."""

import copy
import json
import tempfile
import unittest
from collections import Counter
from pathlib import Path

import numpy as np

from peers import family_extras, family_table, record, summary
from peers.comparison import finalists
from peers.errors import SetupError
from peers.family_sizes import FAMILIES, LARGE, chosen, modernbert, sizes, widths
from peers.family_tokenizers import pieces
from peers.random_family import draw, modules
from peers.settings import FAMILY_PAIRINGS, LONG_PAIRINGS, PAIRINGS, Setting
from peers.texts import Workload

PAIR = Workload("pair", "q", ["d"])
SNIPPETS = Workload("snippets", "q", ["d"] * 20)


def setting(engine: str, artifact: str, streams: int) -> Setting:
    """One that differs in what heats are about."""
    return Setting(engine, "f32", engine, artifact, streams=streams, batch=16 // streams)


ONE = setting("openvino", "plain.onnx", 1)
TWO = setting("openvino", "plain.onnx", 2)
OTHER_GRAPH = setting("openvino", "plain-sdpa.onnx", 1)
ORT = setting("onnxruntime", "fused.onnx", 1)


def heats(workload: str, **times: float) -> list[dict]:
    """Heats by the settings' names here."""
    known = {"one": ONE, "two": TWO, "other": OTHER_GRAPH, "ort": ORT}
    return [{"who": known[name].key, "workload": workload, "p50_ms": ms} for name, ms in times.items()]


class Heats(unittest.TestCase):
    """Who goes through the rounds."""

    def test_only_what_is_near_the_fastest_of_its_engine(self) -> None:
        found = heats("snippets", one=100.0, two=80.0, other=87.0, ort=500.0) + heats("pair", one=5.0, two=1.0, ort=9.0)
        settings = [ONE, TWO, OTHER_GRAPH, ORT]
        self.assertEqual(finalists(settings, SNIPPETS, found), [TWO, OTHER_GRAPH, ORT])
        self.assertEqual(finalists(settings, PAIR, found), [ONE, ORT])

    def test_without_heats_all(self) -> None:
        self.assertEqual(finalists([ONE, TWO], PAIR, []), [ONE, TWO])

    def test_who_did_not_run_is_out(self) -> None:
        self.assertEqual(finalists([ONE, ORT], SNIPPETS, heats("snippets", ort=1.0)), [ORT])


class Settings(unittest.TestCase):
    """Both graphs take part."""

    def test_keys_are_unique_and_all_of_the_others_are_there(self) -> None:
        settings = {s for some in FAMILY_PAIRINGS.values() for s in some}
        self.assertEqual(len({s.key for s in settings}), len(settings))
        self.assertLess({s for some in PAIRINGS.values() for s in some}, settings)
        graphs = {s.artifact for s in settings if s.engine == "ONNX Runtime"}
        expected = {"fused.onnx", "fused-sdpa.onnx", "fused-int8.onnx", "fused-sdpa-int8.onnx"}
        self.assertEqual(graphs, expected)

    def test_long_documents_run_alone_or_one_to_a_thread(self) -> None:
        self.assertEqual({(s.streams, s.batch) for s in LONG_PAIRINGS["f32"]}, {(1, 1), (2, 1)})


class Families(unittest.TestCase):
    """Configs and what is drawn for them."""

    def test_names_are_chosen_and_the_large_one_only_when_asked_for(self) -> None:
        self.assertEqual(chosen([], large=False), list(FAMILIES))
        self.assertEqual(chosen(["ettin-17m"], large=True)[1:], [LARGE])
        self.assertEqual(chosen(["xlmr-large"], large=True), [LARGE])
        with self.assertRaisesRegex(SetupError, "ettin-99m"):
            chosen(["ettin-99m"], large=False)

    def test_sizes_have_one_name_whatever_the_config_calls_them(self) -> None:
        for family in (*FAMILIES, LARGE):
            found = family.sizes
            self.assertTrue(all(isinstance(value, int) for value in found.values()), family.name)
            self.assertEqual(found["hidden_size"] % found["num_attention_heads"], 0, family.name)
        self.assertEqual(sizes({"dim": 8, "n_layers": 2, "n_heads": 1, "hidden_dim": 9})["hidden_size"], 8)

    def test_every_third_layer_of_modernbert_is_global(self) -> None:
        types = modernbert("m", widths(7, 8, 2, 16)).config["layer_types"]
        self.assertEqual([i for i, kind in enumerate(types) if kind == "full_attention"], [0, 3, 6])

    def test_draws_repeat_and_no_tensor_is_constant(self) -> None:
        for name in ("encoder.layer.0.LayerNorm.weight", "a.norm.bias", "embeddings.word.weight", "classifier.weight"):
            tensors = [draw(name, (4, 6), np.random.default_rng(1)) for _ in range(2)]
            self.assertTrue(np.array_equal(*tensors), name)
            self.assertEqual(tensors[0].dtype, np.float32, name)
            self.assertGreater(np.ptp(tensors[0]), 0, name)
        gained = np.std(draw("classifier.out_proj.weight", (50, 50), np.random.default_rng(1)))
        plain = np.std(draw("classifier.dense.weight", (50, 50), np.random.default_rng(1)))
        self.assertGreater(gained, 4 * plain)

    def test_a_modular_head_chains(self) -> None:
        family = next(family for family in FAMILIES if family.modular)
        pooling, first, norm, last = modules(family, np.random.default_rng(1))
        hidden = family.sizes["hidden_size"]
        self.assertEqual(pooling[1]["embedding_dimension"], hidden)
        self.assertEqual(first[2]["linear.weight"].shape, (hidden, hidden))
        self.assertEqual(norm[2]["norm.bias"].shape, (hidden,))
        self.assertEqual((last[1]["module_output_name"], last[2]["linear.weight"].shape), ("scores", (1, hidden)))

    def test_pieces_have_every_letter_and_probabilities(self) -> None:
        found = pieces(Counter({"rivers": 3, "run": 1}), 20)
        self.assertEqual(len(found), len(dict(found)))
        self.assertLessEqual({"\u2581", *"riversun"}, set(dict(found)))
        self.assertAlmostEqual(sum(np.exp(score) for _, score in found), 1, 4)


def a_round(dtype: str, who: str, workload: str, ours: float, theirs: float) -> dict:
    """A round as a run notes it."""
    line = {"p50_ms": ours, "peak_rss_mb": 150.0, "tokenise_ms": ours / 50}
    return {
        "dtype": dtype,
        "who": who,
        "workload": workload,
        "round": 0,
        "ours": line,
        "theirs": {"p50_ms": theirs, "runs": 2},
    }


def a_record() -> dict:
    """One family, with everything that a run may add."""
    settings = {
        "openvino-int8-f32-1x16": "int8",
        "openvino-bf16-1x16": "bf16",
    }
    engines = {
        key: {"engine": "OpenVINO", "precision": precision, "streams": 1} for key, precision in settings.items()
    }
    rounds = []
    for workload, ours in (("snippets", 200.0), ("pair", 4.0)):
        rounds.append(a_round("int8", "openvino-int8-f32-1x16", workload, ours, 2 * ours))
        rounds.append(a_round("int8", "openvino-bf16-1x16", workload, ours, 3 * ours))
    model = {
        "name": "ettin-32m",
        "sizes": {},
        "workloads": {"snippets": {"pairs": 20, "tokens": 1500}, "pair": {"pairs": 1, "tokens": 60}},
        "engines": engines,
        "scores": [],
        "skipped": [{"who": "onnxruntime-int8-1x16", "reason": "cannot\nload"}],
        "fresh": [{"who": "openvino-int8-f32-1x16", "peak_rss_mb": 500.0}],
        "heats": [],
        "rounds": rounds,
    }
    long = copy.deepcopy(model) | {"name": "modernbert-base", "skipped": []}
    long["workloads"] = {"long8000": {"pairs": 2, "tokens": 16000}}
    long["engines"] = {"openvino-f32-2x1": {"engine": "OpenVINO", "precision": "f32", "streams": 2}}
    long["fresh"] = [{"who": "openvino-f32-2x1", "peak_rss_mb": 4000.0}]
    long["rounds"] = [
        a_round("f32", "openvino-f32-2x1", "long8000", 20_000.0, 60_000.0),
        a_round("int8", "openvino-f32-2x1", "long8000", 9_000.0, 60_000.0) | {"who": None, "theirs": None},
    ]
    start = {"model": "xlmr-base", "pairs": 20, "peak_mb": 210.0, "packed_peak_mb": 160.0, "first_score_ms": 99.0}
    per_token = {"model": "ettin-32m", "us": 10.0, "beside": "minilm-l6", "beside_us": 8.0, "ratio": 1.25}
    return {
        "kind": "families",
        "date": "2026-01-01",
        "command": "python families.py",
        "machine": {"cpu": "A CPU", "cores": 2, "flags": ["avx2"]},
        "versions": {"onnxruntime": "1", "openvino": "2", "sentence-transformers": "3", "torch": "4"},
        "options": {"threads": 2, "rounds": 1},
        "models": [model],
        "extras": {
            "per_token": per_token,
            "tokenising": family_extras.tokenising([model], ("ettin-32m",)),
            "start": start,
            "long": long,
        },
    }


class Shown(unittest.TestCase):
    """The table and the lines under it."""

    def test_rows_and_lines(self) -> None:
        lines = family_table.block(a_record())
        row = "| ettin-32m | int8 | **200** | 400 (2.00), bf16 600 (3.00) |  |  | **4.00** : 8.00 (2.00) | 150 : 500 |"
        self.assertIn(row.replace("8.00 (2.00)", "8.00 (2.00), bf16 12.0 (3.00)"), lines)
        text = "\n".join(lines)
        for part in (
            "random weights",
            "Tokenising takes of int8's time: ettin-32m 2.0% (4.00 ms).",
            "ettin-32m 10.0 microseconds, minilm-l6 8.0 (1.25 times, by turns)",
            "first score of the packed one after 99 ms",
            "f32 **20.0 s**, peak 150 MB; OpenVINO 60.0 s (3.00), 4,000 MB; int8 **9.0 s**",
            "ettin-32m: Not shown: onnxruntime-int8-1x16 (cannot load).",
        ):
            self.assertIn(part, text)

    def test_a_record_survives_the_file_also_with_long_documents_alone(self) -> None:
        alone = a_record()
        alone["models"], alone["extras"] = [], {"long": alone["extras"]["long"]}
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "r.json"
            for found in (a_record(), alone):
                record.write_record(found, path)
                self.assertEqual(record.read_record(path), found)
                self.assertTrue(family_table.block(record.read_record(path)))
            empty = alone | {"extras": {}}
            path.write_text(json.dumps(empty), "utf-8")
            with self.assertRaisesRegex(SetupError, "not a record"):
                record.read_record(path)

    def test_the_share_of_tokenising_is_of_the_whole_time(self) -> None:
        model = a_record()["models"][0]
        self.assertEqual(family_extras.tokenising([model], ("ettin-32m",))[0]["share"], 0.02)
        self.assertEqual(family_extras.tokenising([model], ("mminilm-l12",)), [])
        self.assertEqual(summary.heaviest(model), "snippets")


if __name__ == "__main__":
    unittest.main()
