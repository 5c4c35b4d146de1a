#!/usr/bin/env python3
"""Small tokenizers of each kind, and the ids that they give to pairs of texts.

    tokenizer_kinds.py CORPUS TOKENIZERS_DIR OUT.jsonl

Trains the tokenizers into folders of TOKENIZERS_DIR, with the files from before tokenizer.json beside it. Each line of OUT has
the folder, which of its files are there, `tokenizer_config.json`, edits of `tokenizer.json`, and pairs with what comes out:
`transformers5` are ids and type ids of the installed version of transformers (null where it fails), `author` those of
`tokenizer.json` as it stands in the `tokenizers` library, with what version 4 of transformers takes from the settings.
Where a folder has no `tokenizer.json`, `author` are those of the one that was made of its files.
"""

import json
import logging
import shutil
import sys
import tempfile
import warnings
from pathlib import Path

import sentencepiece
from tokenizers import (AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors,
                        trainers)
from transformers import AutoTokenizer

warnings.simplefilter("ignore")
logging.disable(logging.WARNING)

# What a SentencePiece model does to characters: a few rules instead of the many of nmt_nfkc.
RULES = {"ﬁ": "fi", "…": "...", "\u3000": " ", "\u00a0": " ", "\t": " ", "\n": " ", "\u200b": " ", "Ａ": "A", "ｂ": "b",
         "\u0007": "", "e\u0301": "é", "½": "1⁄2", "™": "TM"}
ROBERTA = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
BERT = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = " Schön Müller café 山河 東京 ไทย Привет мир 👩‍👩‍👧 😀 ½ naïve"


def roberta_template(tokenizer: Tokenizer) -> processors.TemplateProcessing:
    ids = [(t, tokenizer.token_to_id(t)) for t in ("<s>", "</s>")]
    return processors.TemplateProcessing(single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=ids)


def bert_template(tokenizer: Tokenizer, cls="[CLS]", sep="[SEP]", types=True) -> processors.TemplateProcessing:
    ids = [(t, tokenizer.token_to_id(t)) for t in (cls, sep)]
    b = 1 if types else 0
    return processors.TemplateProcessing(
        single=f"{cls} $A {sep}", pair=f"{cls}:0 $A:0 {sep}:0 $B:{b} {sep}:{b}", special_tokens=ids)


def save(tokenizer: Tokenizer, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    value = json.loads(tokenizer.to_str())
    (folder / "tokenizer.json").write_text(json.dumps(value, ensure_ascii=False, separators=(",", ":")), "utf-8")


def byte_level(lines: list[str], out: Path) -> None:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=480, special_tokens=ROBERTA[:4], show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(lines, trainer)
    tokenizer.add_special_tokens([AddedToken("<mask>", lstrip=True)])
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), trim_offsets=True,
                                                            add_prefix_space=False)
    save(tokenizer, out / "roberta")
    tokenizer.model.save(str(out / "roberta"))

    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=450, show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(lines, trainer)
    tokenizer.add_tokens([AddedToken("  ", normalized=True), AddedToken("|||EMAIL|||", normalized=True)])
    tokenizer.add_special_tokens([AddedToken(t, lstrip=t == "[MASK]") for t in ["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"]])
    tokenizer.post_processor = bert_template(tokenizer, types=False)
    save(tokenizer, out / "modernbert")


def byte_fallback(lines: list[str], out: Path) -> None:
    pieces = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", *[f"<0x{b:02X}>" for b in range(256)]]
    trained = Tokenizer(models.BPE(unk_token="<unk>"))
    trained.normalizer = normalizers.Replace(" ", "▁")
    trained.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")
    trained.train_from_iterator(lines, trainers.BpeTrainer(vocab_size=270, show_progress=False, special_tokens=["<unk>"]))
    model = json.loads(trained.to_str())["model"]
    for piece in sorted(model["vocab"], key=model["vocab"].get):
        if piece not in pieces:
            pieces.append(piece)
    merges = [tuple(merge) for merge in model["merges"]]
    tokenizer = Tokenizer(models.BPE({p: i for i, p in enumerate(pieces)}, merges, unk_token="<unk>", fuse_unk=True,
                                     byte_fallback=True))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    tokenizer.add_special_tokens([*pieces[:4], AddedToken("<mask>", lstrip=True)])
    tokenizer.post_processor = bert_template(tokenizer, "<bos>", "<eos>", types=False)
    save(tokenizer, out / "mmbert")


def word_pieces(lines: list[str], out: Path) -> None:
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    specials = ["<s>", "<pad>", "</s>", "<unk>", "[UNK]"]
    tokenizer.train_from_iterator(lines, trainers.WordPieceTrainer(vocab_size=400, show_progress=False, special_tokens=specials))
    tokenizer.add_special_tokens([*specials, AddedToken("<mask>", lstrip=True)])
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    save(tokenizer, out / "mpnet")
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.train_from_iterator(lines, trainers.WordPieceTrainer(vocab_size=400, show_progress=False, special_tokens=BERT))
    tokenizer.add_special_tokens(BERT)
    tokenizer.post_processor = bert_template(tokenizer)
    save(tokenizer, out / "bert")
    words = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    (out / "bert" / "vocab.txt").write_text("".join(f"{word}\n" for word, _ in words), "utf-8")


def sentence_pieces(lines: list[str], out: Path) -> None:
    with tempfile.TemporaryDirectory() as name:
        rules, text = Path(name) / "rules.tsv", Path(name) / "text"
        codes = lambda s: " ".join(f"{ord(c):X}" for c in s)
        rules.write_text("".join(f"{codes(a)}\t{codes(b)}\n" for a, b in RULES.items()), "utf-8")
        text.write_text("\n".join(lines), "utf-8")
        train = lambda prefix, **options: sentencepiece.SentencePieceTrainer.train(
            input=str(text), model_prefix=str(Path(name) / prefix), normalization_rule_tsv=str(rules), minloglevel=2,
            hard_vocab_limit=False, character_coverage=0.999, **options)
        train("xlmr", vocab_size=400, unk_id=0, bos_id=1, eos_id=2, pad_id=-1)
        train("camembert", vocab_size=350, unk_id=0, bos_id=1, eos_id=2, pad_id=-1)
        train("albert", vocab_size=350, pad_id=0, unk_id=1, bos_id=2, eos_id=3, pad_piece="<pad>", unk_piece="<unk>",
              bos_piece="[CLS]", eos_piece="[SEP]", user_defined_symbols=["[MASK]"])
        for kind, model in [("xlmr", "sentencepiece.bpe.model"), ("camembert", "sentencepiece.bpe.model"), ("albert", "spiece.model")]:
            (out / kind).mkdir(parents=True, exist_ok=True)
            shutil.copyfile(Path(name) / f"{kind}.model", out / kind / model)
        for kind in ["xlmr", "camembert", "albert"]:
            save(converted(kind, out / kind / ("spiece.model" if kind == "albert" else "sentencepiece.bpe.model")), out / kind)


def converted(kind: str, path: Path) -> Tokenizer:
    """As transformers 4 made tokenizer.json of a SentencePiece model: `convert_slow_tokenizer.py`."""
    from transformers.convert_slow_tokenizer import import_protobuf

    proto = import_protobuf().ModelProto()
    proto.ParseFromString(path.read_bytes())
    pieces = [(piece.piece, piece.score) for piece in proto.pieces]
    steps = []
    if kind == "xlmr":
        pieces = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *pieces[3:], ("<mask>", 0.0)]
        unknown = 3
    elif kind == "camembert":
        pieces = [("<s>NOTUSED", 0.0), ("<pad>", 0.0), ("</s>NOTUSED", 0.0), ("<unk>", 0.0), ("<unk>NOTUSED", -100),
                  *pieces[1:], ("<mask>", 0.0)]
        unknown = 3
    else:
        comma = lambda p: len(p) < 2 or p[-1] != "," or not p[-2].isdigit()
        pieces = [(p, s if comma(p) else s - 100) for p, s in pieces]
        unknown = 1
        steps = [normalizers.Replace("``", '"'), normalizers.Replace("''", '"'), normalizers.NFKD(),
                 normalizers.StripAccents(), normalizers.Lowercase()]
    tokenizer = Tokenizer(models.Unigram(pieces, unknown, byte_fallback=False))
    steps += [normalizers.Precompiled(proto.normalizer_spec.precompiled_charsmap), normalizers.Replace(Regex(" {2,}"), " ")]
    tokenizer.normalizer = normalizers.Sequence(steps)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    tokenizer.decoder = decoders.Metaspace()
    if kind == "albert":
        tokenizer.add_special_tokens(["<pad>", "<unk>", "[CLS]", "[SEP]", AddedToken("[MASK]", lstrip=True)])
        tokenizer.post_processor = bert_template(tokenizer)
    else:
        extra = ["<s>NOTUSED", "</s>NOTUSED", "<unk>NOTUSED"] if kind == "camembert" else []
        tokenizer.add_special_tokens(["<s>", "<pad>", "</s>", "<unk>", *extra, AddedToken("<mask>", lstrip=True)])
        tokenizer.post_processor = roberta_template(tokenizer)
    return tokenizer


PAIRS = [
    ("where do rivers go", "Rivers run to the sea."),
    ("Where  do Rivers\tGO?", " The RIVERS run\n\nto the  Sea "),
    ("Schön naïve cafe\u0301", "Müller café 山河, ไทย. Привет мир"),
    ("<mask> rivers </s>", "a <mask>b <s> [SEP] [MASK] [CLS] <unk> <pad>"),
    ("ﬁsh ½ ™ …", "Ａｂ\u3000c\u00a0d\u200be\u0007f 👩‍👩‍👧‍👦 ☃☃"),
    ("", "the sea"),
    ("the sea", ""),
    ("it's we'll 1,2 12, 9,", "``quoted'' (1999), don't; $3.50 ### a_b"),
    ("x" * 40, "the river " * 60),
    ("where do the rivers go " * 9, "the river runs north to the sea " * 9),
    ("|||EMAIL||| ▁ ▁▁a", "<0x41> a▁b <bos>"),
]
CLASSES = {"roberta": "RobertaTokenizer", "modernbert": "PreTrainedTokenizerFast", "xlmr": "XLMRobertaTokenizer",
           "camembert": "CamembertTokenizer", "albert": "AlbertTokenizer", "mpnet": "MPNetTokenizer",
           "mmbert": "PreTrainedTokenizerFast", "bert": "BertTokenizer"}
MODELS = {"roberta": "roberta", "modernbert": "modernbert", "xlmr": "xlm-roberta", "camembert": "camembert", "albert": "albert",
          "mpnet": "mpnet", "mmbert": "modernbert", "bert": "bert"}
NO_TYPES = {"model_input_names": ["input_ids", "attention_mask"]}
BERT_NAMES = {"cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "[PAD]", "unk_token": "[UNK]", "mask_token": "[MASK]"}
WINDOW = 64


def case(kind: str, what: str = "", config=None, edits=None, files=("tokenizer.json",)) -> dict:
    names = {"modernbert": {**BERT_NAMES, **NO_TYPES}, "mmbert": NO_TYPES}.get(kind, {})
    return {"name": f"{kind}{what and ', '}{what}", "kind": kind, "files": list(files), "set": edits or {},
            "config": {"tokenizer_class": CLASSES[kind], **names, **(config or {})}}


BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}
NFKC = {"type": "NFKC"}
CASES = [
    *[case(kind) for kind in CLASSES],
    case("roberta", "the file has a space in front", edits={"/pre_tokenizer": BYTE_LEVEL}),
    case("roberta", "the settings have a space in front", config={"add_prefix_space": True}),
    case("roberta", "a normaliser", edits={"/normalizer": {"type": "Lowercase"}}),
    case("roberta", "class of the file", config={"tokenizer_class": "PreTrainedTokenizerFast", **NO_TYPES},
         edits={"/pre_tokenizer": BYTE_LEVEL}),
    case("roberta", "merges as strings"),
    case("roberta", "specials are split", config={"split_special_tokens": True}),
    case("xlmr", "Metaspace alone", edits={"/pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always",
                                                             "split": True}}),
    case("xlmr", "first word alone", edits={"/pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first",
                                                              "split": True}}),
    case("xlmr", "other steps", edits={"/normalizer": {"type": "Sequence", "normalizers": [
        NFKC, {"type": "Replace", "pattern": {"Regex": "\\s+"}, "content": " "},
        {"type": "Strip", "strip_left": True, "strip_right": True}]}}),
    case("xlmr", "another piece is unknown", edits={"/model/unk_id": 7}),
    case("xlmr", "no space in front", config={"add_prefix_space": False}),
    case("camembert", "no space in front", config={"add_prefix_space": False}),
    case("albert", "case is kept", config={"do_lower_case": False}),
    case("albert", "accents are kept", config={"keep_accents": True}),
    case("albert", "segments listed", config={"model_input_names": ["input_ids", "token_type_ids", "attention_mask"]}),
    case("mpnet", "case is kept", config={"do_lower_case": False}),
    case("mpnet", "accents are kept", config={"strip_accents": False}),
    case("bert", "vocab.txt", files=["vocab.txt"]),
    case("roberta", "vocab.json and merges.txt", files=["vocab.json", "merges.txt"]),
    case("xlmr", "sentencepiece.bpe.model", files=["sentencepiece.bpe.model"]),
    case("camembert", "sentencepiece.bpe.model", files=["sentencepiece.bpe.model"]),
    case("albert", "spiece.model", files=["spiece.model"]),
]


def encoded(ids: list[int], types: list[int] | None) -> dict:
    return {"ids": ids, "type_ids": types or [0] * len(ids)}


def run(tokenizers_dir: Path, row: dict) -> dict:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file in row["files"]:
            shutil.copyfile(tokenizers_dir / row["kind"] / file, folder / file)
        whole = json.loads((tokenizers_dir / row["kind"] / "tokenizer.json").read_text("utf-8"))
        for pointer, value in row["set"].items():
            *parents, last = pointer.split("/")[1:]
            inner = whole
            for parent in parents:
                inner = inner[parent]
            inner[last] = value
        if row["name"].endswith("merges as strings"):
            row["set"]["/model/merges"] = whole["model"]["merges"] = [" ".join(m) for m in whole["model"]["merges"]]
        if "tokenizer.json" in row["files"]:
            (folder / "tokenizer.json").write_text(json.dumps(whole), "utf-8")
        (folder / "tokenizer_config.json").write_text(json.dumps(row["config"]), "utf-8")
        (folder / "config.json").write_text(json.dumps({"model_type": MODELS[row["kind"]]}), "utf-8")
        config, kind = row["config"], row["config"]["tokenizer_class"]
        if kind == "RobertaTokenizer":
            whole["pre_tokenizer"]["add_prefix_space"] = config.get("add_prefix_space", False)
        segments = kind in ("BertTokenizer", "AlbertTokenizer")
        plain = Tokenizer.from_str(json.dumps(whole))
        plain.enable_truncation(WINDOW)
        plain.encode_special_tokens = config.get("split_special_tokens", False)
        theirs = AutoTokenizer.from_pretrained(folder)
        row["pairs"] = []
        for query, document in PAIRS:
            out = theirs([query], [document], truncation="longest_first", max_length=WINDOW)
            types = out.get("token_type_ids")
            transformers5 = encoded(out["input_ids"][0], types and types[0])
            if kind in ("MPNetTokenizer", "BertTokenizer"):
                author = transformers5
            else:
                out = plain.encode(query, document)
                author = encoded(out.ids, out.type_ids if segments else None)
            row["pairs"].append({"query": query, "document": document, "transformers5": transformers5,
                                 "author": None if author == transformers5 else author})
    return row


def main() -> None:
    corpus, out, table = Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])
    lines = corpus.read_text("utf-8").splitlines()
    lines = [*lines, WORDS, WORDS]
    for train in (byte_level, byte_fallback, word_pieces, sentence_pieces):
        train(lines, out)
    rows = [run(out, row) for row in CASES]
    table.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    for row in rows:
        print(row["name"], sum(pair["author"] is not None for pair in row["pairs"]), "differ")


if __name__ == "__main__":
    main()
