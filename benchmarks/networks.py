"""RedNet-50 over ResNet-50: time of an inference, of a training step and in onnxruntime; interleaved runs, medians.

    python benchmarks/networks.py [--repeats 9] [--batch 4] [--size 224] [--threads 1]

Both networks are channels_last and initialised alike; a ratio below 1 means that RedNet is faster. 0.65 is what the
multiply-adds promise. For the record, RedNet-50 also runs with involution as unfold (the definition) and as
shift-and-accumulate (pure torch): "what a user had before".

Freed memory is kept by the process, because both networks otherwise spend a tenth of their time in page faults of
fresh maps, more or less of it by chance; --default-allocator leaves glibc as it is (ratios of inference then differ
from run to run by 0.1).
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from calm import keep_freed_memory
from steps import Step, inference, training
from torch import nn

from invnas import zoo
from invnas.cost import cost
from invnas.export.onnx_graph import write_onnx
from invnas.nn import build
from invnas.ops import backend_of, reference, shift
from invnas.ops.geometry import Window

RESULTS = Path(__file__).parent / "results"


def medians(steps: dict[str, Step], repeats: int) -> dict[str, float]:
    """Return the median milliseconds of every step, timed in turns after one turn to warm up."""
    laps: dict[str, list[float]] = {name: [] for name in steps}
    for lap in range(repeats + 1):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            if lap:
                laps[name].append(time.perf_counter() - start)
    return {name: 1000 * statistics.median(found) for name, found in laps.items()}


def onnxruntime(network: nn.Module, images: torch.Tensor, threads: int) -> Step:
    """Return an inference of the exported network; the file lives as long as the session needs it."""
    import onnxruntime as runtime

    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        write_onnx(network.eval(), torch.zeros(2, *images.shape[1:]), path)  # one image would fix the batch
        session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    feed = {session.get_inputs()[0].name: images.contiguous().numpy()}
    return lambda: session.run(None, feed)


def with_operator(step: Step, module: Any) -> Step:
    """Return a step in which involution is computed by the pure-torch forms of a module, gradients by autograd."""

    def operator(x: torch.Tensor, kernels: torch.Tensor, *geometry: int) -> torch.Tensor:
        function = module.involution2d if module is reference else module.forward
        result: torch.Tensor = function(x, kernels, Window(*geometry))
        return result

    def patched() -> None:
        with ExitStack() as stack:
            stack.enter_context(patch("invnas.nn.involution.involution2d", operator))
            step()

    return patched


def cases(
    networks: dict[str, nn.Module], images: torch.Tensor, asked: argparse.Namespace
) -> Iterator[tuple[str, dict[str, Step], int]]:
    """Yield what is measured, its step for each network, and how often; RedNet-50 also with the pure-torch forms."""
    labels, few = torch.randint(1000, (asked.batch,)), max(1, asked.repeats // 3)
    kinds = {
        "inference": {name: inference(network, images) for name, network in networks.items()},
        "training_step": {name: training(network, images, labels) for name, network in networks.items()},
        "onnxruntime": {name: onnxruntime(network, images, asked.threads) for name, network in networks.items()},
    }
    for kind, steps in kinds.items():
        yield kind, steps, asked.repeats
        for form, module in {} if kind == "onnxruntime" else {"unfold": reference, "shift": shift}.items():
            yield f"{kind} {form}", {**steps, "rednet50": with_operator(steps["rednet50"], module)}, few


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("repeats", 9), ("batch", 4), ("size", 224), ("threads", 1)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--default-allocator", action="store_true")
    asked = parser.parse_args()
    if not asked.default_allocator:
        keep_freed_memory()
    torch.set_num_threads(asked.threads)
    torch.manual_seed(0)
    shape = (3, asked.size, asked.size)
    images = torch.randn(asked.batch, *shape).contiguous(memory_format=torch.channels_last)
    values = {name: zoo.by_name(name) for name in ("rednet50", "resnet50")}
    networks = {name: build(value, shape, 1000).to(memory_format=torch.channels_last) for name, value in values.items()}
    macs = {name: cost(value, shape, 1000).macs for name, value in values.items()}
    result: dict[str, Any] = {
        **vars(asked),
        "backend": backend_of("cpu"),
        "torch": torch.__version__,
        "macs_ratio": macs["rednet50"] / macs["resnet50"],
    }
    print(f"{backend_of('cpu')}, {vars(asked)}, medians, multiply-adds ratio {result['macs_ratio']:.3f}")
    for label, steps, repeats in cases(networks, images, asked):
        found = medians(steps, repeats)
        ratio = found["rednet50"] / found["resnet50"]
        result[label] = {**{f"{name}_ms": value for name, value in found.items()}, "ratio": ratio}
        times = ", ".join(f"{name} {value:8.1f} ms" for name, value in found.items())
        print(f"{label:<22} {times}, ratio {ratio:.3f}", flush=True)
    name = "networks" + (f"_{asked.threads}_threads" if asked.threads > 1 else "")
    name += "_default_allocator" if asked.default_allocator else ""
    (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
