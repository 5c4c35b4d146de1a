#!/usr/bin/env python3
"""What settings beside a tokenizer do to the ids of a pair, as `transformers` and `sentence-transformers` have it.

    tokenizer_rules.py FIXTURE_DIR OUT.jsonl

Each line of the table has edits of a copy of the fixture, a pair of texts, and what comes out: `transformers5` holds ids and
type ids of the installed version (null where it fails), `author` those that the checkpoint was published with, or `refused`
with a word that the refusal must have. Where `author` is not said, it is what `transformers5` is. `logit` is the model's for
the pair of `author`, in f32.
"""

import contextlib
import copy
import io
import json
import logging
import shutil
import sys
import tempfile
import warnings
from pathlib import Path

import torch
from sentence_transformers import CrossEncoder
from tokenizers import Tokenizer
from transformers import AutoTokenizer, BertForSequenceClassification

CONFIG, FILE = "tokenizer_config.json", "tokenizer.json"
PLAIN = ("where do rivers go", "Rivers run to the sea.")
LONG = ("where do the rivers go", " ".join(["the river runs north to the sea"] * 6))
CASED = ("Where do Rivers GO", "The RIVERS run to the Sea")
ACCENTS = ("Schön", "Müller café 山河")
WORDS = ("mountain rivers", "rivers flow southward")
READ = ("rivers", "xready run")
SPECIAL = ("rivers", "a [SEP] b")
TRANSFORMER = "sentence_transformers.base.modules.transformer.Transformer"
MODULES = [{"idx": 0, "name": "0", "path": "", "type": TRANSFORMER}]
CLS_SEP = {t: {"id": t, "ids": [i], "tokens": [t]} for t, i in [("[CLS]", 2), ("[SEP]", 3)]}


def piece(name: str, type_id: int) -> dict:
    return {"Sequence" if name in "AB" else "SpecialToken": {"id": name, "type_id": type_id}}


def template(*pair: tuple[str, int]) -> dict:
    single = [piece("[CLS]", 0), piece("A", 0), piece("[SEP]", 0)]
    return {
        "type": "TemplateProcessing",
        "single": single,
        "pair": [piece(*part) for part in pair],
        "special_tokens": CLS_SEP,
    }


ZEROS = template(("[CLS]", 0), ("A", 0), ("[SEP]", 0), ("B", 0), ("[SEP]", 0))
DOUBLE = template(("[CLS]", 0), ("A", 0), ("[SEP]", 0), ("[SEP]", 0), ("B", 1), ("[SEP]", 1))
PLAIN_TOKEN = {"lstrip": False, "rstrip": False, "single_word": False, "normalized": False}


def token(content: str, **flags: bool) -> dict:
    return {"content": content, **PLAIN_TOKEN, "special": True, **flags}


NAMED = {str(i): token(t) for i, t in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])}
ADDED = [{"id": i, **token(t)} for i, t in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])]


def case(name: str, pair: tuple[str, str], *, author=None, remove=(), whole=None, **edits) -> dict:
    """`config` and `file` set fields of the two files by JSON pointer; `whole` are other files; `remove` is a list of
    [file, pointer]."""
    sets = {CONFIG: edits.get("config", {}), FILE: edits.get("file", {}), "config.json": edits.get("model", {})}
    return {
        "name": name,
        "set": {file: fields for file, fields in sets.items() if fields},
        "remove": [list(item) for item in remove],
        "write": whole or {},
        "query": pair[0],
        "document": pair[1],
        "author": author,
    }


def sentence_transformers(bert: dict, config: dict | None = None, modules=MODULES) -> dict:
    return {
        "modules.json": modules,
        "config_sentence_transformers.json": {"model_type": "CrossEncoder", **(config or {})},
        "sentence_bert_config.json": {"transformer_task": "sequence-classification", **bert},
    }


FAST, BACKEND = {"/tokenizer_class": "PreTrainedTokenizerFast"}, {"/tokenizer_class": "TokenizersBackend"}
NO_TYPES = {"/model_input_names": ["input_ids", "attention_mask"]}
WITH_TYPES = {"/model_input_names": ["input_ids", "token_type_ids", "attention_mask"]}
LOST = [*ADDED, {"id": 40, **token("read")}]


def refused(word: str) -> dict:
    return {"refused": word}


CASES = [
    case("as it is", PLAIN),
    case("no tokenizer_config.json", ACCENTS, remove=[[CONFIG, ""]]),
    # Absent keys.
    case("do_lower_case is absent and the file keeps case", CASED, remove=[[CONFIG, "/do_lower_case"]],
         file={"/normalizer/lowercase": False}),
    case("do_lower_case is false and the file lower-cases", CASED, config={"/do_lower_case": False}),
    case("strip_accents is absent and the file keeps accents", ACCENTS, remove=[[CONFIG, "/strip_accents"]],
         file={"/normalizer/strip_accents": False}),
    case("strip_accents is null and the file keeps accents", ACCENTS, file={"/normalizer/strip_accents": False}),
    case("strip_accents is false", ACCENTS, config={"/strip_accents": False}),
    case("tokenize_chinese_chars is absent and the file keeps words", ACCENTS,
         remove=[[CONFIG, "/tokenize_chinese_chars"]], file={"/normalizer/handle_chinese_chars": False}),
    case("tokenize_chinese_chars is false", ACCENTS, config={"/tokenize_chinese_chars": False}),
    case("no class, and the file keeps case", CASED, remove=[[CONFIG, "/tokenizer_class"], [CONFIG, "/do_lower_case"]],
         file={"/normalizer/lowercase": False}),
    *[case(f"class {name} and the file keeps case", CASED, config={"/tokenizer_class": name},
           file={"/normalizer/lowercase": False})
      for name in ["BertTokenizerFast", "ElectraTokenizer", "DistilBertTokenizer", "DistilBertTokenizerFast"]],
    case("class PreTrainedTokenizerFast, segments listed, and the file keeps case", CASED,
         config={**FAST, **WITH_TYPES}, file={"/normalizer/lowercase": False}),
    case("the class of config.json", PLAIN, remove=[[CONFIG, "/tokenizer_class"]],
         model={"/tokenizer_class": "DistilBertTokenizer"}),
    # What else the file says.
    case("words of 5 characters", WORDS, file={"/model/max_input_chars_per_word": 5}),
    case("another prefix of pieces", WORDS, file={"/model/continuing_subword_prefix": ""}),
    case("text is not cleaned", ("ri\x01vers", "se\u00ada runs"), file={"/normalizer/clean_text": False}),
    case("pre-tokeniser Whitespace", PLAIN, file={"/pre_tokenizer": {"type": "Whitespace"}}),
    case("normaliser Lowercase", ACCENTS, file={"/normalizer": {"type": "Lowercase"}}),
    case("normaliser NFKC", ("ﬁsh", "ｒｉｖｅｒ"), file={"/normalizer": {"type": "NFKC"}}),
    case("no normaliser", CASED, file={"/normalizer": None}),
    case("two [SEP]s between the texts", PLAIN, file={"/post_processor": DOUBLE}),
    case("no post-processor", PLAIN, file={"/post_processor": None}),
    case("a template of zeros", PLAIN, file={"/post_processor": ZEROS}),
    case("class PreTrainedTokenizerFast, segments listed, words of 5 characters", WORDS, config={**FAST, **WITH_TYPES},
         file={"/model/max_input_chars_per_word": 5}),
    case("class PreTrainedTokenizerFast, segments listed, two [SEP]s", PLAIN, config={**FAST, **WITH_TYPES},
         file={"/post_processor": DOUBLE}),
    # Segments.
    case("no segments listed", PLAIN, config=NO_TYPES),
    case("no segments listed and a template of zeros", PLAIN, config=NO_TYPES, file={"/post_processor": ZEROS}),
    case("no segments listed, class PreTrainedTokenizerFast", PLAIN, config={**FAST, **NO_TYPES}),
    case("no segments listed, class PreTrainedTokenizerFast, a template of zeros", PLAIN, config={**FAST, **NO_TYPES},
         file={"/post_processor": ZEROS}),
    case("segments listed, class DistilBertTokenizer", PLAIN,
         config={"/tokenizer_class": "DistilBertTokenizer", **WITH_TYPES}),
    case("class DistilBertTokenizer", PLAIN, config={"/tokenizer_class": "DistilBertTokenizer"}),
    case("class PreTrainedTokenizerFast", PLAIN, config=FAST, author="file"),
    case("class TokenizersBackend", PLAIN, config=BACKEND, author="file"),
    # Special and added tokens.
    case("special tokens are split", SPECIAL, config={"/split_special_tokens": True}),
    case("all special tokens are split", ("[MASK] rivers", "[CLS] [PAD] [UNK] [SEP]"),
         config={"/split_special_tokens": True}),
    case("special tokens are split, class PreTrainedTokenizerFast", SPECIAL,
         config={"/split_special_tokens": True, **FAST, **WITH_TYPES}),
    case("special tokens are split, an added one is not special", ("read", "a [SEP] xready"),
         config={"/split_special_tokens": True, "/added_tokens_decoder": {**NAMED, "40": token("read", special=False)}}),
    case("special tokens are not split", SPECIAL),
    case("added_tokens_decoder adds one", READ, config={"/added_tokens_decoder": {**NAMED, "40": token("read")}}),
    case("added_tokens_decoder has one alone", READ, config={"/added_tokens_decoder": {"40": token("read")}}),
    case("added_tokens_decoder adds one, class PreTrainedTokenizerFast", READ,
         config={"/added_tokens_decoder": {**NAMED, "40": token("read")}, **FAST, **WITH_TYPES}),
    case("added_tokens_decoder lacks one of the file", READ, config={"/added_tokens_decoder": NAMED},
         file={"/added_tokens": LOST}, author=refused("read")),
    case("added_tokens_decoder lacks one of the file, class PreTrainedTokenizerFast", READ,
         config={"/added_tokens_decoder": NAMED, **FAST, **WITH_TYPES}, file={"/added_tokens": LOST}),
    case("a token with other properties in either file", ("rivers", "a read b"),
         config={"/added_tokens_decoder": {**NAMED, "40": token("read", lstrip=True)}}, file={"/added_tokens": LOST},
         author=refused("lstrip")),
    case("a token that takes the space before it", ("rivers read", "a [MASK] b"),
         config={"/added_tokens_decoder": {**NAMED, "4": token("[MASK]", lstrip=True)}},
         file={"/added_tokens": [*ADDED[:4], {"id": 4, **token("[MASK]", lstrip=True)}]}),
    case("a token found in normalised text", ("rivers READ", "xREADy"),
         config={"/added_tokens_decoder": {**NAMED, "40": token("read", normalized=True, special=False)}}),
    case("additional_special_tokens", READ, config={"/additional_special_tokens": ["read"]}),
    case("extra_special_tokens", READ, config={"/extra_special_tokens": ["read"]}),
    case("extra_special_tokens by name", READ, config={"/extra_special_tokens": {"reading_token": "read"}}),
    case("a token with a name of its own", READ, config={"/reading_token": "read"}),
    case("additional_special_tokens, class PreTrainedTokenizerFast", READ,
         config={"/additional_special_tokens": ["read"], **FAST, **WITH_TYPES}),
    case("sep_token is [MASK]", PLAIN, config={"/sep_token": "[MASK]"}),
    case("cls_token is [MASK], an object", PLAIN,
         config={"/cls_token": {"__type": "AddedToken", **PLAIN_TOKEN, "content": "[MASK]"}}),
    case("unk_token is [PAD]", ("rivers ☃", "☃ x☃"), config={"/unk_token": "[PAD]"}),
    case("pad_token is read", READ, config={"/pad_token": "read"}),
    # What versions before 5 wrote, and all read.
    case("special_tokens_map.json has another separator", PLAIN,
         whole={"special_tokens_map.json": {"sep_token": "[MASK]"}}),
    case("special_tokens_map.json has an object, and tokenizer_config.json another token", PLAIN,
         config={"/cls_token": "[PAD]"},
         whole={"special_tokens_map.json": {"cls_token": {**PLAIN_TOKEN, "content": "[MASK]"}}}),
    case("special_tokens_map.json beside an added_tokens_decoder", PLAIN, config={"/added_tokens_decoder": NAMED},
         whole={"special_tokens_map.json": {"sep_token": "[MASK]"}}),
    case("special_tokens_map.json without tokenizer_config.json", PLAIN, remove=[[CONFIG, ""]],
         whole={"special_tokens_map.json": {"sep_token": "[MASK]"}}),
    case("special_tokens_map.json has an additional token", READ,
         whole={"special_tokens_map.json": {"additional_special_tokens": ["read"]}}),
    # The window.
    case("a long pair", LONG),
    case("model_max_length", LONG, config={"/model_max_length": 20}),
    case("max_len", LONG, config={"/max_len": 20}, remove=[[CONFIG, "/model_max_length"]]),
    case("max_len beside model_max_length", LONG, config={"/max_len": 20, "/model_max_length": 30}),
    case("right in one file, left in the other", LONG, config={"/truncation_side": "right", "/model_max_length": 20},
         file={"/truncation": {"direction": "Left", "max_length": 8, "strategy": "LongestFirst", "stride": 0}}),
    case("add_prefix_space", PLAIN, config={"/add_prefix_space": True}),
    # sentence-transformers.
    case("max_seq_length", LONG, whole=sentence_transformers({"max_seq_length": 16})),
    case("max_seq_length beyond model_max_length", LONG, config={"/model_max_length": 20},
         whole=sentence_transformers({"max_seq_length": 40})),
    case("max_length of the texts", LONG, whole=sentence_transformers({"processing_kwargs": {"text": {"max_length": 24}}})),
    case("only the document is cut", (LONG[0], LONG[1]),
         whole=sentence_transformers({"max_seq_length": 30, "processing_kwargs": {"text": {"truncation": "only_second"}}})),
    case("texts are lower-cased first", CASED, config={"/do_lower_case": False},
         file={"/normalizer/lowercase": False}, whole=sentence_transformers({"do_lower_case": True})),
    case("texts are lower-cased first, accents too", ("SCHÖN İSTANBUL", "MÜLLER CAFÉ"), config={"/do_lower_case": False},
         file={"/normalizer/lowercase": False}, whole=sentence_transformers({"do_lower_case": True})),
    case("a default prompt", PLAIN, whole=sentence_transformers(
        {}, {"prompts": {"query": "the sea: ", "other": "x"}, "default_prompt_name": "query"})),
    case("prompts without a default", PLAIN, whole=sentence_transformers({}, {"prompts": {"query": "the sea: "}})),
    case("max_seq_length without modules.json", LONG,
         whole={"sentence_bert_config.json": {"max_seq_length": 16, "transformer_task": "sequence-classification"}}),
    case("max_seq_length of another model type", LONG, whole={
        **sentence_transformers({"max_seq_length": 16}),
        "config_sentence_transformers.json": {"model_type": "SentenceTransformer"}}),
]


def edited(fixture: Path, row: dict, folder: Path) -> None:
    for path in fixture.iterdir():
        shutil.copyfile(path, folder / path.name)
    for file, fields in row["set"].items():
        value = json.loads((folder / file).read_text("utf-8"))
        for pointer, field in fields.items():
            *parents, last = pointer.split("/")[1:]
            inner = value
            for parent in parents:
                inner = inner[parent]
            inner[last] = field
        (folder / file).write_text(json.dumps(value), "utf-8")
    for file, pointer in row["remove"]:
        if not pointer:
            (folder / file).unlink()
            continue
        value = json.loads((folder / file).read_text("utf-8"))
        del value[pointer[1:]]
        (folder / file).write_text(json.dumps(value), "utf-8")
    for file, value in row["write"].items():
        (folder / file).write_text(json.dumps(value), "utf-8")


def encoded(ids: list[int], type_ids: list[int] | None) -> dict:
    return {"ids": ids, "type_ids": type_ids if type_ids is not None else [0] * len(ids)}


def by_transformers(folder: Path, row: dict, positions: int) -> dict:
    pair = (row["query"], row["document"])
    if row["write"]:
        encoder = CrossEncoder(str(folder), device="cpu", local_files_only=True)
        features = encoder.preprocess([pair], prompt=encoder._resolve_prompt(None, None))
        types = features.get("token_type_ids")
        return encoded(features["input_ids"][0].tolist(), None if types is None else types[0].tolist())
    tokenizer = AutoTokenizer.from_pretrained(folder)
    limit = min(tokenizer.model_max_length, positions)
    out = tokenizer([pair[0]], [pair[1]], truncation="longest_first", max_length=limit)
    types = out.get("token_type_ids")
    return encoded(out["input_ids"][0], None if types is None else types[0])


def main() -> None:
    fixture, out = Path(sys.argv[1]), Path(sys.argv[2])
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    model = BertForSequenceClassification.from_pretrained(fixture, dtype=torch.float32).eval()
    lines = []
    for row in copy.deepcopy(CASES):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            edited(fixture, row, folder)
            with contextlib.redirect_stderr(io.StringIO()):
                row["transformers5"] = by_transformers(folder, row, model.config.max_position_embeddings)
            if row["author"] == "file":
                plain = Tokenizer.from_file(str(folder / FILE)).encode(row["query"], row["document"])
                row["author"] = encoded(plain.ids, plain.type_ids)
            row["author"] = row["author"] or row["transformers5"]
        if "ids" in row["author"]:
            inputs = {"input_ids": row["author"]["ids"], "token_type_ids": row["author"]["type_ids"]}
            with torch.no_grad():
                logits = model(**{key: torch.tensor([value]) for key, value in inputs.items()}).logits
            row["logit"] = round(logits.item(), 7)
        lines.append(json.dumps(row, ensure_ascii=True))
        print(row["name"], len(row["transformers5"]["ids"]), row.get("logit"))
    out.write_text("\n".join(lines) + "\n", "utf-8")
    print(f"{len(lines)} cases")


if __name__ == "__main__":
    main()
