"""The C++ loops of involution on CPUs, for torch and for onnxruntime; everything else stands in pyproject.toml.

Each library knows nothing of Python, and is loaded by ctypes or by onnxruntime, so one binary serves every Python
(py_limited_api). Both are optional: without a compiler the package installs all the same, computes involution in pure
torch, and leaves it to onnxruntime's own operators.
"""

import sys

from setuptools import Extension, setup

FLAGS = ["-O3", "-std=c++17", "-ffp-contract=fast", "-fvisibility=hidden", "-g0"]
MAC = sys.platform == "darwin"

setup(
    ext_modules=[
        Extension(
            "invnas.ops.cpu._involution",
            ["invnas/ops/cpu/involution.cpp"],
            depends=[f"invnas/ops/cpu/{name}.h" for name in ("isa", "kernels", "shapes", "span")],
            extra_compile_args=FLAGS,
            # Weak names stay open by themselves on Linux; macOS must be told, as Python's own LDSHARED does.
            extra_link_args=["-undefined", "dynamic_lookup"] if MAC else [],
            optional=True,
            py_limited_api=True,
        ),
        Extension(
            "invnas.ops.onnx._node",
            ["invnas/ops/onnx/node.cpp"],
            depends=[
                f"invnas/ops/{name}.h"
                for name in ("onnx/interface", "onnx/planes", "onnx/tiles", "cpu/isa", "cpu/shapes")
            ],
            extra_compile_args=FLAGS,
            # The standard library's templates are visible whatever the flags say.
            extra_link_args=["-Wl,-exported_symbol,_RegisterCustomOps"]
            if MAC
            else ["-Wl,--version-script=invnas/ops/onnx/node.map"],
            optional=True,
            py_limited_api=True,
        ),
    ],
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
