#!/usr/bin/env bash
# transformers 5.23.0: `truncate: false` of YaRN does nothing for models whose layers have rotary positions by type.
#
# ModernBERT's config holds rope_parameters with an object for full_attention and one for sliding_attention; base, factor
# and betas are read from these. `truncate`, which says whether the bounds between stretched and unstretched frequencies
# are rounded to whole columns, is read from the outer object instead, where nothing but the two types may stand. So a
# config that says false for both types is run with true, and nothing is printed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q torch==2.15.0 transformers==5.23.0
OMP_NUM_THREADS=1 "$folder/venv/bin/python" - <<'PYTHON'
import sys
import torch, transformers
from transformers import ModernBertConfig, ModernBertModel


def frequencies(**more):
    yarn = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 512, "rope_theta": 10000.0, **more}
    config = ModernBertConfig(
        vocab_size=9, hidden_size=64, num_hidden_layers=2, num_attention_heads=1, intermediate_size=8, pad_token_id=0,
        rope_parameters={"full_attention": dict(yarn), "sliding_attention": dict(yarn)},
    )
    return ModernBertModel(config).rotary_emb.full_attention_inv_freq


rounded, not_rounded = frequencies(truncate=True), frequencies(truncate=False)
others = frequencies(beta_slow=2.0)
print("transformers", transformers.__version__)
print("truncate true and false give the same frequencies:", bool(torch.equal(rounded, not_rounded)))
print("another beta_slow gives the same frequencies:     ", bool(torch.equal(rounded, others)))
same = torch.equal(rounded, not_rounded) and not torch.equal(rounded, others)
sys.exit(0 if same else "it changed: expected the same for truncate, others for beta_slow")
PYTHON
