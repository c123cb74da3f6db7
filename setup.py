"""The C++ loops of involution on CPUs; everything else about the package stands in pyproject.toml.

The library is loaded with ctypes and knows nothing of Python, so one binary serves every Python (py_limited_api). It is
optional: without a compiler the package installs all the same and computes involution in pure torch.
"""

import sys

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension(
            "invnas.ops.cpu._involution",
            ["invnas/ops/cpu/involution.cpp"],
            depends=["invnas/ops/cpu/kernels.h", "invnas/ops/cpu/shapes.h"],
            extra_compile_args=["-O3", "-std=c++17", "-ffp-contract=fast", "-fvisibility=hidden", "-g0"],
            # Weak names stay open by themselves on Linux; macOS must be told, as Python's own LDSHARED does.
            extra_link_args=["-undefined", "dynamic_lookup"] if sys.platform == "darwin" else [],
            optional=True,
            py_limited_api=True,
        )
    ],
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
