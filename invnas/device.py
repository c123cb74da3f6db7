"""What computes here, asked in one place: NVIDIA GPUs, Apple's, or the CPU."""

from __future__ import annotations

import torch


def best_device() -> torch.device:
    """Return what Lightning trains on when nobody says otherwise."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def device_name(device: torch.device | None = None) -> str:
    """Return the name of a device, by default of the best one: "cpu", "mps", or "cuda" with the name of the GPU."""
    device = device or best_device()
    return f"cuda ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else device.type


def synchronize(device: torch.device) -> None:
    """Wait until a device has computed what it was given; a CPU always has."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
