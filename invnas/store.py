"""Where the files of trials are kept, and what they are called: the layout of a run folder stands here alone."""

from __future__ import annotations

import shutil
import uuid
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from invnas.errors import BadInput
from invnas.files import replacing

#: The name of the weights that all trainings of a run start from.
PRETRAINED = "pretrained.safetensors"


def checkpoint_of(number: int) -> str:
    """Return the name of the last checkpoint of a running trial."""
    return f"checkpoints/{number}/last.ckpt"


def weights_of(number: int) -> str:
    """Return the name of the weights of a finished trial."""
    return f"weights/{number}.safetensors"


def confusion_of(number: int) -> str:
    """Return the name of what a trial took for what on the test images."""
    return f"confusion/{number}.json"


def pictures_of(number: int) -> str:
    """Return the name of the picture of what a trial finds in some test images."""
    return f"pictures/{number}.png"


def logs_of(number: int) -> str:
    """Return the name of the folder of a trial's logs."""
    return f"logs/{number}"


@dataclass(frozen=True)
class FolderStore:
    """The files of trials in a run folder on this machine.

    Attributes:
        folder: The run folder.
    """

    folder: Path

    def fetch(self, name: str, path: Path) -> bool:
        """Copy a kept file to `path`, unless it is there; False when there is none of this name."""
        kept = self.folder / name
        if not kept.is_file():
            return False
        if not _same(kept, path):
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(kept, path)
        return True

    def keep(self, name: str, path: Path) -> None:
        """Copy the file at `path` under its name, unless it lies there: who trains in the run folder copies nothing."""
        kept = self.folder / name
        if _same(kept, path):
            return
        kept.parent.mkdir(parents=True, exist_ok=True)
        with replacing(kept) as fresh:
            shutil.copyfile(path, fresh)


def _same(kept: Path, path: Path) -> bool:
    return kept.exists() and path.exists() and kept.samefile(path)


@dataclass(frozen=True)
class SharedStore:
    """The files of trials where several machines reach them: a shared folder, or whatever fsspec has a URL for.

    Attributes:
        url: A path such as /shared/mine, or a URL such as s3://bucket/mine.

    Raises:
        BadInput: If nothing that is installed can reach it.
    """

    url: str

    @cached_property
    def _place(self) -> tuple[Any, str]:
        from fsspec.core import url_to_fs

        try:
            system, root = url_to_fs(self.url)
        except (ImportError, ValueError, OSError) as error:
            raise BadInput(f"`storage` '{self.url}' cannot be reached: {error}") from None
        return system, str(root).rstrip("/")

    def check(self) -> None:
        """Raise BadInput unless files can be kept here."""
        system, root = self._place
        probe = f"{root}/probe-{uuid.uuid4().hex}"
        try:
            system.makedirs(root, exist_ok=True)
            system.pipe_file(probe, b"x")
            system.rm_file(probe)
        except Exception as error:  # each file system has errors of its own
            said = " ".join(str(error).split()) or type(error).__name__
            raise BadInput(f"`storage` '{self.url}' cannot be written: {said}") from None

    def fetch(self, name: str, path: Path) -> bool:
        """Copy a kept file to `path`; False when there is none of this name."""
        system, root = self._place
        if not system.isfile(f"{root}/{name}"):
            return False
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as fresh:
            system.get_file(f"{root}/{name}", str(fresh))
        return True

    def keep(self, name: str, path: Path) -> None:
        """Copy the file at `path` under its name: beside it first, so that the name never holds a part of it."""
        system, root = self._place
        kept = f"{root}/{name}"
        fresh = f"{kept}.{uuid.uuid4().hex}"
        system.makedirs(kept.rpartition("/")[0], exist_ok=True)
        try:
            system.put_file(str(path), fresh)
            system.mv(fresh, kept)
        except BaseException:
            if system.exists(fresh):
                system.rm_file(fresh)
            raise

    def names(self, folder: str) -> list[str]:
        """Return the names of the files kept in a folder."""
        system, root = self._place
        system.invalidate_cache()
        if not system.isdir(f"{root}/{folder}"):
            return []
        found = system.find(f"{root}/{folder}")
        return sorted(f"{folder}/{str(one).rpartition(f'/{folder}/')[2]}" for one in found)

    def drop(self, folder: str) -> None:
        """Remove a folder and what is in it, if there is one."""
        system, root = self._place
        if system.exists(f"{root}/{folder}"):
            system.rm(f"{root}/{folder}", recursive=True)
