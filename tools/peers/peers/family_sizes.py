"""Models of other families than BERT's: the configs of published checkpoints, whose weights are drawn at random."""

from dataclasses import dataclass, field

from peers.errors import SetupError

Json = dict[str, object]

ONE_LABEL: Json = {"id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}}
FAIRSEQ_IDS: Json = {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2}
XLMR_ROWS = 250_002
HALF_WINDOW = 64


@dataclass(frozen=True)
class Family:
    """A model: its config, the kind of its tokenizer, how many tokens a pair may have, and its head's modules."""

    name: str
    tokenizer: str
    config: Json = field(hash=False)
    window: int = 512
    token_types: bool = False
    """Whether the model is given the token types of the pair template."""
    modular: bool = False
    """Pooling, Dense with GELU, LayerNorm, Dense, as ettin's rerankers have them; else the class's own head."""

    @property
    def sdpa(self) -> bool:
        """Whether transformers 5.23 has the class with sdpa attention."""
        return self.config["model_type"] != "mpnet"

    @property
    def sizes(self) -> Json:
        """What the record says of the model."""
        return sizes(self.config)


def sizes(config: Json) -> Json:
    """Layers, widths and heads, whatever the config calls them."""
    keys = {
        "hidden_size": "dim",
        "num_hidden_layers": "n_layers",
        "num_attention_heads": "n_heads",
        "intermediate_size": "hidden_dim",
    }
    return {key: config.get(key, config.get(other)) for key, other in keys.items()}


def widths(layers: int, hidden: int, heads: int, intermediate: int) -> Json:
    """The four sizes, as most configs name them."""
    return {
        "num_hidden_layers": layers,
        "hidden_size": hidden,
        "num_attention_heads": heads,
        "intermediate_size": intermediate,
    }


def bert(name: str, sized: Json, rows: int = 30_522) -> Family:
    """BERT, for comparison."""
    own: Json = {
        "architectures": ["BertForSequenceClassification"],
        "model_type": "bert",
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-12,
        "max_position_embeddings": 512,
        "pad_token_id": 0,
        "type_vocab_size": 2,
        "vocab_size": rows,
    }
    return Family(name, "wordpiece", own | sized | ONE_LABEL, token_types=True)


def xlmr(name: str, sized: Json, rows: int = XLMR_ROWS, window: int = 512) -> Family:
    """XLM-RoBERTa's kind."""
    own: Json = {
        "architectures": ["XLMRobertaForSequenceClassification"],
        "model_type": "xlm-roberta",
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-5,
        "max_position_embeddings": window + 2,
        "type_vocab_size": 1,
        "vocab_size": rows,
    }
    return Family(name, "xlmr", own | sized | ONE_LABEL | FAIRSEQ_IDS, window)


def modernbert(
    name: str,
    sized: Json,
    rows: int = 50_368,
    window: int = 8192,
    theta: float = 10_000.0,
    pooling: str = "mean",
    *,
    modular: bool = False,
) -> Family:
    """ModernBERT's kind: every third layer attends to all tokens, the others to 64 on either side."""
    layers = int(sized["num_hidden_layers"])
    own: Json = {
        "architectures": ["ModernBertModel" if modular else "ModernBertForSequenceClassification"],
        "model_type": "modernbert",
        "hidden_activation": "gelu",
        "max_position_embeddings": window,
        "norm_eps": 1e-5,
        "norm_bias": False,
        "attention_bias": False,
        "mlp_bias": False,
        "classifier_bias": False,
        "classifier_activation": "gelu",
        "classifier_pooling": pooling,
        "local_attention": 2 * HALF_WINDOW,
        "layer_types": ["sliding_attention" if i % 3 else "full_attention" for i in range(layers)],
        "rope_parameters": {
            "full_attention": {"rope_type": "default", "rope_theta": 160_000.0},
            "sliding_attention": {"rope_type": "default", "rope_theta": theta},
        },
        "vocab_size": rows,
    }
    return Family(name, "byte-bpe", own | sized | ({} if modular else ONE_LABEL), window, modular=modular)


def ettin(name: str, sized: Json, rows: int = 50_370, window: int = 7999) -> Family:
    """An ettin reranker: both bases are 160,000, and the head is modules."""
    return modernbert(name, sized, rows, window, 160_000.0, modular=True)


def distilbert(name: str, layers: int, hidden: int, heads: int, intermediate: int, rows: int = 30_522) -> Family:
    """DistilBERT."""
    return Family(
        name,
        "wordpiece",
        {
            "architectures": ["DistilBertForSequenceClassification"],
            "model_type": "distilbert",
            "activation": "gelu",
            "dim": hidden,
            "hidden_dim": intermediate,
            "n_heads": heads,
            "n_layers": layers,
            "max_position_embeddings": 512,
            "pad_token_id": 0,
            "sinusoidal_pos_embds": False,
            "vocab_size": rows,
        }
        | ONE_LABEL,
    )


def electra(name: str, sized: Json, embedding: int, rows: int = 30_522) -> Family:
    """ELECTRA, with narrow embeddings where its small model has them."""
    own: Json = {
        "architectures": ["ElectraForSequenceClassification"],
        "model_type": "electra",
        "embedding_size": embedding,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-12,
        "max_position_embeddings": 512,
        "pad_token_id": 0,
        "type_vocab_size": 2,
        "vocab_size": rows,
    }
    return Family(name, "wordpiece", own | sized | ONE_LABEL, token_types=True)


def mpnet(name: str, sized: Json, rows: int = 30_527) -> Family:
    """MPNet, whose layers share a table of biases."""
    own: Json = {
        "architectures": ["MPNetForSequenceClassification"],
        "model_type": "mpnet",
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-5,
        "max_position_embeddings": 514,
        "relative_attention_num_buckets": 32,
        "vocab_size": rows,
    }
    return Family(name, "mpnet", own | sized | ONE_LABEL | FAIRSEQ_IDS)


def albert(name: str, sized: Json, embedding: int, rows: int = 30_000) -> Family:
    """ALBERT: one group, whose weights all layers share."""
    own: Json = {
        "architectures": ["AlbertForSequenceClassification"],
        "model_type": "albert",
        "embedding_size": embedding,
        "hidden_act": "gelu_new",
        "inner_group_num": 1,
        "layer_norm_eps": 1e-12,
        "max_position_embeddings": 512,
        "num_hidden_groups": 1,
        "bos_token_id": 2,
        "eos_token_id": 3,
        "pad_token_id": 0,
        "type_vocab_size": 2,
        "vocab_size": rows,
    }
    return Family(name, "albert", own | sized | ONE_LABEL, token_types=True)


BASE = widths(12, 768, 12, 3072)
FAMILIES = (
    xlmr("xlmr-base", BASE),
    # Pooled as gte-reranker-modernbert-base is: no row of its last layer can be left out.
    modernbert("modernbert-base", widths(22, 768, 12, 1152)),
    ettin("ettin-32m", widths(10, 384, 6, 576)),
    ettin("ettin-17m", widths(7, 256, 4, 384)),
    xlmr("mminilm-l12", widths(12, 384, 12, 1536)),
    distilbert("distilbert", 6, 768, 12, 3072),
    electra("electra-small", widths(12, 256, 4, 1024), 128),
    mpnet("mpnet-base", BASE),
    albert("albert-base", BASE, 128),
)
# Large enough that sums are those of real models, and small enough that hundreds of pairs take seconds.
MIDDLE = widths(6, 256, 8, 1024)
MIDDLES = (
    bert("bert-middle", MIDDLE),
    xlmr("xlmr-middle", MIDDLE, rows=30_000),
    modernbert("modernbert-middle-cls", widths(8, 256, 8, 384), pooling="cls"),
    modernbert("modernbert-middle-mean", widths(8, 256, 8, 384)),
    ettin("ettin-middle", widths(8, 256, 8, 384)),
    distilbert("distilbert-middle", 6, 256, 8, 1024),
    electra("electra-middle", MIDDLE, 128),
    mpnet("mpnet-middle", MIDDLE),
    albert("albert-middle", MIDDLE, 128),
)
LARGE = xlmr("xlmr-large", widths(24, 1024, 16, 4096))


def chosen(names: list[str], *, large: bool) -> list[Family]:
    """The families named, or all but the large one; that one where it is named or asked for."""
    known = {family.name: family for family in (*FAMILIES, LARGE)}
    unknown = set(names) - set(known)
    if unknown:
        raise SetupError(f"--only {', '.join(sorted(unknown))}: expected some of {', '.join(known)}")
    found = [known[name] for name in names] or list(FAMILIES)
    return found + ([LARGE] if large and LARGE not in found else [])
