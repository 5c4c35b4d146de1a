#!/usr/bin/env bash
# tokenizers 0.23.3 with transformers 5.23.0: a tokenizer.json whose BPE model has a `dropout` gives other ids from one call
# to the next, also where nothing is trained.
#
# BPE-dropout is a way to train: some merges are left out at random. The library keeps the rate in tokenizer.json and
# applies it whenever a text is encoded; neither eval() of the model nor any option of the call turns it off, and nothing
# is printed. So a checkpoint that was saved with it scores the same pair differently each time.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q transformers==5.23.0 tokenizers==0.23.3
HF_HUB_OFFLINE=1 "$folder/venv/bin/python" - "$folder" <<'PYTHON'
import json, sys
from pathlib import Path
import tokenizers, transformers
from tokenizers import Tokenizer, models, pre_tokenizers

folder = Path(sys.argv[1]) / "model"
folder.mkdir()
pieces = ["[UNK]", "r", "i", "v", "e", "ri", "ve", "rive", "river"]
merges = [("r", "i"), ("v", "e"), ("ri", "ve"), ("rive", "r")]
vocabulary = {piece: i for i, piece in enumerate(pieces)}


def seen(dropout):
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, dropout=dropout, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"}))
    loaded = transformers.AutoTokenizer.from_pretrained(folder)
    return len({tuple(loaded("river river river")["input_ids"]) for _ in range(50)})


without, with_dropout = seen(None), seen(0.5)
print("transformers", transformers.__version__, "tokenizers", tokenizers.__version__)
print(f"50 calls gave {without} sequence of ids without dropout, {with_dropout} with a dropout of 0.5")
sys.exit(0 if without == 1 and with_dropout > 1 else "it changed: expected 1, and more than 1")
PYTHON
