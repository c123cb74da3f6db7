from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from invnas.errors import BadInput
from invnas.weights import check_weights, load_weights, save_weights


def network(channels: int = 4) -> nn.Module:
    layers = nn.Sequential(nn.Conv2d(2, channels, 3), nn.BatchNorm2d(channels), nn.Flatten())
    layers.to(memory_format=torch.channels_last)
    layers(torch.randn(5, 2, 6, 6) + 3)
    return layers


def same(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def test_weights_come_back_exactly_and_the_network_is_left_as_it_was(tmp_path: Path) -> None:
    saved, other = network(), network()
    strides = saved[0].weight.stride()
    save_weights(saved, tmp_path / "a.safetensors")
    assert not same(saved, other)
    load_weights(other, tmp_path / "a.safetensors")
    assert same(saved, other)
    assert saved[0].weight.stride() == other[0].weight.stride() == strides
    assert saved.training
    assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]
    assert (tmp_path / "a.safetensors").stat().st_mode & 0o444 == 0o444 & ~_umask(tmp_path)


def _umask(folder: Path) -> int:
    (folder / "probe").touch()
    return ~(folder / "probe").stat().st_mode


def test_a_network_without_weights_and_tied_weights(tmp_path: Path) -> None:
    save_weights(nn.ReLU(), tmp_path / "none.safetensors")
    load_weights(nn.ReLU(), tmp_path / "none.safetensors")
    tied, other = nn.ModuleList([nn.Linear(3, 3), nn.Linear(3, 3)]), nn.ModuleList([nn.Linear(3, 3), nn.Linear(3, 3)])
    tied[1].weight, other[1].weight = tied[0].weight, other[0].weight
    save_weights(tied, tmp_path / "tied.safetensors")
    load_weights(other, tmp_path / "tied.safetensors")
    assert same(tied, other)


def test_an_older_file_is_replaced_and_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_text("old")
    save_weights(network(), tmp_path / "a.safetensors")
    load_weights(network(), tmp_path / "a.safetensors")
    with pytest.raises(BadInput, match="cannot be written"):
        save_weights(network(), tmp_path / "missing" / "a.safetensors")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda tensors: tensors.pop("0.bias"), "lacks `0.bias` of the network"),
        (lambda tensors: tensors.update({"9.more": torch.zeros(1)}), "holds `9.more`"),
        (lambda tensors: tensors.update({"0.bias": torch.zeros(5)}), r"shape \(5,\), but the network needs \(4,\)"),
        (lambda tensors: tensors.update({"0.bias": torch.zeros(4, dtype=torch.float64)}), "float64"),
    ],
)
def test_a_file_of_another_network_is_refused_and_the_network_kept(tmp_path: Path, change, said: str) -> None:
    path = tmp_path / "a.safetensors"
    save_weights(network(), path)
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)
    other = network()
    before = {name: value.clone() for name, value in other.state_dict().items()}
    with pytest.raises(BadInput, match=said) as raised:
        load_weights(other, path)
    assert "\n" not in str(raised.value)
    assert all(torch.equal(value, before[name]) for name, value in other.state_dict().items())


@pytest.mark.parametrize("content", [b"", b"1234567", b"\xff" * 64])
def test_what_is_no_safetensors_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    with pytest.raises(BadInput, match="not a whole safetensors file"):
        load_weights(network(), path)


def test_a_truncated_or_missing_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    with pytest.raises(BadInput, match="there is no file of weights"):
        load_weights(network(), path)
    save_weights(network(), path)
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(BadInput, match="not a whole safetensors file"):
        load_weights(network(), path)


def test_weights_can_be_judged_before_anything_is_allocated(tmp_path: Path) -> None:
    save_weights(network(), tmp_path / "a.safetensors")
    with torch.device("meta"):
        huge = nn.Conv2d(2, 10**9, 3)
        check_weights(nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4)), tmp_path / "a.safetensors")
    with pytest.raises(BadInput):
        check_weights(huge, tmp_path / "a.safetensors")


def test_state_that_is_no_tensor_is_refused(tmp_path: Path) -> None:
    class Odd(nn.Module):
        def get_extra_state(self) -> object:
            return {"a": 1}

    with pytest.raises(BadInput, match="is dict, but safetensors holds tensors"):
        save_weights(Odd(), tmp_path / "a.safetensors")
