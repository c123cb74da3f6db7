"""Images per second that the loader of an ImageFolder gives, by what is kept of them (`cache`).

    python benchmarks/loading.py

4,000 images of 32 to 64 pixels a side, JPEG and PNG in turn, smoothed noise, become batches of 128 of 32 x 32, one
epoch at a time, the settings in turns; each figure is the fastest of five epochs: on a busy machine the others measure
its neighbours. The files lie in the system's own cache, as they would from the second epoch on.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from invnas.data import ImageFolder

RESULTS = Path(__file__).parent / "results" / "loading.json"
CACHES = ("none", "memory", "disk")
IMAGES, EPOCHS = 4_000, 5
# Training images with random crops, training images without, and what is done where no chance is: validation.
LOADS: dict[str, tuple[str, dict[str, Any]]] = {
    "training, random crops": ("train_dataloader", {}),
    "training, centre crops": ("train_dataloader", {"smallest_crop": 1.0}),
    "validation": ("val_dataloader", {"validation_share": 0.6}),
}


def make_images(root: Path) -> None:
    rng = np.random.default_rng(0)
    for number in range(IMAGES):
        folder = root / f"class{number % 10}"
        folder.mkdir(exist_ok=True)
        width, height = (int(side) for side in rng.integers(32, 65, 2))
        noise = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
        ending = "jpg" if number // 10 % 2 else "png"
        noise.resize((width, height), Image.Resampling.BICUBIC).save(folder / f"{number}.{ending}")


def measure(root: Path, workers: int) -> dict[str, dict[str, float]]:
    rows = {}
    for name, (hook, more) in LOADS.items():
        loaders = {}
        for cache in CACHES:
            data = ImageFolder(str(root), 32, batch_size=128, num_workers=workers, cache=cache, test_share=0.01, **more)
            loaders[cache] = getattr(data, hook)()
        best = dict.fromkeys(CACHES, 0.0)
        for _ in range(EPOCHS):
            for cache, loader in loaders.items():
                start = time.perf_counter()
                seen = sum(len(images) for images, _ in loader)
                best[cache] = max(best[cache], seen / (time.perf_counter() - start))
        rows[name] = best
    return rows


def main() -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["INVNAS_CACHE"] = str(Path(folder) / "cache")
        root = Path(folder) / "images"
        root.mkdir()
        make_images(root)
        found = {f"{workers} workers": measure(root, workers) for workers in (0, 1)}
    for workers, rows in found.items():
        for name, row in rows.items():
            print(f"{workers}, {name:<24}", "  ".join(f"{cache} {value:,.0f}" for cache, value in row.items()))
    RESULTS.write_text(json.dumps({"images_per_second": found}, indent=2) + "\n")


if __name__ == "__main__":
    main()
