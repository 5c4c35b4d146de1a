#!/usr/bin/env bash
# transformers 5.23.0 with tokenizers 0.23.3: special_tokens_map.json counts only where tokenizer_config.json has no
# added_tokens_decoder.
#
# The file is a relic of older versions, which wrote it beside every tokenizer. Version 5 does not write it any more, but
# still reads it: the separator of a pair comes from it. As soon as tokenizer_config.json has an added_tokens_decoder,
# even one that repeats what tokenizer.json says, the file is passed over. So one unrelated key changes the ids of every
# pair, and nothing is printed.
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
words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "river", "sea"]
tokenizer = tokenizers.Tokenizer(
    tokenizers.models.WordPiece({word: i for i, word in enumerate(words)}, unk_token="[UNK]")
)
tokenizer.normalizer = tokenizers.normalizers.BertNormalizer()
tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
tokenizer.add_special_tokens(words[:5])
tokenizer.save(str(folder / "tokenizer.json"))
(folder / "special_tokens_map.json").write_text(json.dumps({"sep_token": "[MASK]"}))


def ids(**more):
    settings = {"tokenizer_class": "BertTokenizer", **more}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return transformers.AutoTokenizer.from_pretrained(folder)("river", "sea")["input_ids"]


decoder = {"3": {"content": "[SEP]", "special": True}}
seen = {"without": ids(), "with": ids(added_tokens_decoder=decoder)}
print("transformers", transformers.__version__, "tokenizers", tokenizers.__version__)
print("without added_tokens_decoder:", seen["without"], "(the separator is [MASK], 4)")
print("with one that repeats [SEP]: ", seen["with"], "(the separator is [SEP], 3)")
expected = {"without": [2, 5, 4, 6, 4], "with": [2, 5, 3, 6, 3]}
sys.exit(0 if seen == expected else f"it changed: expected {expected}, found {seen}")
PYTHON
