"""A data module that trains on its validation images too, for a final training: nothing is validated then."""

from __future__ import annotations

import copy

from lightning.pytorch import LightningDataModule

from invnas.errors import BadInput

#: What a module offers that can do so.
HOOK = "all_data_dataloader"


def all_data(data: LightningDataModule, path: str) -> LightningDataModule:
    """Return a set-up module whose training batches are of training and validation images together.

    The test images are those of the module, and so are normalisation and all its other hooks. Only the module knows how
    its validation images are augmented when they are trained on, so one of a user's own says it by the method
    `all_data_dataloader`; the sources of invnas have it.

    Args:
        data: A module that is set up; left as it is.
        path: Its class path.

    Raises:
        BadInput: If it has no such method.
    """
    kind = type(data)
    offered = getattr(kind, HOOK, None)
    if offered is None:
        raise BadInput(
            f"`{path}` does not say how it trains on its validation images too: all_data needs its method `{HOOK}`, "
            "which returns training batches of both parts together"
        )
    hooks = {"train_dataloader": offered, "val_dataloader": LightningDataModule.val_dataloader}
    whole = copy.copy(data)
    whole.__class__ = type(kind.__name__, (kind,), {**hooks, "__module__": kind.__module__})
    return whole


def validates(data: LightningDataModule) -> bool:
    """Return whether a module has validation images."""
    return type(data).val_dataloader is not LightningDataModule.val_dataloader
