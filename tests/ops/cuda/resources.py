"""What every variant takes of a GPU, read from the compiler: `python tests/ops/cuda/resources.py` prints the table.

All variants are one text, compiled to PTX once and to machine code for each architecture.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from invnas.ops.cuda.plan import Variant, source, variants

ARCHITECTURES = ("sm_80", "sm_90", "sm_100")
_REPORT = re.compile(
    r"Compiling entry function '(\w+)'.*?(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads"
    r".*?Used (\d+) registers",
    re.DOTALL,
)


@dataclass(frozen=True)
class Resources:
    """One variant on one architecture. Loads and multiply-adds are counted in the PTX, with its loops over a row of
    the source unrolled. Where a thread has two rows, that is three texts: of the source's rows that both rows meet, and
    of those that one meets."""

    function: str
    architecture: str
    registers: int
    stack: int
    spills: int
    vector_loads: int  # of 16 bytes, from global memory
    multiply_adds: int
    generic_loads: int  # of an address space that the compiler did not see
    matrix_products: int  # of a warp


def why_not() -> str | None:
    """Return why nothing can be compiled here, or None."""
    missing = [tool for tool in ("nvcc", "ptxas") if shutil.which(tool) is None]
    return f"needs {' and '.join(missing)}" if missing else None


def compile_all(folder: Path, architectures: tuple[str, ...] = ARCHITECTURES) -> list[Resources]:
    """Compile every variant for every architecture.

    Raises:
        subprocess.CalledProcessError: If a compiler refuses the text.
    """
    text, ptx = folder / "involution.cu", folder / "involution.ptx"
    entries = "\n".join(variant.entry for variant in variants())
    text.write_text(source() + entries)
    oldest = architectures[0].replace("sm", "compute")
    _run("nvcc", "-std=c++17", "-ptx", f"-arch={oldest}", str(text), "-o", str(ptx))
    counts = _counts(ptx.read_text())
    found = []
    for architecture in architectures:
        report = _run("ptxas", "-v", f"-arch={architecture}", str(ptx), "-o", str(folder / "involution.cubin"))
        for function, stack, stored, loaded, registers in _REPORT.findall(report):
            spills = int(stored) + int(loaded)
            found.append(Resources(function, architecture, int(registers), int(stack), spills, *counts[function]))
    return found


def entry(variant: Variant, folder: Path) -> subprocess.CompletedProcess[str]:
    """Compile one variant as the run-time compiler does, by its definitions."""
    text = folder / "one.cu"
    text.write_text(source())
    command = [
        "nvcc",
        "-std=c++17",
        "-ptx",
        "-arch=compute_80",
        *variant.defines,
        str(text),
        "-o",
        str(folder / "one.ptx"),
    ]
    return subprocess.run(command, capture_output=True, text=True)


def _counts(ptx: str) -> dict[str, tuple[int, int, int, int]]:
    counts = {}
    for part in ptx.split(".visible .entry ")[1:]:
        vectors = len(re.findall(r"ld\.global\.nc\.v[24]\.(?:u32|b32|u64|b64|f32|f64)", part))
        adds, generic = (
            len(re.findall(r"fma\.rn\.f(?:32|64)\s", part)),
            len(re.findall(r"\sld\.(?:[ubfs]\d|v[24])", part)),
        )
        counts[part[: part.index("(")].strip()] = (vectors, adds, generic, part.count("mma.sync"))
    return counts


def _run(*command: str) -> str:
    ran = subprocess.run(command, check=True, capture_output=True, text=True)
    return ran.stdout + ran.stderr


def main() -> None:
    """Print the table, and write it as JSON where a path is given."""
    with tempfile.TemporaryDirectory() as folder:
        found = compile_all(Path(folder))
    for one in found:
        ratio = one.multiply_adds / one.vector_loads if one.vector_loads else 0
        used = f"{one.registers:4} registers {one.spills:3} bytes spilled"
        print(f"{one.function:48} {one.architecture:7} {used} {ratio:6.1f} multiply-adds a load")
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text(json.dumps([asdict(one) for one in found], indent=1) + "\n")


if __name__ == "__main__":
    main()
