"""The C++ loops of involution for onnxruntime: kernels for the nodes of the domain `invnas` in an exported file.

The library is loaded by onnxruntime, from 1.17 on, and knows nothing of Python. A file runs without it as well, by the
standard operators within it, only slower.
"""

from __future__ import annotations

import functools
import importlib.util
import logging
from typing import Any

from invnas.errors import InvnasError


def onnx_library() -> str:
    """Return the path of the library that runs involution in onnxruntime, for files of `invnas export`.

    Give it to the options of a session: `options.register_custom_ops_library(invnas.onnx_library())`. The session's
    threads do the work. Needs onnxruntime 1.17 or newer on the processor that invnas was built for.

    Returns:
        A path, as onnxruntime takes it.

    Raises:
        InvnasError: If this installation has no such library.

    Example:
        >>> import onnxruntime
        >>> from invnas import onnx_library
        >>> options = onnxruntime.SessionOptions()
        >>> options.register_custom_ops_library(onnx_library())
    """
    path = library_path()
    if path is None:
        raise InvnasError(
            "this installation has no library for onnxruntime: no C++ compiler was found when invnas was built; "
            "the file runs without it, by its own standard operators"
        )
    return path


def register(options: Any) -> str | None:
    """Register the library in the onnxruntime.SessionOptions of a session where that can be.

    Returns:
        Why it cannot, in a sentence, or None; the reason is a warning in the log as well, once.
    """
    path = library_path()
    if path is None:
        reason = "this installation has no library for onnxruntime"
    else:
        try:
            options.register_custom_ops_library(path)
            return None
        except Exception as error:  # onnxruntime has a class for each of its codes, all of them plain exceptions
            reason = f"onnxruntime does not take the library: {' '.join(str(error).split())}"
    _warn(reason)
    return reason


@functools.cache
def _warn(reason: str) -> None:
    logging.getLogger("invnas").warning("involution in onnxruntime runs by standard operators: %s", reason)


def library_path() -> str | None:
    """Return where the library lies, or None when the package was built without it."""
    found = importlib.util.find_spec("invnas.ops.onnx._node")
    return found.origin if found else None
