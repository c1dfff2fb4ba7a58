#!/usr/bin/env python3
"""Times training steps of a BERT classifier of MiniLM-L6's shape in PyTorch, for benchmarks/encoder-step.sh (needs python3-torch or pip's torch).

Written as transformers writes it (attention by two matrix products, dropout of 0.1), with 32 texts of 25 tokens, gradients clipped, AdamW.
"""

import statistics
import sys
import time

import torch
import torch.nn.functional as F
from torch import nn

HIDDEN, INTERMEDIATE, LAYERS, HEADS, VOCABULARY, DROPOUT = 384, 1536, 6, 12, 30522, 0.1
TEXTS, LENGTH = 32, 25


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.query, self.key, self.value, self.output = (nn.Linear(HIDDEN, HIDDEN) for _ in range(4))
        self.attention_norm, self.output_norm = nn.LayerNorm(HIDDEN, 1e-12), nn.LayerNorm(HIDDEN, 1e-12)
        self.up, self.down = nn.Linear(HIDDEN, INTERMEDIATE), nn.Linear(INTERMEDIATE, HIDDEN)

    def forward(self, x):
        batch, length, _ = x.shape

        def heads(values):
            return values.view(batch, length, HEADS, -1).transpose(1, 2)

        scores = heads(self.query(x)) @ heads(self.key(x)).transpose(-1, -2) / (HIDDEN // HEADS) ** 0.5
        mixed = F.dropout(scores.softmax(-1), DROPOUT, self.training) @ heads(self.value(x))
        x = self.attention_norm(x + F.dropout(self.output(mixed.transpose(1, 2).reshape(batch, length, HIDDEN)), DROPOUT, self.training))
        return self.output_norm(x + F.dropout(self.down(F.gelu(self.up(x))), DROPOUT, self.training))


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.words, self.positions, self.types = nn.Embedding(VOCABULARY, HIDDEN), nn.Embedding(512, HIDDEN), nn.Embedding(2, HIDDEN)
        self.norm = nn.LayerNorm(HIDDEN, 1e-12)
        self.layers = nn.ModuleList(Layer() for _ in range(LAYERS))
        self.pooler, self.classifier = nn.Linear(HIDDEN, HIDDEN), nn.Linear(HIDDEN, 2)

    def forward(self, ids):
        x = self.norm(self.words(ids) + self.positions(torch.arange(ids.shape[1])) + self.types(torch.zeros_like(ids)))
        x = F.dropout(x, DROPOUT, self.training)
        for layer in self.layers:
            x = layer(x)
        return self.classifier(F.dropout(torch.tanh(self.pooler(x[:, 0])), DROPOUT, self.training))


def main() -> None:
    threads, rounds = int(sys.argv[1]), int(sys.argv[2])
    torch.set_num_threads(threads)
    torch.manual_seed(1)
    model = Classifier()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-4)
    ids, targets = torch.randint(0, VOCABULARY, (TEXTS, LENGTH)), torch.randint(0, 2, (TEXTS,))
    steps = []
    for step in range(3 + rounds):
        times = [time.perf_counter()]
        loss = F.cross_entropy(model(ids), targets)
        loss.item()
        times.append(time.perf_counter())
        optimizer.zero_grad()
        loss.backward()
        times.append(time.perf_counter())
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        times.append(time.perf_counter())
        optimizer.step()
        times.append(time.perf_counter())
        if step >= 3:
            steps.append([after - before for before, after in zip(times, times[1:])])
    parts = ", ".join(f"{name} {statistics.median(step[i] for step in steps) * 1e3:.1f} ms" for i, name in enumerate(("forward", "backward", "clip", "optimizer")))
    print(f"PyTorch {torch.__version__}: step {statistics.median(sum(step) for step in steps) * 1e3:.1f} ms: {parts}")

    left, right = torch.rand(TEXTS * LENGTH, HIDDEN), torch.rand(HIDDEN, INTERMEDIATE)
    times = []
    for _ in range(50):
        start = time.perf_counter()
        left @ right
        times.append(time.perf_counter() - start)
    print(f"its product of {TEXTS * LENGTH} x {HIDDEN} by {INTERMEDIATE}: {2e-9 * left.numel() * INTERMEDIATE / statistics.median(times):.0f} GFLOP/s")


if __name__ == "__main__":
    main()
