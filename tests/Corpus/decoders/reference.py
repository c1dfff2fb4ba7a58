#!/usr/bin/env python3
"""Logits of tiny decoders, worked out from the definitions in huggingface/transformers in plain Python.

    python3 reference.py        writes one JSON file per model beside this script

Each file has the configuration, the tensors (name, shape, mean and spread of the values), the tokens and the logits after some
of them. A value is mean + spread * (2 u - 1) with u = splitmix64(seed) >> 40 as a fraction of 2^24, where the seed counts on
from 1 over all tensors in their order. The result is rounded to float32. Sums are taken in float64.
"""
import json
import math
import os
import struct

HERE = os.path.dirname(os.path.abspath(__file__))
VOCABULARY = 258
TOKENS = [256] + [(37 * i * i + 11 * i + 5) % 256 for i in range(23)]
KEPT = [0, 9, 16, 23]
MASK = (1 << 64) - 1


def splitmix(x):
    z = (x * 0x9E3779B97F4A7C15) & MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def single(x):
    return struct.unpack("f", struct.pack("f", x))[0]


class Weights:
    """Tensors in the order in which they are asked for the first time."""

    def __init__(self):
        self.listed, self.values, self.seed = [], {}, 0

    def add(self, name, shape, mean, spread):
        count = math.prod(shape)
        flat = []
        for _ in range(count):
            self.seed += 1
            flat.append(single(mean + spread * (2 * ((splitmix(self.seed) >> 40) / 2**24) - 1)))
        self.listed.append({"name": name, "shape": shape, "mean": mean, "spread": spread})
        self.values[name] = flat if len(shape) == 1 else [flat[i * shape[1]:(i + 1) * shape[1]] for i in range(shape[0])]

    def linear(self, name, rows, columns, bias=False):
        self.add(name + ".weight", [rows, columns], 0, 1.7 / math.sqrt(columns))
        if bias:
            self.add(name + ".bias", [rows], 0, 0.4)

    def norm(self, name, size, mean=1.0):
        self.add(name + ".weight", [size], mean, 0.4)


def times(matrix, x, bias=None):
    y = [math.fsum(a * b for a, b in zip(row, x)) for row in matrix]
    return y if bias is None else [a + b for a, b in zip(y, bias)]


def plus(a, b, factor=1.0):
    return [p + factor * q for p, q in zip(a, b)]


def rms(x, weight, epsilon, one):
    root = math.sqrt(math.fsum(v * v for v in x) / len(x) + epsilon)
    return [v / root * (w + one) for v, w in zip(x, weight)]


def silu(x):
    return x / (1 + math.exp(-x))


def gelu_tanh(x):
    return 0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


# modeling_rope_utils.py: the inverse frequencies and the attention factor
def rope_default(base, dim):
    return [1 / base ** (2 * i / dim) for i in range(dim // 2)], 1.0


def rope_linear(base, dim, factor):
    return [f / factor for f in rope_default(base, dim)[0]], 1.0


def rope_yarn(base, dim, factor, original, fast=32, slow=1):
    def correction(rotations):
        return dim * math.log(original / (rotations * 2 * math.pi)) / (2 * math.log(base))

    low, high = max(math.floor(correction(fast)), 0), min(math.ceil(correction(slow)), dim - 1)
    if low == high:
        high += 0.001
    plain = rope_default(base, dim)[0]
    result = []
    for i, f in enumerate(plain):
        ramp = min(max((i - low) / (high - low), 0), 1)
        extrapolation = 1 - ramp
        result.append(f / factor * (1 - extrapolation) + f * extrapolation)
    return result, 0.1 * math.log(factor) + 1


def rope_longrope(base, dim, factors, positions, original):
    scale = positions / original
    return [f / d for f, d in zip(rope_default(base, dim)[0], factors)], math.sqrt(1 + math.log(scale) / math.log(original))


def rotate(x, position, rope):
    """apply_rotary_pos_emb: the first channels of a head turn, the rest pass."""
    if rope is None:
        return x
    inverse, factor = rope
    half = len(inverse)
    cos = [math.cos(position * f) * factor for f in inverse]
    sin = [math.sin(position * f) * factor for f in inverse]
    first, second, rest = x[:half], x[half:2 * half], x[2 * half:]
    return ([a * c - b * s for a, b, c, s in zip(first, second, cos, sin)]
            + [b * c + a * s for a, b, c, s in zip(first, second, cos, sin)] + rest)


def attend(q, k, v, group, scale, window=None, cap=None):
    """q, k, v: [position][head][channel]. Eager attention of transformers with a causal mask."""
    out = []
    for t in range(len(q)):
        row = []
        for h in range(len(q[0])):
            seen = range(0 if window is None else max(0, t - window + 1), t + 1)
            scores = [math.fsum(a * b for a, b in zip(q[t][h], k[s][h // group])) * scale for s in seen]
            if cap is not None:
                scores = [math.tanh(s / cap) * cap for s in scores]
            top = max(scores)
            weights = [math.exp(s - top) for s in scores]
            total = math.fsum(weights)
            row += [math.fsum(w * v[s][h // group][c] for w, s in zip(weights, seen)) / total for c in range(len(v[0][0]))]
        out.append(row)
    return out


def heads(x, size):
    return [x[i:i + size] for i in range(0, len(x), size)]


class Model:
    """The parts that all of these decoders share; a family sets what differs."""

    def __init__(self, config, **traits):
        self.config, self.w, self.traits = config, Weights(), traits
        self.hidden, self.wide = config["hidden_size"], config["intermediate_size"]
        self.queries, self.keys = config["num_attention_heads"], config["num_key_value_heads"]
        self.size = config.get("head_dim", self.hidden // self.queries)
        self.layers, self.epsilon = config["num_hidden_layers"], config["rms_norm_eps"]

    def get(self, name, otherwise=None):
        return self.traits.get(name, otherwise)

    def create(self):
        w, mean = self.w, 0.0 if self.get("one") else 1.0
        w.add("model.embed_tokens.weight", [VOCABULARY, self.hidden], 0, 1.7 / math.sqrt(self.hidden))
        for i in range(self.layers):
            p = f"model.layers.{i}."
            for name in self.get("norms"):
                w.norm(p + name, self.hidden, mean)
            if self.get("fused"):
                w.linear(p + "self_attn.qkv_proj", (self.queries + 2 * self.keys) * self.size, self.hidden)
            else:
                bias = self.get("qkv_bias", False)
                w.linear(p + "self_attn.q_proj", self.queries * self.size, self.hidden, bias)
                w.linear(p + "self_attn.k_proj", self.keys * self.size, self.hidden, bias)
                w.linear(p + "self_attn.v_proj", self.keys * self.size, self.hidden, bias)
            w.linear(p + "self_attn.o_proj", self.hidden, self.queries * self.size, self.get("o_bias", False))
            kind = self.get("qk_norm")
            if kind:
                w.norm(p + "self_attn.q_norm", self.size if kind == "each" else self.queries * self.size, mean)
                w.norm(p + "self_attn.k_norm", self.size if kind == "each" else self.keys * self.size, mean)
            if self.get("fused"):
                w.linear(p + "mlp.gate_up_proj", 2 * self.wide, self.hidden)
            else:
                w.linear(p + "mlp.gate_proj", self.wide, self.hidden, self.get("mlp_bias", False))
                w.linear(p + "mlp.up_proj", self.wide, self.hidden, self.get("mlp_bias", False))
            w.linear(p + "mlp.down_proj", self.hidden, self.wide, self.get("mlp_bias", False))
        w.norm("model.norm", self.hidden, mean)
        if not self.config["tie_word_embeddings"]:
            w.linear("lm_head", VOCABULARY, self.hidden)

    def apply(self, name, x):
        return times(self.w.values[name + ".weight"], x, self.w.values.get(name + ".bias"))

    def norm(self, name, x):
        return rms(x, self.w.values[name + ".weight"], self.epsilon, 1 if self.get("one") else 0)

    def attention(self, p, i, x):
        n, size = p + "self_attn.", self.size
        if self.get("fused"):
            joint = [self.apply(n + "qkv_proj", row) for row in x]
            a, b = self.queries * size, (self.queries + self.keys) * size
            q, k, v = [r[:a] for r in joint], [r[a:b] for r in joint], [r[b:] for r in joint]
        else:
            q, k, v = ([self.apply(n + part, row) for row in x] for part in ("q_proj", "k_proj", "v_proj"))
        if self.get("qk_norm") == "all":
            q, k = [self.norm(n + "q_norm", r) for r in q], [self.norm(n + "k_norm", r) for r in k]
        q, k, v = ([heads(r, size) for r in part] for part in (q, k, v))
        if self.get("qk_norm") == "each":
            q = [[self.norm(n + "q_norm", h) for h in r] for r in q]
            k = [[self.norm(n + "k_norm", h) for h in r] for r in k]
        rope = self.get("rope")(i)
        q = [[rotate(h, t, rope) for h in r] for t, r in enumerate(q)]
        k = [[rotate(h, t, rope) for h in r] for t, r in enumerate(k)]
        window = self.get("window", lambda layer: None)(i)
        mixed = attend(q, k, v, self.queries // self.keys, self.get("scale", 1 / math.sqrt(size)), window, self.get("score_cap"))
        return [self.apply(n + "o_proj", r) for r in mixed]

    def mlp(self, p, x):
        act = self.get("act", silu)
        if self.get("fused"):
            both = self.apply(p + "mlp.gate_up_proj", x)
            gate, up = both[:self.wide], both[self.wide:]
        else:
            gate, up = self.apply(p + "mlp.gate_proj", x), self.apply(p + "mlp.up_proj", x)
        return self.apply(p + "mlp.down_proj", [act(g) * u for g, u in zip(gate, up)])

    def logits(self):
        w, r = self.w.values, self.get("residual", 1.0)
        x = [[v * self.get("embedding", 1.0) for v in w["model.embed_tokens.weight"][t]] for t in TOKENS]
        names = self.get("norms")
        for i in range(self.layers):
            p = f"model.layers.{i}."
            if len(names) == 4:  # Gemma 2 and 3
                a = self.attention(p, i, [self.norm(p + "input_layernorm", row) for row in x])
                x = [plus(row, self.norm(p + "post_attention_layernorm", o)) for row, o in zip(x, a)]
                x = [plus(row, self.norm(p + "post_feedforward_layernorm", self.mlp(p, self.norm(p + "pre_feedforward_layernorm", row))))
                     for row in x]
            elif "input_layernorm" in names:  # Llama
                a = self.attention(p, i, [self.norm(p + "input_layernorm", row) for row in x])
                x = [plus(row, o, r) for row, o in zip(x, a)]
                x = [plus(row, self.mlp(p, self.norm(p + "post_attention_layernorm", row)), r) for row in x]
            else:  # OLMo 2
                a = self.attention(p, i, x)
                x = [plus(row, self.norm(p + "post_attention_layernorm", o)) for row, o in zip(x, a)]
                x = [plus(row, self.norm(p + "post_feedforward_layernorm", self.mlp(p, row))) for row in x]
        head = w["model.embed_tokens.weight" if self.config["tie_word_embeddings"] else "lm_head.weight"]
        result = []
        for t in KEPT:
            y = [v * self.get("logit_scale", 1.0) for v in times(head, self.norm("model.norm", x[t]))]
            cap = self.get("logit_cap")
            result.append([float(f"{math.tanh(v / cap) * cap if cap else v:.9g}") for v in y])
        return result


LLAMA = ["input_layernorm", "post_attention_layernorm"]
GEMMA = ["input_layernorm", "post_attention_layernorm", "pre_feedforward_layernorm", "post_feedforward_layernorm"]
OLMO = ["post_attention_layernorm", "post_feedforward_layernorm"]


def config(model_type, layers=2, tied=False, heads=4, size=8, hidden=32, **more):
    c = {"model_type": model_type, "vocab_size": VOCABULARY, "hidden_size": hidden, "intermediate_size": 64, "num_hidden_layers": layers,
         "num_attention_heads": heads, "num_key_value_heads": 2, "head_dim": size, "max_position_embeddings": 128, "rms_norm_eps": 1e-05,
         "tie_word_embeddings": tied, "bos_token_id": 256, "eos_token_id": 257}
    c.update(more)
    return c


def every(rope):
    return lambda layer: rope


def models():
    d = rope_default(10000, 8)
    yield "llama-yarn", config("llama", rope_scaling={"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32}), dict(
        norms=LLAMA, rope=every(rope_yarn(10000, 8, 4.0, 32)))
    yield "llama-dynamic", config("llama", rope_scaling={"type": "dynamic", "factor": 4.0}), dict(norms=LLAMA, rope=every(d))
    yield "qwen2-yarn", config("qwen2", rope_theta=1000000.0, rope_scaling={
        "type": "yarn", "factor": 2.0, "original_max_position_embeddings": 64}), dict(
        norms=LLAMA, qkv_bias=True, rope=every(rope_yarn(1e6, 8, 2.0, 64)))
    gemma = dict(one=True, act=gelu_tanh, embedding=math.sqrt(32))
    yield "gemma", config("gemma", tied=True, size=16, hidden_act="gelu"), dict(gemma, norms=LLAMA, rope=every(rope_default(10000, 16)))
    second = dict(gemma, norms=GEMMA, rope=every(d))
    yield "gemma2", config("gemma2", layers=4, tied=True, query_pre_attn_scalar=8, sliding_window=8, attn_logit_softcapping=1.5,
                           final_logit_softcapping=3.0, hidden_activation="gelu_pytorch_tanh"), dict(
        second, scale=1 / math.sqrt(8), window=lambda i: 8 if i % 2 == 0 else None, score_cap=1.5, logit_cap=3.0)
    yield "gemma2-types", config("gemma2", layers=3, tied=True, query_pre_attn_scalar=20, sliding_window=6, attn_logit_softcapping=None,
                                 final_logit_softcapping=None,
                                 layer_types=["full_attention", "sliding_attention", "sliding_attention"]), dict(
        second, scale=1 / math.sqrt(20), window=lambda i: None if i == 0 else 6)
    third = dict(gemma, norms=GEMMA, qk_norm="each", scale=1 / math.sqrt(8))
    far, near = rope_linear(1e6, 8, 8.0), rope_default(10000, 8)
    yield "gemma3", config("gemma3_text", layers=6, tied=True, query_pre_attn_scalar=8, sliding_window=8, sliding_window_pattern=6,
                           rope_theta=1000000.0, rope_local_base_freq=10000.0, rope_scaling={"rope_type": "linear", "factor": 8.0},
                           hidden_activation="gelu_pytorch_tanh"), dict(
        third, rope=lambda i: far if i == 5 else near, window=lambda i: None if i == 5 else 8)
    yield "gemma3-types", config("gemma3_text", layers=2, tied=True, query_pre_attn_scalar=8, sliding_window=7,
                                 layer_types=["sliding_attention", "full_attention"],
                                 rope_parameters={"full_attention": {"rope_type": "default", "rope_theta": 500000.0},
                                                  "sliding_attention": {"rope_type": "default", "rope_theta": 2000.0}}), dict(
        third, rope=lambda i: rope_default(5e5 if i else 2000, 8), window=lambda i: None if i else 7)
    phi = dict(norms=LLAMA, fused=True)
    yield "phi3", config("phi3", sliding_window=64), dict(phi, rope=every(d))
    short, long = [1.0, 1.25, 1.5], [2.0, 3.0, 5.0]
    yield "phi3-longrope", config("phi3", tied=True, partial_rotary_factor=0.75, original_max_position_embeddings=256, max_position_embeddings=1024,
                                  rope_scaling={"type": "longrope", "short_factor": short, "long_factor": long}), dict(
        phi, rope=every(rope_longrope(10000, 6, short, 1024, 256)))
    smol = rope_default(2e6, 8)
    yield "smollm3", config("smollm3", layers=4, tied=True, use_sliding_window=False, no_rope_layer_interval=4), dict(
        norms=LLAMA, rope=lambda i: None if i == 3 else smol)
    yield "smollm3-list", config("smollm3", layers=3, no_rope_layers=[0, 1, 0], attention_bias=True, mlp_bias=True, rope_theta=50000.0), dict(
        norms=LLAMA, qkv_bias=True, o_bias=True, mlp_bias=True, rope=lambda i: rope_default(50000, 8) if i == 1 else None)
    yield "olmo2", config("olmo2", rope_theta=500000.0), dict(norms=OLMO, qk_norm="all", rope=every(rope_default(5e5, 8)))
    stretched, plain = rope_yarn(5e5, 8, 4.0, 32), rope_default(5e5, 8)
    yield "olmo3", config("olmo3", layers=4, rope_theta=500000.0, sliding_window=8, rope_scaling={
        "rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32, "beta_fast": 32, "beta_slow": 1}), dict(
        norms=OLMO, qk_norm="all", rope=lambda i: stretched if i == 3 else plain, window=lambda i: None if i == 3 else 8)
    yield "granite", config("granite", tied=True, embedding_multiplier=12.0, residual_multiplier=0.22, attention_multiplier=0.0625,
                            logits_scaling=8.0), dict(
        norms=LLAMA, embedding=12.0, residual=0.22, scale=0.0625, logit_scale=1 / 8.0, rope=every(d))


def main():
    for name, cfg, traits in models():
        model = Model(cfg, **traits)
        model.create()
        data = {"config": cfg, "tensors": model.w.listed, "tokens": TOKENS, "positions": KEPT, "logits": model.logits()}
        with open(os.path.join(HERE, name + ".json"), "w") as file:
            file.write("{" + ",\n".join(f'"{key}":{json.dumps(value, separators=(",", ":"))}' for key, value in data.items()) + "}\n")
        print(name, data["logits"][3][:4])


main()
