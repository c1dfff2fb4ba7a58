#!/usr/bin/env python3
"""Times PyTorch's fake quantization on the shape of Nibble.Benchmarks (needs python3-torch or pip's torch)."""

import statistics
import time

import torch

SIZE = 4096
REPEATS = 15


def seconds(action) -> float:
    """The median time of a call, after three calls that are not counted."""
    times = []
    for repeat in range(REPEATS + 3):
        start = time.perf_counter()
        action()
        if repeat >= 3:
            times.append(time.perf_counter() - start)
    return statistics.median(times)


def main() -> None:
    torch.manual_seed(1)
    weights = (torch.rand(SIZE, SIZE) + torch.rand(SIZE, SIZE) - 1) * 0.1
    low, high = weights.amin(1).clamp(max=0), weights.amax(1).clamp(min=0)
    scale = (high - low) / 15
    zero_point = (-8 - low / scale).round().clamp(-8, 7).to(torch.int32)
    groups = weights.reshape(-1, 32)
    group_scale = scale.repeat_interleave(SIZE // 32)
    group_zero_point = zero_point.repeat_interleave(SIZE // 32)
    print(f"PyTorch {torch.__version__}, {SIZE} x {SIZE} float32, int4 asymmetric, median of {REPEATS}")
    for threads in (1, 2):
        torch.set_num_threads(threads)
        for name, action in (
            ("fake_quantize_per_channel_affine, channels", lambda: torch.fake_quantize_per_channel_affine(weights, scale, zero_point, 0, -8, 7)),
            ("fake_quantize_per_channel_affine, groups of 32", lambda: torch.fake_quantize_per_channel_affine(groups, group_scale, group_zero_point, 0, -8, 7)),
            ("min and max of channels", lambda: (weights.amin(1), weights.amax(1))),
        ):
            time_taken = seconds(action)
            print(f"{threads} thread(s)  {name:48} {time_taken * 1e3:8.2f} ms {weights.numel() * 4 / time_taken / 1e9:6.2f} GB/s")


if __name__ == "__main__":
    main()
