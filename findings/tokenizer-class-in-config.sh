#!/usr/bin/env bash
# transformers 5.23.0 with tokenizers 0.23.3: tokenizer_class of config.json decides how tokenizer.json is read.
#
# config.json describes the network, so one would not look there for a tokenizer's settings. But where
# tokenizer_config.json names no class, the key `tokenizer_class` of config.json is taken. With BertTokenizer the normalizer of tokenizer.json is replaced by the class's own, which lower-cases; with
# PreTrainedTokenizerFast the file's counts. So the same three tokenizer files give other ids beside another config.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q transformers==5.23.0 tokenizers==0.23.3
HF_HUB_OFFLINE=1 "$folder/venv/bin/python" - "$folder" <<'PYTHON'
import json, sys
from pathlib import Path
import tokenizers, transformers

folder = Path(sys.argv[1]) / "model"
folder.mkdir()
words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "river", "River"]
tokenizer = tokenizers.Tokenizer(
    tokenizers.models.WordPiece({word: i for i, word in enumerate(words)}, unk_token="[UNK]")
)
tokenizer.normalizer = tokenizers.normalizers.BertNormalizer(lowercase=False)
tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
tokenizer.save(str(folder / "tokenizer.json"))
(folder / "tokenizer_config.json").write_text(json.dumps({"model_max_length": 64}))


def ids(name):
    (folder / "config.json").write_text(json.dumps({"model_type": "bert", "tokenizer_class": name}))
    return transformers.AutoTokenizer.from_pretrained(folder)("River", add_special_tokens=False)["input_ids"]


seen = {name: ids(name) for name in ("BertTokenizer", "PreTrainedTokenizerFast")}
print("transformers", transformers.__version__, "tokenizers", tokenizers.__version__)
for name, found in seen.items():
    print(f"config.json's tokenizer_class {name}: {found}")
expected = {"BertTokenizer": [5], "PreTrainedTokenizerFast": [6]}
sys.exit(0 if seen == expected else f"it changed: expected {expected}, found {seen}")
PYTHON
