"""On PYTHONPATH, each Python that starts takes the operators of `loose_torchvision` when it imports torchvision.

For processes that a test does not start itself: lightning imports torchvision, and so does whatever imports lightning.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any


class _First:
    """Finds torchvision, once, and lets the stand-in be there before and after it is executed."""

    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        if name != "torchvision":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def with_operators(module: Any) -> None:
            sys.path.append(str(Path(__file__).parents[1]))
            import loose_torchvision

            loose = loose_torchvision.prepare(Path(module.__file__).parent)
            execute(module)
            if loose:
                loose_torchvision.replace()

        spec.loader.exec_module = with_operators  # type: ignore[method-assign]
        return spec


sys.meta_path.insert(0, _First())  # type: ignore[arg-type]
