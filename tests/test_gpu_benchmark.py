"""benchmarks/gpu.py without a GPU: the byte model by hand, values of every contestant, and the table it would print."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
from gpu_bench import contestants, model, on_host, operands, published, report, targets
from gpu_bench.checking import WrongResult, errors

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
NVCC = shutil.which("nvcc")
needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
STAGE_1, STAGE_3 = model.STAGES[0], model.STAGES[2]
TINY = (model.Shape("K7", 2, 32, 5), model.Shape("K7 /2", 1, 16, 6, stride=2), model.Shape("K3", 1, 3, 4, 3, 1, 3))


@pytest.mark.parametrize(
    ("shape", "direction", "dtype", "us"),
    [
        (STAGE_1, "forward", "float32", 60),
        (STAGE_1, "forward", "float16", 30),
        (STAGE_1, "backward", "float32", 109),
        (STAGE_1, "backward", "bfloat16", 55),
        (STAGE_3, "forward", "float32", 15),
        (STAGE_3, "forward", "float16", 7.6),
        (STAGE_3, "backward", "float32", 27),
        (STAGE_3, "backward", "float16", 14),
    ],
)
def test_the_byte_roofline_is_that_of_the_published_estimate(
    shape: model.Shape, direction: str, dtype: str, us: float
) -> None:
    assert shape.floor_us(direction, dtype) == pytest.approx(us, rel=0.03)


def test_bytes_and_products_of_a_strided_call_by_hand() -> None:
    shape = model.Shape("by hand", batch=1, channels=32, size=5, kernel_size=3, stride=2)
    assert (shape.out, shape.groups, shape.geometry) == (3, 2, (3, 2, 1, 1))
    x, w, y = 32 * 25, 9 * 2 * 9, 32 * 9
    assert shape.elements() == {"x": x, "w": w, "y": y}
    assert shape.bytes("forward", "float16") == 2 * (x + w + y)
    assert shape.bytes("backward", "float32") == 4 * (2 * x + 2 * w + y)
    assert shape.bytes("grad_input", "float32") == shape.bytes("grad_kernels", "float32") == 4 * (x + w + y)
    assert (shape.macs("forward"), shape.macs("backward")) == (9 * y, 18 * y)


def test_the_operands_hold_the_elements_that_are_counted() -> None:
    for shape in (*model.SMALL, *TINY):
        given = operands.operands(shape, "float32", "cpu", 0)
        assert shape.elements() == {"x": given.x.numel(), "w": given.kernels.numel(), "y": given.grad.numel()}
        assert given.x.is_contiguous(memory_format=torch.channels_last)


def test_the_committed_predictions_are_those_of_the_model() -> None:
    written = json.loads((BENCHMARKS / "results" / "gpu_predictions.json").read_text())
    assert written["rows"] == model.predictions()


@needs_compiler
def test_every_contestant_computes_what_it_says(triton_reason: str | None) -> None:
    everybody = [contestant.name for contestant in contestants.CONTESTANTS]
    rows = list(on_host.rows(everybody, TINY, ("float32", "bfloat16")))
    assert len(rows) == len(TINY) * (2 * len(everybody) - 1)  # the published mapping knows float32 only
    for row in rows:
        if row["contestant"] == "Triton" and triton_reason:
            assert triton_reason in row["reason"]
        else:
            assert "reason" not in row, row
            assert row["errors"]["backward"] < 1e-2


@pytest.fixture
def triton_reason() -> str | None:
    try:
        import triton  # noqa: F401
    except ImportError:
        return "triton"
    pytest.skip("with Triton installed, its interpreter must be asked for before the import: see the next test")


def test_the_triton_kernels_in_their_interpreter() -> None:
    pytest.importorskip("triton")
    script = (
        "from gpu_bench import model, on_host\n"
        "for row in on_host.rows(['Triton'], model.SMALL, ('float32', 'float16')): assert 'errors' in row, row\n"
    )
    path = os.pathsep.join([str(BENCHMARKS), str(BENCHMARKS.parent), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": path}
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment)
    assert ran.returncode == 0, ran.stderr[-3000:]


@pytest.mark.parametrize("spoilt", [lambda y: y * 1.01, lambda y: y.fill_(float("nan")), lambda y: y[:, :-1]])
def test_a_wrong_contestant_is_refused(spoilt: Any) -> None:
    def steps(shape: model.Shape, given: operands.Operands) -> operands.Steps:
        right = contestants.unfold_steps(shape, given)["forward"]
        return {"forward": lambda: spoilt(right())}

    with pytest.raises(WrongResult, match="the error of forward is"):
        errors(contestants.Contestant("wrong", ("float32",), steps), TINY[0], "float32", "cpu")


def test_an_element_nobody_wrote_is_seen() -> None:
    def steps(shape: model.Shape, given: operands.Operands) -> operands.Steps:
        right = contestants.unfold_steps(shape, given)["forward"]

        def partly() -> torch.Tensor:
            result = torch.empty_like(given.grad)
            result[:, 1:] = right()[:, 1:]  # type: ignore[index]
            return result

        return {"forward": partly}

    with pytest.raises(WrongResult, match="is inf"):
        errors(contestants.Contestant("lazy", ("float32",), steps), TINY[0], "float32", "cpu")


@pytest.mark.skipif(NVCC is None, reason="needs nvcc")
@pytest.mark.parametrize("architecture", ["sm_80", "sm_90", "sm_100"])
def test_the_published_mapping_compiles(architecture: str, tmp_path: Path) -> None:
    command = [str(NVCC), "-cubin", f"-arch={architecture}", *published.macros(model.OTHERS[1]), "-Xptxas", "-v"]
    command += [str(published.HERE / "published.cu"), "-o", str(tmp_path / "out.cubin")]
    ran = subprocess.run(command, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert re.findall(r"(\d+) bytes spill", ran.stderr) == ["0"] * 6  # stores and loads of three kernels


def test_a_new_batch_size_compiles_nothing_of_ours() -> None:
    found = on_host.compilations()
    assert found["new_for_a_batch_of_96"] == 0
    assert 0 < found["variants"] <= 3 * 3 * len(model.SHAPES)


def record(ours_us: float, published_us: float) -> dict[str, Any]:
    """What a run on a GPU would hold, with one time for everything."""
    rows = []
    for shape in model.SHAPES:
        for name, us in ((contestants.OURS, ours_us), (contestants.PUBLISHED, published_us)):
            for dtype in model.DTYPES if name == contestants.OURS else ("float32",):
                row = {"shape": shape.text, "name": shape.name, "dtype": dtype, "contestant": name, "errors": {}}
                row["us"] = dict.fromkeys(model.DIRECTIONS, us)
                row["share"] = {direction: shape.floor_us(direction, dtype) / us for direction in model.DIRECTIONS}
                rows.append(row)
    return {"facts": {"gpu": "none"}, "rows": rows, "networks": {"inference": {"ratio": 0.9}}}


def test_figures_and_their_verdicts() -> None:
    figures = list(targets.figures(record(ours_us=60.0, published_us=240.0)))
    verdicts = {(figure.target.name, figure.of): figure.verdict for figure in figures}
    assert verdicts[model.FORWARD_SHARE.name, "64x56x56 K7 float32"] == "aim reached"
    assert verdicts[model.FORWARD_SHARE.name, "64x56x56 K7 float16"] == "pass"
    assert verdicts[model.FORWARD_SHARE.name, "256x14x14 K7 float32"] == "miss"
    assert verdicts[model.NETWORK_RATIO.name, "inference"] == "pass"
    assert verdicts[model.NETWORK_RATIO.name, "training step"] == "not measured"
    over = [figure for figure in figures if figure.target is model.OVER_PUBLISHED]
    assert [(figure.value, figure.verdict) for figure in over] == [(4.0, "pass")] * len(model.SHAPES)
    assert [json.loads(json.dumps(figure.record()))["verdict"] for figure in figures] == list(verdicts.values())
    assert all(report.figure_line(figure).endswith(figure.verdict) for figure in figures)


def test_memory_is_reported_and_has_an_aim() -> None:
    assert [model.MEMORY_RATIO.verdict(value) for value in (0.9, 1.2)] == ["aim reached", "pass"]


def test_a_rival_that_wins_is_named() -> None:
    lost = record(ours_us=60.0, published_us=30.0)
    lines = list(targets.rivals_that_win(lost["rows"]))
    assert len(lines) == len(model.SHAPES) * len(model.DIRECTIONS)
    assert lines[0] == "published mapping wins forward of 64x56x56 K7 float32: 2.00 times"
    assert not list(targets.rivals_that_win(record(ours_us=30.0, published_us=60.0)["rows"]))


def test_lines_and_plots(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    made = record(ours_us=60.0, published_us=240.0)
    assert "60.0 101 %" in report.line(made["rows"][0])
    steady = {**made["rows"][0], "steady_us": {"forward": 50.0}, "steady_share": {"forward": 0.8}}
    assert report.line(steady).endswith(f"in a CUDA graph{'':>5}{'50.0':>10}  80 %{'':>48}")
    assert report.line({**made["rows"][0], "reason": "no such thing"}).endswith("no such thing")
    files = report.plots(made, tmp_path / "gpu_none")
    assert [file.name for file in files] == ["gpu_none_share.png", "gpu_none_rivals.png"]
    assert all(file.read_bytes().startswith(b"\x89PNG") for file in files)


@needs_compiler
def test_the_command_without_a_gpu(tmp_path: Path) -> None:
    words = ["--host", "--out", str(tmp_path), "--dtypes", "float32", "--contestants", "published mapping", "unfold"]
    environment = {**os.environ, "PYTHONPATH": str(BENCHMARKS.parent), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(BENCHMARKS / "gpu.py"), *words]
    ran = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.count("published mapping  ") == len(model.SMALL)
    assert "predicted us at 4.3 TB/s" in ran.stdout
    assert [file.name for file in tmp_path.iterdir()] == ["gpu_predictions.json"]


def test_the_same_seed_gives_the_same_operands() -> None:
    one, two = (operands.operands(TINY[0], "float16", "cpu", 5) for _ in range(2))
    other = operands.operands(replace(TINY[0], stride=1), "float16", "cpu", 6)
    assert torch.equal(one.kernels, two.kernels)
    assert not torch.equal(one.x, other.x)
