from __future__ import annotations

import multiprocessing
import os
import pickle
import shutil
from collections import namedtuple
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from invnas.data import ImageFolder, keeping
from invnas.data.check import examine
from invnas.data.keeping import in_memory, mapped, on_disk
from invnas.errors import BadInput
from invnas.experiment import DataSource
from invnas.task import load_task

Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("INVNAS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "images"


def batches(data: ImageFolder, epochs: tuple[int, ...] = (0,)) -> list[torch.Tensor]:
    """Return everything that a training of these epochs sees."""
    found = []
    for epoch in epochs:
        loader = data.train_dataloader()
        loader.sampler.set_epoch(epoch)
        found += [part for batch in (*loader, *data.val_dataloader()) for part in batch]
    return found


def same(one: list[torch.Tensor], other: list[torch.Tensor]) -> bool:
    return len(one) == len(other) and all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def kept_bytes(data: ImageFolder) -> Iterator[Any]:
    return (images.kept for images in data._sets.values())


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of every mode and depth, some turned by their camera."""
    root = tmp_path_factory.mktemp("mixed")
    rng = np.random.default_rng(0)
    for label in range(2):
        folder = root / f"class{label}"
        folder.mkdir()
        for number, mode in enumerate(("RGB", "L", "P", "RGBA", "LA", "1", "RGB", "I;16")):
            size = int(rng.integers(5, 20)), int(rng.integers(5, 20))
            pixels = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
            if mode == "I;16":
                Image.fromarray(rng.integers(0, 65_536, size).astype(np.uint16)).save(folder / f"{number}.png")
                continue
            turn = Image.Exif()
            turn[0x0112] = 6
            Image.fromarray(pixels).convert(mode).save(folder / f"{number}.png", exif=turn)
    return root


@settings(max_examples=12, deadline=None)
@given(
    st.sampled_from(["memory", "disk"]),
    st.sampled_from([1, 3]),
    st.integers(1, 24),
    st.sampled_from([0.08, 1.0]),
    st.sampled_from(["none", "trivial"]),
    st.integers(0, 3),
    st.sampled_from([None, 6]),
)
def test_kept_images_are_the_same_to_the_bit(
    mixed: Path, cache: str, channels: int, size: int, crop: float, policy: str, epoch: int, limit: int | None
) -> None:
    how: dict[str, Any] = {"image_size": size, "channels": channels, "smallest_crop": crop, "augment": policy}
    plain, kept = (
        ImageFolder(str(mixed), batch_size=4, num_workers=0, train_limit=limit, cache=cache, **how)
        for cache in ("none", cache)
    )
    assert same(batches(plain, (epoch, 0)), batches(kept, (epoch, 0)))
    assert all(one is None for one in kept_bytes(plain))
    assert all(one is not None for one in kept_bytes(kept))


@pytest.mark.parametrize("cache", ["memory", "disk"])
def test_workers_read_what_is_kept(mixed: Path, own_cache: Path, cache: str) -> None:
    plain = ImageFolder(str(mixed), image_size=8, batch_size=4, num_workers=0)
    helped = ImageFolder(str(mixed), image_size=8, batch_size=4, num_workers=1, cache=cache)
    helped.keep(lambda sentence: None)
    assert same(batches(plain, (0, 1)), batches(helped, (0, 1)))


def test_a_source_that_has_kept_its_images_opens_no_file(make_folder: Callable[..., Path], own_cache: Path) -> None:
    root = make_folder(each=6)
    data = ImageFolder(str(root), image_size=8, num_workers=0, cache="memory")
    first = batches(data)
    shutil.rmtree(root)
    assert same(first, batches(data))


def test_a_file_is_made_once_and_said_before(make_folder: Callable[..., Path], own_cache: Path) -> None:
    root, said = make_folder(each=6), list[str]()

    def note(sentence: str) -> None:
        said.append(sentence)
        assert not own_cache.exists()

    arguments: dict[str, Any] = {"image_size": 8, "num_workers": 0, "smallest_crop": 1.0, "cache": "disk"}
    ImageFolder(str(root), **arguments).keep(note)
    # 12 images, of which 10 train or validate.
    assert said == [
        f"note: the decoded training and validation images take 1.92 kB, kept in '{own_cache}' (`cache: disk`)"
    ]
    made = {path: path.stat().st_mtime_ns for path in own_cache.iterdir()}
    assert len(made) == 2
    ImageFolder(str(root), **arguments).keep(note)
    assert len(said) == 1
    assert {path: path.stat().st_mtime_ns for path in own_cache.iterdir()} == made


def test_a_search_makes_it_when_it_examines_its_images(make_folder: Callable[..., Path], own_cache: Path) -> None:
    said: list[str] = []
    arguments = {"root": str(make_folder(each=6)), "image_size": 8, "num_workers": 0, "cache": "disk"}
    examine(DataSource("ImageFolder", arguments), load_task("classification").check_targets, said.append)
    assert len(said) == 1
    assert len(list(own_cache.iterdir())) == 2


def test_memory_is_filled_by_who_trains(make_folder: Callable[..., Path]) -> None:
    said: list[str] = []
    data = ImageFolder(str(make_folder(each=6)), image_size=8, smallest_crop=1.0, num_workers=0, cache="memory")
    data.keep(said.append)
    assert [one is None for one in kept_bytes(data)] == [True, True]
    assert said == [
        "note: the decoded training and validation images take 1.92 kB in the memory of each process that trains "
        "(`cache: memory`)"
    ]


def test_changed_images_are_noticed_and_what_was_kept_of_them_goes(
    make_folder: Callable[..., Path], own_cache: Path
) -> None:
    root = make_folder(each=6)

    def read(cache: str) -> list[torch.Tensor]:
        return batches(ImageFolder(str(root), image_size=8, num_workers=0, cache=cache))

    before = read("disk")
    for file in (root / "train").rglob("*.png"):
        size, at = file.stat().st_size, file.stat().st_mtime_ns
        Image.open(file).rotate(180).save(file)
        os.utime(file, ns=(at, at + (file.stat().st_size == size)))
    after = read("disk")
    assert same(after, read("none"))
    assert not same(after, before)
    assert len(list(own_cache.iterdir())) == 2


def test_what_a_kill_left_goes_with_the_next(make_folder: Callable[..., Path], own_cache: Path) -> None:
    root = str(make_folder(each=6))
    batches(ImageFolder(root, image_size=8, num_workers=0, cache="disk"))
    first, second = own_cache.iterdir()
    for path in (first, second):
        path.rename(path.with_name(f".{path.name}.1.1.part"))
    os.utime(own_cache / f".{first.name}.1.1.part", (0, 0))
    batches(ImageFolder(root, image_size=8, num_workers=0, cache="disk"))
    assert {path.name for path in own_cache.iterdir()} == {first.name, second.name, f".{second.name}.1.1.part"}


@pytest.mark.parametrize("damage", [b"", b"x", "half", "more", "other"])
def test_a_damaged_file_is_made_anew(make_folder: Callable[..., Path], own_cache: Path, damage: bytes | str) -> None:
    root = make_folder(each=6)
    first = batches(ImageFolder(str(root), image_size=8, num_workers=0, cache="disk"))
    good = {path: path.read_bytes() for path in own_cache.iterdir()}
    for path, whole in good.items():
        torn = {"half": whole[: len(whole) // 2], "more": whole + b"x", "other": b"12345678" + whole[8:]}
        path.write_bytes(damage if isinstance(damage, bytes) else torn[damage])
    assert same(first, batches(ImageFolder(str(root), image_size=8, num_workers=0, cache="disk")))
    assert {path: path.read_bytes() for path in own_cache.iterdir()} == good


def _train(root: Path, cache: Path) -> None:
    os.environ["INVNAS_CACHE"] = str(cache)
    plain, kept = (ImageFolder(str(root), image_size=8, num_workers=0, cache=where) for where in ("none", "disk"))
    kept.keep(lambda sentence: None)
    assert same(batches(plain), batches(kept))


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this system forks no process")
def test_two_processes_may_make_it_at_once(make_folder: Callable[..., Path], own_cache: Path) -> None:
    root = make_folder(each=40)
    both = [multiprocessing.get_context("fork").Process(target=_train, args=(root, own_cache.parent)) for _ in "ab"]
    for one in both:
        one.start()
    for one in both:
        one.join()
    assert [one.exitcode for one in both] == [0, 0]
    assert [path.suffix for path in own_cache.iterdir()] == [".bin", ".bin"]


@pytest.mark.parametrize("cache", ["memory", "disk"])
def test_more_than_the_limit_is_refused(make_folder: Callable[..., Path], own_cache: Path, cache: str) -> None:
    data = ImageFolder(
        str(make_folder(each=6)), image_size=8, smallest_crop=1.0, num_workers=0, cache=cache, cache_limit=1e-6
    )
    words = (
        r"training and validation images of '.*images' take 1.92 kB, but `cache_limit` is 1e-06 GB: raise it, or take "
        "`cache: none`"
    )
    with pytest.raises(BadInput, match=words):
        data.keep(lambda sentence: None)
    assert not own_cache.exists()


def test_more_than_the_disk_has_room_for_is_refused(
    make_folder: Callable[..., Path], own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping.shutil, "disk_usage", lambda path: Usage(1000, 0, 1000))
    data = ImageFolder(str(make_folder(each=6)), image_size=8, smallest_crop=1.0, num_workers=0, cache="disk")
    with pytest.raises(BadInput, match=r"take 1.92 kB, but the disk of '.*images' has 1 kB free: make room"):
        data.keep(lambda sentence: None)


def test_a_cache_that_cannot_be_written_is_refused(
    make_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("INVNAS_CACHE", str(tmp_path / "file"))
    data = ImageFolder(str(make_folder(each=6)), image_size=8, num_workers=0, cache="disk")
    with pytest.raises(BadInput, match=r"decoded images cannot be kept in '.*file.images': "):
        data.keep(lambda sentence: None)


def test_a_broken_image_ends_the_making_without_a_trace(make_folder: Callable[..., Path], own_cache: Path) -> None:
    root = make_folder(("train", "val", "test"))
    file = root / "val" / "class1" / "2.png"
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(BadInput, match=r"val/class1/2.png' is not a readable image: "):
        ImageFolder(str(root), image_size=8, num_workers=0, cache="disk").keep(lambda sentence: None)
    assert len(list(own_cache.iterdir())) == 1  # the training images are whole


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9), st.sampled_from(["L", "RGB", "F"])), max_size=5))
def test_what_is_kept_comes_back(tmp_path_factory: pytest.TempPathFactory, shapes: list[tuple[int, int, str]]) -> None:
    rng = np.random.default_rng(0)
    images = []
    for width, height, mode in shapes:
        pixels = rng.random((height, width, 3)) * 255
        images.append(
            Image.fromarray(pixels[:, :, 0].astype(np.float32))
            if mode == "F"
            else Image.fromarray(pixels.astype(np.uint8)).convert(mode)
        )
    size = sum(len(image.tobytes()) for image in images)
    path = tmp_path_factory.mktemp("kept") / "a-b-c.bin"
    stored = [in_memory(len(images), size, images.__getitem__)]
    if images:  # a file of no bytes cannot be mapped; no set of images is empty
        stored.append(on_disk(path, len(images), images.__getitem__))
        assert mapped(path, len(images) + 1) is None
        stored.append(pickle.loads(pickle.dumps(stored[1])))
        assert len(pickle.dumps(stored[1].block)) < 500
    for kept in stored:
        for number, image in enumerate(images):
            found = kept.image(number)
            assert (found.mode, found.size, found.tobytes()) == (image.mode, image.size, image.tobytes())


@pytest.mark.parametrize("cache", ["memory", "disk"])
@pytest.mark.parametrize("splits", [("train",), ("train", "val")])
def test_all_data_are_kept_as_far_as_they_fit(
    make_folder: Callable[..., Path], own_cache: Path, cache: str, splits: tuple[str, ...]
) -> None:
    root = str(make_folder(splits, each=6))

    def read(**more: Any) -> tuple[list[torch.Tensor], ImageFolder]:
        data = ImageFolder(root, image_size=8, batch_size=4, num_workers=0, **more)
        data.train_dataloader(), data.val_dataloader()
        return [part for batch in data.all_data_dataloader() for part in batch], data

    plain, _ = read()
    kept, data = read(cache=cache)
    assert same(plain, kept)
    assert all(one is not None for one in kept_bytes(data))
    bounded, data = read(cache=cache, cache_limit=1e-6)
    assert same(plain, bounded)
    assert [one is None for one in kept_bytes(data)] == [False, False, True]
