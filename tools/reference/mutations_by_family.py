"""The mistakes that an engine may make, by family, each as a change of a loaded model."""

import math
from collections.abc import Callable
from unittest import mock

import torch
from torch import nn
from transformers.activations import ACT2FN
from transformers.models.modernbert import modeling_modernbert
from transformers.models.mpnet import modeling_mpnet
from transformers.models.roberta.modeling_roberta import RobertaEmbeddings
from transformers.models.xlm_roberta.modeling_xlm_roberta import XLMRobertaEmbeddings

from family_models import Spec, layers
from family_modular import ModularSpec
from mutation_kinds import (
    EPS_10,
    NO_SEGMENTS,
    NO_TYPES,
    Make,
    Mistake,
    activation,
    base,
    dropped,
    eps,
    mean,
    moved_positions,
    parameter,
    pooled,
    qk_swapped,
    set_at,
    zeroed,
)

# RoBERTa and kin


def pads_counted(module_or_class: object) -> Mistake:
    def positions(input_ids, padding_idx, *_):
        return torch.arange(input_ids.shape[1])[None] + padding_idx + 1

    def make(_model, stack) -> None:
        function = staticmethod(positions) if isinstance(module_or_class, type) else positions
        stack.enter_context(mock.patch.object(module_or_class, "create_position_ids_from_input_ids", function))

    return Mistake("ids of `<pad>` counted as tokens in positions", make)


def pads_masked(model, _stack) -> None:
    def hook(_module, inputs, kwargs):
        ids = inputs[0] if inputs else kwargs["input_ids"]
        return inputs, kwargs | {"attention_mask": (ids != 1).long()}

    base(model).register_forward_pre_hook(hook, with_kwargs=True)


PADS_MASKED = Mistake("ids of `<pad>` not attended to", pads_masked)


def head_activation(function: Callable, name: str) -> Mistake:
    """Of a head dense -> activation -> out_proj that reads the first token."""

    def make(model, _stack) -> None:
        head = model.classifier
        head.forward = lambda features, **_: head.out_proj(function(head.dense(features[:, 0])))

    return Mistake(name, make)


TANH_HEAD = [
    head_activation(nn.functional.gelu, "head gelu"),
    head_activation(lambda x: x, "head without activation"),
]


def roberta_kin(spec: Spec) -> list[Mistake]:
    kind = RobertaEmbeddings if spec.name == "roberta" else XLMRobertaEmbeddings
    return [
        pads_counted(kind),
        PADS_MASKED,
        moved_positions(-2),
        moved_positions(-1),
        moved_positions(1),
        NO_TYPES,
        EPS_10,
        eps(lambda _: 1e-12, "eps 1e-12"),
        activation("gelu_pytorch_tanh"),
        activation("relu"),
        qk_swapped(".query.", ".key."),
        *TANH_HEAD,
        pooled(mean, "mean pooled"),
    ]


# ModernBERT


def config(name: str, change: Callable, what: str) -> Mistake:
    def make(model, _stack) -> None:
        owner = base(model).config
        setattr(owner, name, change(getattr(owner, name)))

    return Mistake(what, make)


def bases(full: Callable, sliding: Callable, name: str) -> Mistake:
    """Sets the inverse frequencies of both kinds of layer to what is made of (full, sliding, head size)."""

    def make(model, _stack) -> None:
        rope = base(model).rotary_emb
        values = rope.full_attention_inv_freq, rope.sliding_attention_inv_freq
        size = 2 * len(values[0])
        rope.full_attention_inv_freq, rope.sliding_attention_inv_freq = full(*values, size), sliding(*values, size)

    return Mistake(name, make)


def of_theta(theta: float) -> Callable:
    return lambda _full, _sliding, size: 1.0 / theta ** (torch.arange(0, size, 2).float() / size)


def neighbours_turned(_model, stack) -> None:
    """RoPE on the pairs (0, 1), (2, 3), … instead of the halves."""

    def turned(x, cos, sin):
        half = cos.shape[-1] // 2
        cos, sin = (t[..., :half].repeat_interleave(2, -1) for t in (cos, sin))
        other = torch.stack((-x[..., 1::2], x[..., ::2]), -1).flatten(-2)
        return x * cos + other * sin

    def apply(q, k, cos, sin, unsqueeze_dim=1):
        cos, sin = cos.unsqueeze(unsqueeze_dim), sin.unsqueeze(unsqueeze_dim)
        return turned(q, cos, sin), turned(k, cos, sin)

    stack.enter_context(mock.patch.object(modeling_modernbert, "apply_rotary_pos_emb", apply))


def by_heads(weight: torch.Tensor, model: nn.Module) -> torch.Tensor:
    """The rows of Wqkv as if each head's query, key and value stood together."""
    heads = model.config.num_attention_heads
    return weight.unflatten(0, (heads, 3, -1)).transpose(0, 1).flatten(0, 2)


def shifted_kinds(model, _stack) -> None:
    kinds = [layer.attention_type for layer in layers(base(model))]
    for layer, kind in zip(layers(base(model)), kinds[-1:] + kinds[:-1]):
        layer.attention_type = kind


def first_norm(model, _stack) -> None:
    layer, other = layers(base(model))[:2]
    layer.attn_norm = nn.LayerNorm(other.attn_norm.normalized_shape, eps=other.attn_norm.eps)


def modernbert_base(inner: str) -> list[Mistake]:
    """`inner` is the path of the base model."""
    swap = bases(lambda _f, s, _n: s, lambda f, _s, _n: f, "rope bases of global and local swapped")
    return [
        config("local_attention", lambda n: n - 2, "local window one token less on each side"),
        config("local_attention", lambda n: n + 2, "local window one token more on each side"),
        config("local_attention", lambda n: 2 * n, "local_attention taken for half the window"),
        config("local_attention", lambda n: 100_000, "every layer global"),
        swap,
        bases(lambda f, _s, _n: f, lambda f, _s, _n: f, "global rope base in all layers"),
        bases(of_theta(160_000), of_theta(10_000), "rope bases by default"),
        Mistake("neighbours rotated instead of halves", neighbours_turned),
        parameter("Wqkv.weight", by_heads, "Wqkv cut by heads first"),
        parameter("mlp.Wi.", lambda w, _: torch.cat(w.chunk(2)[::-1]), "gate and input swapped"),
        activation("gelu_pytorch_tanh"),
        EPS_10,
        eps(lambda _: 1e-12, "eps 1e-12"),
        Mistake("a norm before the attention of layer 0", first_norm),
        dropped(f"{inner}final_norm", "final norm dropped"),
        dropped(f"{inner}embeddings.norm", "embeddings' norm dropped"),
    ]


def modernbert(spec: Spec) -> list[Mistake]:
    found = modernbert_base("model.")
    found += [
        Mistake("local layers one place later", shifted_kinds),
        set_at("head.act", lambda _: ACT2FN["gelu_pytorch_tanh"], "head gelu_pytorch_tanh"),
        set_at("head.act", lambda _: nn.Tanh(), "head tanh"),
        dropped("head.norm", "head's norm dropped"),
        zeroed("classifier.bias", "classifier's bias dropped"),
    ]
    if spec.name == "modernbert":
        return found + [activation("silu"), activation("relu"), pooled(mean, "mean pooled")]
    found = [mistake for mistake in found if "gelu_pytorch_tanh" not in mistake.name or "head" in mistake.name]
    return found + [
        activation("gelu"),
        activation("relu"),
        pooled(lambda states: states[:, 0], "first token pooled"),
        pooled(lambda states: states[:, 1:-1].mean(1), "mean without the first and last token"),
        zeroed("norm.bias", "norms' biases dropped"),
        zeroed("Wqkv.bias", "bias of queries, keys and values dropped"),
        zeroed("attn.Wo.bias", "bias after attention dropped"),
        zeroed("Wi.bias", "bias of Wi dropped"),
        zeroed("mlp.Wo.bias", "bias of the second Wo dropped"),
        zeroed("head.dense.bias", "bias of the head dropped"),
    ]


# Heads of modules


def module(index: int, attribute: str, value: Callable[[object], object], name: str) -> Mistake:
    def make(model, _stack) -> None:
        setattr(model[index], attribute, value(getattr(model[index], attribute)))

    return Mistake(name, make)


def modular(spec: ModularSpec) -> list[Mistake]:
    found = [mistake for mistake in modernbert_base("0.model.") if "final" not in mistake.name]
    return found + [
        dropped("0.model.final_norm", "final norm dropped"),
        module(1, "pooling_mode", lambda _: "mean", "mean pooled"),
        module(2, "activation_function", lambda _: nn.Tanh(), "dense tanh"),
        module(2, "activation_function", lambda _: nn.GELU("tanh"), "dense gelu_pytorch_tanh"),
        module(2, "activation_function", lambda _: nn.Identity(), "dense without activation"),
        zeroed("2.linear.bias", "bias of the first dense dropped"),
        module(3, "norm", lambda norm: with_eps(norm, 1e-4), "eps of the head's norm times ten"),
        module(3, "norm", lambda norm: with_eps(norm, 1e-12), "eps of the head's norm 1e-12"),
        dropped("3.norm", "head's norm dropped"),
        zeroed("4.linear.bias", "bias of the last dense dropped"),
    ]


def with_eps(norm: nn.LayerNorm, value: float) -> nn.LayerNorm:
    norm.eps = value
    return norm


def without_ends(model, _stack) -> None:
    pooling, forward = model[1], model[1].forward

    def pool(features, **kwargs):
        mask = features["attention_mask"].clone()
        mask[:, [0, -1]] = 0
        return forward(features | {"attention_mask": mask}, **kwargs)

    pooling.forward = pool


def residual_inside(model, _stack) -> None:
    dense = model[2]

    def forward(features, **_):
        x = features["sentence_embedding"]
        features["sentence_embedding"] = dense.activation_function(dense.linear(x) + x)
        return features

    dense.forward = forward


def modular_mean(_spec: ModularSpec) -> list[Mistake]:
    return [
        NO_SEGMENTS,
        EPS_10,
        eps(lambda _: 1e-5, "eps 1e-5"),
        activation("gelu_pytorch_tanh"),
        activation("relu"),
        module(1, "pooling_mode", lambda _: "cls", "first token pooled"),
        module(1, "pooling_mode", lambda _: "max", "max pooled"),
        module(1, "pooling_mode", lambda _: "mean_sqrt_len_tokens", "sum over the root of the length"),
        Mistake("mean without the first and last token", without_ends),
        module(2, "activation_function", lambda _: nn.Identity(), "dense without activation (for none named: tanh)"),
        module(2, "use_residual", lambda _: False, "residual of equal sizes dropped"),
        Mistake("residual added before the activation", residual_inside),
        module(3, "activation_function", lambda _: nn.Tanh(), "second dense tanh"),
        module(3, "use_residual", lambda _: False, "`residual.weight` dropped"),
        zeroed("4.linear.bias", "bias of the last dense dropped"),
    ]


def prompt(name: str | None, said: str) -> Mistake:
    """Another prompt by default, or none: the ids are then not the stored ones."""

    def make(model, _stack) -> None:
        model.default_prompt_name = name
        model.ids_differ = True

    return Mistake(said, make)


def modular_prompt(_spec: ModularSpec) -> list[Mistake]:
    return [
        prompt(None, "no prompt"),
        prompt("document", "prompt of another name"),
        moved_positions(1),
        activation("relu"),
        qk_swapped("q_lin", "k_lin"),
        module(1, "pooling_mode", lambda _: "mean", "mean pooled"),
        zeroed("2.linear.bias", "bias of the last dense dropped"),
    ]


# DistilBERT, ELECTRA, MPNet, ALBERT


def head_relu(other: type) -> Make:
    def make(_model, stack) -> None:
        stack.enter_context(mock.patch.object(nn, "ReLU", other))

    return make


def distilbert(_spec: Spec) -> list[Mistake]:
    return [
        EPS_10,
        eps(lambda _: 1e-5, "eps of config.json's `layer_norm_eps`"),
        moved_positions(1),
        activation("gelu_pytorch_tanh"),
        activation("relu"),
        qk_swapped("q_lin", "k_lin"),
        Mistake("head tanh", head_relu(nn.Tanh)),
        Mistake("head gelu", head_relu(nn.GELU)),
        Mistake("head without activation", head_relu(nn.Identity)),
        pooled(mean, "mean pooled"),
    ]


def electra(_spec: Spec) -> list[Mistake]:
    return [
        NO_SEGMENTS,
        NO_TYPES,
        EPS_10,
        eps(lambda _: 1e-12, "eps 1e-12"),
        moved_positions(1),
        activation("gelu"),
        zeroed("embeddings_project.bias", "bias of the projection dropped"),
        qk_swapped(".query.", ".key."),
        set_at("classifier.activation", lambda _: nn.Tanh(), "head tanh"),
        set_at("classifier.activation", lambda _: ACT2FN["gelu_pytorch_tanh"], "head gelu_pytorch_tanh"),
        set_at("classifier.activation", lambda _: nn.ReLU(), "head with the layers' activation"),
        pooled(mean, "mean pooled"),
    ]


def bucket(relative: torch.Tensor, sign: int = -1, farthest: int = 128, exact: int = 8, most: int = 15) -> torch.Tensor:
    """MPNet's bucket of a distance, with what may be got wrong as an option."""
    n = sign * relative
    far = n.abs()
    large = exact + (torch.log(far.float() / exact) / math.log(farthest / exact) * (16 - exact)).long()
    return ((n < 0).long() * 16 + torch.where(far < exact, far, large.clamp(max=most))).clamp(max=31)


def buckets(name: str, **options: int) -> Mistake:
    def make(model, _stack) -> None:
        relative = torch.arange(-300, 301)
        encoder = model.mpnet.encoder
        assert torch.equal(bucket(relative), encoder.relative_position_bucket(relative)), "not MPNet's function"
        encoder.relative_position_bucket = lambda relative, num_buckets: bucket(relative, **options)

    return Mistake(name, make)


def head_size(model: nn.Module) -> int:
    return model.config.hidden_size // model.config.num_attention_heads


def bias_of_first_layer(model, _stack) -> None:
    for layer in layers(base(model))[1:]:
        layer.forward = lambda states, mask, _, forward=layer.forward, **rest: forward(states, mask, None, **rest)


def mpnet(_spec: Spec) -> list[Mistake]:
    table = "relative_attention_bias"
    return [
        buckets("bucket: query minus key", sign=1),
        buckets("bucket: last at 64", farthest=64),
        buckets("bucket: last at 256", farthest=256),
        buckets("bucket: last at 127", farthest=127),
        buckets("bucket: last at 129", farthest=129),
        buckets("bucket: exact below 7", exact=7),
        buckets("bucket: exact below 9", exact=9),
        buckets("bucket: not clamped at 15", most=16),
        buckets("bucket: clamped at 14", most=14),
        zeroed(table, "no relative bias"),
        parameter(table, lambda rows, model: rows / math.sqrt(head_size(model)), "relative bias added before the scaling"),
        Mistake("relative bias in the first layer only", bias_of_first_layer),
        pads_counted(modeling_mpnet),
        PADS_MASKED,
        moved_positions(-2),
        moved_positions(1),
        EPS_10,
        eps(lambda _: 1e-12, "eps 1e-12"),
        activation("gelu_pytorch_tanh"),
        activation("relu"),
        qk_swapped("attn.q.", "attn.k."),
        *TANH_HEAD,
        pooled(mean, "mean pooled"),
    ]


def counted_buckets(model, _stack) -> None:
    encoder = model.mpnet.encoder
    right, count = encoder.relative_position_bucket, model.config.relative_attention_num_buckets
    encoder.relative_position_bucket = lambda relative, num_buckets: right(relative, num_buckets=count)


def mpnet_40(spec: Spec) -> list[Mistake]:
    return [Mistake("as many buckets as the table has rows", counted_buckets), *mpnet(spec)]


def groups(order: Callable[[int], int], name: str) -> Mistake:
    def make(model, _stack) -> None:
        count = model.config.num_hidden_layers
        encoder = model.albert.encoder
        encoder.albert_layer_groups = nn.ModuleList([encoder.albert_layer_groups[order(i)] for i in range(count)])
        model.config.num_hidden_groups = count

    return Mistake(name, make)


def albert(_spec: Spec) -> list[Mistake]:
    return [
        groups(lambda i: i % 2, "groups taken in turn"),
        groups(lambda i: 0, "first group in all layers"),
        groups(lambda i: 1 - i // 2, "groups in the other order"),
        groups(lambda i: min(1, (i + 1) // 2), "second group one layer early"),
        zeroed("embedding_hidden_mapping_in.bias", "bias of the mapping dropped"),
        NO_SEGMENTS,
        NO_TYPES,
        EPS_10,
        eps(lambda _: 1e-12, "eps 1e-12"),
        moved_positions(1),
        activation("gelu"),
        activation("relu"),
        qk_swapped(".query.", ".key."),
        set_at("albert.pooler_activation", lambda _: nn.Identity(), "pooler's tanh dropped"),
        pooled(mean, "mean pooled", "encoder"),
    ]


def inner(order: Callable[[nn.ModuleList], list[nn.Module]], name: str) -> Mistake:
    def make(model, _stack) -> None:
        for group in model.albert.encoder.albert_layer_groups:
            group.albert_layers = nn.ModuleList(order(group.albert_layers))

    return Mistake(name, make)


def albert_inner(_spec: Spec) -> list[Mistake]:
    return [
        inner(lambda layers: [layers[1], layers[0]], "layers of a group in the other order"),
        inner(lambda layers: [layers[0], layers[0]], "first layer of a group twice"),
        inner(lambda layers: [layers[0]], "one layer of each group"),
        groups(lambda i: min(1, i), "second group one round early"),
        groups(lambda i: 0, "first group in all rounds"),
        groups(lambda i: i % 2, "groups taken in turn"),
        NO_SEGMENTS,
        EPS_10,
        activation("gelu_new"),
        qk_swapped(".query.", ".key."),
    ]


def mistakes(spec: Spec) -> list[Mistake]:
    by_name = {
        "roberta": roberta_kin,
        "xlmr": roberta_kin,
        "modernbert": modernbert,
        "modernbert-old": modernbert,
        "modular": modular,
        "modular-mean": modular_mean,
        "distilbert": distilbert,
        "electra": electra,
        "mpnet": mpnet,
        "albert": albert,
        "albert-inner": albert_inner,
        "mpnet-40": mpnet_40,
        "modular-prompt": modular_prompt,
    }
    return by_name[spec.name](spec)
