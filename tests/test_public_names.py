from __future__ import annotations

import subprocess
import sys

import pytest

import invnas

FROZEN = """
    Architecture BasicBlock Bottleneck Choice Convolution ConvolutionFPN Cost DataSource DeepStem DenseNet
    DepthwiseConvolution Experiment HybridNet InvertedResidual Involution InvolutionFPN Latency LocalAttention
    Measurement PlainStem PointwiseBlock Preprocessing RCNNHeads Recipe Repeat RetinaHead Run SemanticFPN Space Stage
    Trial UPerNetHead backbone confirm_front evaluate_model export_model fold load_model onnx_library resume_search
    retrain
    run_search show_report write_report
""".split()

DECIDING = """
    errors choice rules plain dense detectors architecture zoo shipped space measurement objective task caps frame facts
    experiment latency.settings latency.cache latency.predictor preprocessing pareto space_check
    tasks.classification tasks.detection tasks.segmentation masks
""".split()


def test_the_public_names_are_these_and_dir_shows_them_alone() -> None:
    assert sorted(invnas.__all__) == sorted(FROZEN)
    assert set(dir(invnas)) == {*FROZEN, "__version__"}


@pytest.mark.parametrize("name", FROZEN)
def test_every_public_name_is_there_and_says_what_it_is(name: str) -> None:
    assert getattr(invnas, name).__doc__


def test_another_name_is_not() -> None:
    with pytest.raises(AttributeError, match="module 'invnas' has no attribute 'no_such_name'"):
        invnas.no_such_name  # noqa: B018


def imported(modules: list[str], heavy: set[str]) -> set[str]:
    """Return which heavy packages a new process imports with these modules of invnas."""
    lines = [f"import {', '.join(['sys', *modules])}", f"print(*({heavy} & set(sys.modules)))"]
    command = [sys.executable, "-c", "\n".join(lines)]
    return set(subprocess.run(command, capture_output=True, text=True, timeout=300, check=True).stdout.split())


def test_the_deciding_half_never_imports_the_computing_half() -> None:
    assert imported([f"invnas.{name}" for name in DECIDING], {"torch", "lightning"}) == set()
    assert imported(["invnas.ops"], {"torch", "lightning"}) == {"torch"}


def test_the_computing_half_never_imports_the_search() -> None:
    modules = [f"invnas.{name}" for name in ("ops", "nn", "cost", "data", "training", "export")]
    assert imported(modules, {"optuna", "ray"}) == set()


def test_asking_for_a_public_value_needs_no_torch() -> None:
    code = "import sys, invnas; invnas.Space, invnas.Experiment, invnas.Choice; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=180, check=False).returncode == 0
