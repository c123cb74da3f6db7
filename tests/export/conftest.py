from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from export_cases import ALL, DIGITS, ODD, OWN_SPACE, WEIGHTS, trained

from invnas.architecture import Architecture
from invnas.export import export
from invnas.space import load_space


class Case:
    """One network exported in every format."""

    def __init__(self, folder: Path, architecture: Architecture, shape: tuple[int, int, int], classes: int) -> None:
        self.shape, self.classes, self.folder, self.architecture = shape, classes, folder, architecture
        self.network = trained(architecture, shape, classes)
        self.network.stages[0].eval() if hasattr(self.network, "stages") else None
        self.modes = [module.training for module in self.network.modules()]
        self.state = {name: value.clone() for name, value in self.network.state_dict().items()}
        self.random = torch.random.get_rng_state()
        names = [f"class {i}" for i in range(classes)]
        self.exported = export(
            self.network,
            architecture,
            shape,
            classes,
            folder,
            ALL,
            {"seed": "7"},
            names,
        )


@pytest.fixture(scope="module", params=["digits", "odd", "own"])
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    root = tmp_path_factory.mktemp(request.param)
    if request.param == "own":
        (root / "own.py").write_text(OWN_SPACE)
        (_, architecture), *_ = load_space(root / "own.py").enumerate()
        return Case(root / "out", architecture, (3, 6, 6), 3)
    if request.param == "odd":
        return Case(root / "out", ODD, (3, 9, 7), 4)
    return Case(root / "deep" / "out", DIGITS, (1, 8, 8), 10)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "out"
    export(trained(DIGITS, (1, 8, 8), 10), DIGITS, (1, 8, 8), 10, folder, WEIGHTS)
    return folder


@pytest.fixture
def copy(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "out"))
