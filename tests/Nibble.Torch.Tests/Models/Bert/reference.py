#!/usr/bin/env python3
"""Prints the logits that BertClassifierTests expects, computed with PyTorch's own encoder layer (torch.nn.TransformerEncoderLayer).

    python3 tests/Nibble.Torch.Tests/Models/Bert/reference.py

Weights follow from the tensors' names by the formula in fill(), which TinyBert repeats; nothing is read and nothing is random.
Made with PyTorch 1.13 (Debian 12's python3-torch). It needs no other package.
"""
import torch
from torch import nn

VOCABULARY, HIDDEN, INTERMEDIATE, LAYERS, HEADS, POSITIONS, LABELS = 40, 16, 24, 2, 4, 12, 3
PADDING = {"bert": 0, "roberta": 1, "distilbert": 0}
SEQUENCES = [[5, 17, 33, 8, 21, 9, 30], [5, 12, 9], [5, 38, 2, 26, 9]]


def fill(name, *shape):
    """Numbers from -1 to 1 by a hash of name and index, scaled by what the tensor is for."""
    start = 0x811C9DC5
    for byte in name.encode():
        start = (start ^ byte) * 0x01000193 % 2**32
    values = []
    for index in range(torch.Size(shape).numel()):
        x = (start + index * 0x9E3779B9) % 2**32
        x = (x ^ x >> 16) * 0x85EBCA6B % 2**32
        x = (x ^ x >> 13) * 0xC2B2AE35 % 2**32
        values.append(((x ^ x >> 16) >> 8) / 2**23 - 1)
    unit = torch.tensor(values, dtype=torch.float64).reshape(shape)
    if name.endswith("bias"):
        return 0.3 * unit
    return 1 + 0.3 * unit if "orm.weight" in name else 0.5 * unit


def linear(name, inputs, outputs):
    layer = nn.Linear(inputs, outputs, dtype=torch.float64)
    layer.weight.data, layer.bias.data = fill(name + ".weight", outputs, inputs), fill(name + ".bias", outputs)
    return layer


def norm(name):
    layer = nn.LayerNorm(HIDDEN, 1e-12, dtype=torch.float64)
    layer.weight.data, layer.bias.data = fill(name + ".weight", HIDDEN), fill(name + ".bias", HIDDEN)
    return layer


def encoder_layer(prefix, query, key, value, out, norm1, up, down, norm2):
    layer = nn.TransformerEncoderLayer(HIDDEN, HEADS, INTERMEDIATE, 0.0, "gelu", 1e-12, batch_first=True, norm_first=False, dtype=torch.float64)
    projections = [prefix + query, prefix + key, prefix + value]
    layer.self_attn.in_proj_weight.data = torch.cat([fill(name + ".weight", HIDDEN, HIDDEN) for name in projections])
    layer.self_attn.in_proj_bias.data = torch.cat([fill(name + ".bias", HIDDEN) for name in projections])
    layer.self_attn.out_proj.weight.data = fill(prefix + out + ".weight", HIDDEN, HIDDEN)
    layer.self_attn.out_proj.bias.data = fill(prefix + out + ".bias", HIDDEN)
    layer.norm1, layer.norm2 = norm(prefix + norm1), norm(prefix + norm2)
    layer.linear1, layer.linear2 = linear(prefix + up, HIDDEN, INTERMEDIATE), linear(prefix + down, INTERMEDIATE, HIDDEN)
    return layer


def logits(kind):
    padding = PADDING[kind]
    longest = max(map(len, SEQUENCES))
    ids = torch.tensor([sequence + [padding] * (longest - len(sequence)) for sequence in SEQUENCES])
    present = torch.tensor([[True] * len(sequence) + [False] * (longest - len(sequence)) for sequence in SEQUENCES])
    if kind == "roberta":
        positions = torch.cumsum(present, 1) * present + padding
    else:
        positions = torch.arange(longest).expand(ids.shape)

    tables = kind + ".embeddings."
    x = fill(tables + "word_embeddings.weight", VOCABULARY, HIDDEN)[ids] + fill(tables + "position_embeddings.weight", POSITIONS, HIDDEN)[positions]
    if kind != "distilbert":
        x = x + fill(tables + "token_type_embeddings.weight", 2 if kind == "bert" else 1, HIDDEN)[0]
    x = norm(tables + "LayerNorm")(x)
    for index in range(LAYERS):
        if kind == "distilbert":
            layer = encoder_layer(f"{kind}.transformer.layer.{index}.", "attention.q_lin", "attention.k_lin", "attention.v_lin", "attention.out_lin",
                                  "sa_layer_norm", "ffn.lin1", "ffn.lin2", "output_layer_norm")
        else:
            layer = encoder_layer(f"{kind}.encoder.layer.{index}.", "attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense",
                                  "attention.output.LayerNorm", "intermediate.dense", "output.dense", "output.LayerNorm")
        x = layer(x, src_key_padding_mask=~present)

    first = x[:, 0]
    if kind == "bert":
        return linear("classifier", HIDDEN, LABELS)(torch.tanh(linear("bert.pooler.dense", HIDDEN, HIDDEN)(first)))
    if kind == "roberta":
        return linear("classifier.out_proj", HIDDEN, LABELS)(torch.tanh(linear("classifier.dense", HIDDEN, HIDDEN)(first)))
    return linear("classifier", HIDDEN, LABELS)(torch.relu(linear("pre_classifier", HIDDEN, HIDDEN)(first)))


for kind in PADDING:
    print(kind, ", ".join(f"{value:.7f}" for value in logits(kind).flatten().tolist()))
