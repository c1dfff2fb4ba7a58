#!/usr/bin/env python3
"""Times gptq.py of IST-DASLab/gptq and Nibble on the same layers; see gptq.sh.

    peer_gptq.py layer FILE ROWS COLUMNS                          writes a weight and a Hessian, float32, row by row
    peer_gptq.py time FILE ROWS COLUMNS REPEATS THREADS CHECKOUT  times gptq.py
    peer_gptq.py table CHECKOUT NIBBLE [ROWSxCOLUMNS:REPEATS ...] times both and prints a table
"""

import contextlib
import io
import os
import resource
import statistics
import subprocess
import sys
import tempfile
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


def seconds(command: list, **environment: str) -> tuple:
    """The times that a program prints, one a line, and the loss it prints last."""
    lines = subprocess.run(command, env={**os.environ, **environment}, stdout=subprocess.PIPE, check=True, text=True).stdout.splitlines()
    return [float(line.split()[0]) for line in lines], float(lines[-1].split()[-1])


def print_table(checkout: str, nibble: str, layers: list) -> None:
    cores = os.cpu_count()
    print(f"PyTorch {torch.__version__}; 4 bit, asymmetric, groups of 128, dampening 0.01; seconds, Cholesky factor included\n")
    print("| rows x columns | program | threads | minimum | runs | median | times Nibble's | loss |")
    print("|---|---|---|---:|---:|---:|---:|---:|", flush=True)
    for layer in layers:
        shape, repeats = layer.split(":")
        rows, columns = shape.split("x")
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "layer")
            subprocess.run([sys.executable, __file__, "layer", path, rows, columns], check=True)
            best = None
            runs = [("Nibble", str(threads), [nibble, "gptq", path, rows, columns, str(max(int(repeats), 3)), str(threads)], {}) for threads in (cores, 1)]
            for torch_threads, blas_threads in dict.fromkeys([(1, cores), (1, 1)]):
                command = [sys.executable, __file__, "time", path, rows, columns, repeats, str(torch_threads), checkout]
                runs.append(("gptq.py", f"{torch_threads} torch, {blas_threads} OpenBLAS", command, {"OPENBLAS_NUM_THREADS": str(blas_threads)}))
            for program, threads, command, environment in runs:
                times, loss = seconds(command, **environment)
                middle = statistics.median(times)
                best = best or middle
                print(f"| {rows} x {columns} | {program} | {threads} | {min(times):.3f} | {len(times)} | {middle:.3f} | {middle / best:.1f} | {loss:.6g} |", flush=True)


def main() -> None:
    if sys.argv[1] == "layer":
        write_layer(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
    elif sys.argv[1] == "table":
        print_table(sys.argv[2], sys.argv[3], sys.argv[4:] or ["1024x1024:5", "4096x4096:3", "4096x11008:1"])
    else:
        time_reference(sys.argv[2], *map(int, sys.argv[3:7]), sys.argv[7])


if __name__ == "__main__":
    with torch.no_grad():
        main()
