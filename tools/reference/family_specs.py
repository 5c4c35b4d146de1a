"""The fixtures of families other than BERT. Sizes are odd on purpose: no head size but one is a multiple of 16."""

from functools import partial

import torch

import family_tokenizers as tokenizers
from family_models import Spec
from reference import Json


def labels(*names: str) -> Json:
    return {"id2label": {str(i): name for i, name in enumerate(names)}, "label2id": {n: i for i, n in enumerate(names)}}


ONE_LABEL = labels("LABEL_0")
DROPOUT: Json = {"attention_probs_dropout_prob": 0.1, "hidden_dropout_prob": 0.1}
VERSION: Json = {"transformers_version": "5.23.0"}
# The head's norm hands the classifier larger values than tanh does.
MODERNBERT_GAINS = [("classifier", 2.0)]
FAIRSEQ_IDS: Json = {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2}

SPECS = [
    Spec(
        "roberta",
        "byte-level BPE; head size 10; the positions that ids of `<pad>` skip",
        {
            "architectures": ["RobertaForSequenceClassification"],
            "model_type": "roberta",
            "hidden_act": "gelu",
            "hidden_size": 50,
            "num_attention_heads": 5,
            "num_hidden_layers": 3,
            "intermediate_size": 70,
            "max_position_embeddings": 130,
            "layer_norm_eps": 1e-5,
            "type_vocab_size": 1,
            **ONE_LABEL, **DROPOUT, **VERSION, **FAIRSEQ_IDS,
        },
        partial(tokenizers.roberta, 420),
        window=128,
        scale=0.02,
        hidden_of=(3, 25),
    ),
    Spec(
        "xlmr",
        "Unigram with a precompiled character map; two labels; stored F16; head size 13; the window ends at 90 of 92",
        {
            "architectures": ["XLMRobertaForSequenceClassification"],
            "model_type": "xlm-roberta",
            "hidden_act": "gelu",
            "hidden_size": 52,
            "num_attention_heads": 4,
            "num_hidden_layers": 3,
            "intermediate_size": 90,
            "max_position_embeddings": 92,
            "layer_norm_eps": 1e-5,
            "type_vocab_size": 1,
            **labels("irrelevant", "relevant"), **DROPOUT, **VERSION, **FAIRSEQ_IDS,
        },
        partial(tokenizers.xlmr, 600),
        window=90,
        scale=0.02,
        dtype=torch.float16,
    ),
    Spec(
        "modernbert",
        "keys of transformers 5; half window 8; thetas 12,000 and 300; [CLS] pooled; head size 10",
        {
            "architectures": ["ModernBertForSequenceClassification"],
            "model_type": "modernbert",
            "hidden_activation": "gelu",
            "hidden_size": 40,
            "num_attention_heads": 4,
            "num_hidden_layers": 4,
            "intermediate_size": 44,
            "max_position_embeddings": 160,
            "norm_eps": 1e-5,
            "norm_bias": False,
            "attention_bias": False,
            "mlp_bias": False,
            "classifier_bias": False,
            "classifier_pooling": "cls",
            "classifier_activation": "gelu",
            "local_attention": 16,
            "layer_types": ["full_attention", "sliding_attention", "sliding_attention", "full_attention"],
            "rope_parameters": {
                "full_attention": {"rope_type": "default", "rope_theta": 12000.0},
                "sliding_attention": {"rope_type": "default", "rope_theta": 300.0},
            },
            "bos_token_id": 416, "cls_token_id": 416, "eos_token_id": 417, "sep_token_id": 417, "pad_token_id": 418,
            "position_embedding_type": "absolute",
            **ONE_LABEL, **VERSION,
        },
        partial(tokenizers.modernbert, 420),
        window=160,
        scale=0.02,
        model_max_length=8192,
        gains=MODERNBERT_GAINS,
        hidden_of=(3, 27),
    ),
    Spec(
        "modernbert-old",
        "keys of transformers 4; silu; every bias; mean pooled; every second layer global; half window 6; stored BF16; "
        "head size 16",
        {
            "architectures": ["ModernBertForSequenceClassification"],
            "model_type": "modernbert",
            "hidden_activation": "silu",
            "hidden_size": 48,
            "num_attention_heads": 3,
            "num_hidden_layers": 4,
            "intermediate_size": 60,
            "max_position_embeddings": 140,
            "norm_eps": 1e-4,
            "norm_bias": True,
            "attention_bias": True,
            "mlp_bias": True,
            "classifier_bias": True,
            "classifier_pooling": "mean",
            "classifier_activation": "gelu",
            "local_attention": 12,
            "global_attn_every_n_layers": 2,
            "global_rope_theta": 900.0,
            "local_rope_theta": 150.0,
            "bos_token_id": 416, "cls_token_id": 416, "eos_token_id": 417, "sep_token_id": 417, "pad_token_id": 418,
            "layer_norm_eps": 1e-5,
            "position_embedding_type": "absolute",
            "reference_compile": False,
            "transformers_version": "4.48.0",
            **ONE_LABEL,
        },
        partial(tokenizers.modernbert, 420),
        window=140,
        scale=0.05,
        dtype=torch.bfloat16,
        model_max_length=8192,
        gains=MODERNBERT_GAINS,
    ),
]  # fmt: skip
