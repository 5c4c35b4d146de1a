#!/usr/bin/env bash
# sentence-transformers 6.2.0 with transformers 5.23.0: CrossEncoder.save_pretrained writes another limit of tokens and
# another tokenizer class than the folder that it loaded.
#
# One would guess that loading a cross-encoder and saving it again keeps tokenizer_config.json. It does not: a
# model_max_length above the network's positions is lowered to those, the class PreTrainedTokenizerFast becomes
# TokenizersBackend, and two keys that say how the author's machine loaded the files, is_local and local_files_only, are
# written into what is then published.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q torch==2.15.0 transformers==5.23.0 tokenizers==0.23.3 sentence-transformers==6.2.0
HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 "$folder/venv/bin/python" - "$folder" <<'PYTHON'
import json, sys
from pathlib import Path
import sentence_transformers, tokenizers, transformers

folder, saved = Path(sys.argv[1]) / "model", Path(sys.argv[1]) / "saved"
words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "river", "sea"]
tokenizer = tokenizers.Tokenizer(
    tokenizers.models.WordPiece({word: i for i, word in enumerate(words)}, unk_token="[UNK]")
)
tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
special = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")}
fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=8192, **special)
config = transformers.BertConfig(
    vocab_size=7, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8,
    max_position_embeddings=160, num_labels=1,
)
transformers.BertForSequenceClassification(config).save_pretrained(folder)
fast.save_pretrained(folder)
# As repositories of transformers 4 have it.
settings = json.loads((folder / "tokenizer_config.json").read_text())
settings["tokenizer_class"] = "PreTrainedTokenizerFast"
(folder / "tokenizer_config.json").write_text(json.dumps(settings))
keys = ["model_max_length", "tokenizer_class", "is_local", "local_files_only"]
read = lambda path: {key: json.loads((path / "tokenizer_config.json").read_text()).get(key) for key in keys}
before = read(folder)
sentence_transformers.CrossEncoder(str(folder), device="cpu").save_pretrained(str(saved))
after = read(saved)
print("sentence-transformers", sentence_transformers.__version__, "transformers", transformers.__version__)
print("before:", before)
print("after: ", after)
expected = {"model_max_length": 160, "tokenizer_class": "TokenizersBackend", "is_local": True, "local_files_only": True}
sys.exit(0 if before["model_max_length"] == 8192 and after == expected else f"it changed: expected {expected}")
PYTHON
