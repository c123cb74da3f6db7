"""A network as an ExecuTorch program: XNNPACK runs what it knows of it, portable kernels the rest; and that in int8."""

from __future__ import annotations

import contextlib
import copy
import logging
import os
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from invnas.errors import InvnasError
from invnas.export.program import first_line, plain_program, quiet

Tensor = torch.Tensor


def write_pte(network: nn.Module, images: Tensor, path: Path, *, any_batch: bool = True) -> None:
    """Write an ExecuTorch program.

    Args:
        network: In eval mode.
        images: (batch, channels, height, width).
        path: Where to.
        any_batch: True for a program that takes one image at a time, False for this size of batch: memory is planned
            for one size, and for a larger one it would be taken from a device in vain.

    Raises:
        InvnasError: If it cannot become one.
    """
    program = _contiguous(network, images[:1] if any_batch else images)
    with _silent():
        path.write_bytes(_lowered(program))


def write_int8_pte(network: nn.Module, calibration: Iterable[Tensor], path: Path) -> None:
    """Write a program with convolutions and linear layers in int8, for one image at a time; involution stays in float.

    Args:
        network: In eval mode, float32.
        calibration: Batches of images, from which the ranges of maps are found.
        path: Where to.

    Raises:
        InvnasError: If ExecuTorch cannot quantise the network.
    """
    images = [image.contiguous() for batch in calibration for image in batch.split(1)]
    program = _contiguous(network, images[0])
    try:
        with _silent():
            converted = _quantised(program, images)
            path.write_bytes(_lowered(torch.export.export(converted, (images[0],), strict=False), padded=False))
    except InvnasError:
        raise
    except Exception as error:  # of any of three packages
        raise InvnasError(f"ExecuTorch cannot quantise the network: {first_line(error)}") from error


def run_pte(path: Path, images: list[Tensor]) -> list[Tensor]:
    """Return the scores of a program that takes one image at a time, for each batch."""
    run = loaded(path)
    return [run(batch) for batch in images]


def loaded(path: Path) -> Callable[[Tensor], Tensor]:
    """Return what gives the scores of a batch by a program that takes one image at a time."""
    with _silent():
        from executorch.extension.pybindings import portable_lib
        from executorch.runtime import Runtime

        with _hushed():
            portable_lib._threadpool_get_thread_count()
    data = path.read_bytes()  # is read in place: it has to live as long as what runs
    program = Runtime.get().load_program(data)
    method, held = program.load_method("forward"), (data, program)

    def run(batch: Tensor) -> Tensor:
        assert held
        # What comes back lies where the next image writes.
        return torch.cat([method.execute([image.contiguous()])[0].clone() for image in batch.split(1)])

    return run


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Let programs that are loaded meanwhile use one thread; one from before would wait for threads that are gone."""
    with _silent():
        from executorch.extension.pybindings import portable_lib

    with _hushed():
        before = portable_lib._threadpool_get_thread_count()
        portable_lib._unsafe_reset_threadpool(1)
    try:
        yield
    finally:
        with _hushed():
            portable_lib._unsafe_reset_threadpool(before)


def _contiguous(network: nn.Module, images: Tensor) -> torch.export.ExportedProgram:
    plain = copy.deepcopy(network).to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    return plain_program(plain, images.contiguous(), any_batch=False)


def _lowered(program: torch.export.ExportedProgram, *, padded: bool = True) -> bytes:
    """Return the bytes of a program; padding is left to XNNPACK, or else to the portable kernels."""
    from executorch.backends.xnnpack.partition.config import ALL_PARTITIONER_CONFIGS
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    # XNNPACK of ExecuTorch 1.5 takes a pad of an int8 map, and then cannot load it.
    configs = [one for one in ALL_PARTITIONER_CONFIGS if padded or one.target_name != "constant_pad_nd.default"]
    try:
        lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner(configs)])
        return bytes(lowered.to_executorch().buffer)
    except Exception as error:  # whatever a user's own operators meet there
        raise InvnasError(f"ExecuTorch cannot run the network: {first_line(error)}") from error


def _quantised(program: torch.export.ExportedProgram, images: Iterable[Tensor]) -> Any:
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
        XNNPACKQuantizer,
        get_symmetric_quantization_config,
    )
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    quantizer, config = XNNPACKQuantizer(), get_symmetric_quantization_config(is_per_channel=True)
    for kind in (torch.ops.aten.conv2d.default, torch.ops.aten.linear.default):
        quantizer.set_operator_type(kind, config)
    prepared = prepare_pt2e(program.module(), quantizer)
    with torch.no_grad():
        for image in images:
            prepared(image)
    return convert_pt2e(prepared)


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Silence what Python says of ExecuTorch, torchao and what they use."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with quiet(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


@contextlib.contextmanager
def _hushed() -> Iterator[None]:
    """Silence C++, which says on stderr which files of the system it did not find when it counts cores."""
    kept = os.dup(2)
    try:
        with open(os.devnull, "w", encoding="utf-8") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
