#!/usr/bin/env bash
# tokenizers 0.23.3: UnigramTrainer makes another vocabulary in every process, out of the same lines, on one thread.
#
# There is no seed to set, and neither TOKENIZERS_PARALLELISM=false nor RAYON_NUM_THREADS=1 changes it: the order in which
# pieces are counted depends on hash tables that are seeded anew in each process. BpeTrainer, on the same lines, makes the
# same file each time. So a Unigram tokenizer of a fixture cannot be made again from its script.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q tokenizers==0.23.3
cat >"$folder/train.py" <<'PYTHON'
import hashlib, random, sys
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

rng = random.Random(1)
syllables = [a + b for a in "bdfgklmnprst" for b in "aeiou"]
words = ["".join(rng.choices(syllables, k=rng.randint(1, 4))) for _ in range(800)]
lines = [" ".join(rng.choices(words, k=12)) for _ in range(400)]
special = ["<s>", "<pad>", "</s>", "<unk>"]
if sys.argv[1] == "unigram":
    tokenizer = Tokenizer(models.Unigram())
    trainer = trainers.UnigramTrainer(vocab_size=300, special_tokens=special, unk_token="<unk>", show_progress=False)
else:
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=special, show_progress=False)
tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
tokenizer.train_from_iterator(lines, trainer)
print(hashlib.sha256(tokenizer.to_str().encode()).hexdigest()[:16])
PYTHON
export RAYON_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false PYTHONHASHSEED=0
different() { for _ in 1 2 3 4 5; do "$folder/venv/bin/python" "$folder/train.py" "$1"; done | sort -u | wc -l; }
echo "tokenizers $("$folder/venv/bin/python" -c 'import tokenizers; print(tokenizers.__version__)')"
unigram=$(different unigram) bpe=$(different bpe)
echo "five runs gave $unigram files by UnigramTrainer, $bpe by BpeTrainer"
[ "$unigram" -gt 1 ] && [ "$bpe" -eq 1 ] || { echo "it changed: expected more than 1, and 1"; exit 1; }
