#!/usr/bin/env python3
"""Times gptq.py of IST-DASLab/gptq on the layers of gptq.sh, or writes such a layer to a file.

    peer_gptq.py layer FILE ROWS COLUMNS              weight and Hessian, float32, row by row
    peer_gptq.py time FILE ROWS COLUMNS REPEATS THREADS CHECKOUT
"""

import contextlib
import io
import resource
import sys
import time
import types

import torch


def write_layer(path: str, rows: int, columns: int) -> None:
    """Weights as of a trained layer, inputs that correlate and differ in size."""
    torch.manual_seed(1)
    weight = torch.randn(rows, columns) * 0.02
    sources = columns // 8
    inputs = torch.randn(columns + 256, sources) @ torch.randn(sources, columns) / sources**0.5 + torch.randn(columns + 256, columns)
    inputs *= torch.randn(columns).exp()
    hessian = inputs.t() @ inputs * (2 / inputs.shape[0])
    with open(path, "wb") as file:
        file.write(weight.numpy().tobytes())
        file.write(hessian.numpy().tobytes())


def time_reference(path: str, rows: int, columns: int, repeats: int, threads: int, checkout: str) -> None:
    # The checkout's modules name these packages but need nothing of them here.
    transformers = types.ModuleType("transformers")
    transformers.Conv1D = type("Conv1D", (), {})
    sys.modules["transformers"] = transformers
    sys.path.insert(0, checkout)
    torch.cuda.synchronize = lambda: None
    torch.set_num_threads(threads)
    with contextlib.redirect_stdout(io.StringIO()):
        import gptq

    values = torch.frombuffer(bytearray(open(path, "rb").read()), dtype=torch.float32)
    weight, hessian = values[: rows * columns].reshape(rows, columns), values[rows * columns :].reshape(columns, columns)
    for _ in range(repeats):
        layer = torch.nn.Linear(columns, rows, bias=False)
        layer.weight.data = weight.clone()
        solver = gptq.GPTQ(layer)
        solver.H = hessian.clone()
        solver.quantizer = gptq.Quantizer()
        solver.quantizer.configure(4, perchannel=True, sym=False, mse=False)
        said = io.StringIO()
        user, start = resource.getrusage(resource.RUSAGE_SELF).ru_utime, time.perf_counter()
        with contextlib.redirect_stdout(said):
            solver.fasterquant(blocksize=128, percdamp=0.01, groupsize=128)
        seconds = time.perf_counter() - start
        user = resource.getrusage(resource.RUSAGE_SELF).ru_utime - user
        print(f"{seconds:.4f} s, {user:.3f} s of user time; loss {said.getvalue().split()[-1]}", flush=True)


def main() -> None:
    if sys.argv[1] == "layer":
        write_layer(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
    else:
        time_reference(sys.argv[2], *map(int, sys.argv[3:7]), sys.argv[7])


if __name__ == "__main__":
    with torch.no_grad():
        main()
