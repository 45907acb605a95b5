import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from hmm_models import (
    GaussianHMM,
    GaussianMixtures,
    ModelFileError,
    load_model,
    load_tensors,
    phone_topology,
    register_model,
    save_model,
    save_tensors,
)

Make = Callable[..., GaussianMixtures]


def assert_bit_equal(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> None:
    assert a.keys() == b.keys()
    for name, value in a.items():
        assert value.dtype == b[name].dtype
        assert value.shape == b[name].shape
        bits, expected = (t.detach().reshape(-1).view(torch.uint8) for t in (value, b[name]))
        assert torch.equal(bits, expected)


@pytest.mark.parametrize(
    "model",
    [
        GaussianMixtures(3, 2, 4),
        GaussianMixtures(3, 2, 4).double(),
        GaussianHMM(3, 4, 2),
        GaussianHMM(3, 4, topology=phone_topology()).double(),
    ],
)
def test_a_model_loads_bit_equal(model: nn.Module, tmp_path: Path) -> None:
    save_model(model, tmp_path / "a.safetensors")
    loaded = load_model(tmp_path / "a.safetensors")
    assert type(loaded) is type(model)
    assert_bit_equal(loaded.state_dict(), model.state_dict())
    assert all(parameter.requires_grad for parameter in loaded.parameters())
    x = torch.randn(2, 7, 4)
    assert torch.equal(loaded(x), model(x))


def test_a_model_that_grew_loads_in_its_present_size(tmp_path: Path) -> None:
    model = GaussianHMM(2, 3)
    model.emission.split([1, 5])
    save_model(model, tmp_path / "a.safetensors")
    assert_bit_equal(load_model(tmp_path / "a.safetensors").state_dict(), model.state_dict())


def test_tensors_of_every_kind_come_back_as_they_were(tmp_path: Path) -> None:
    base = torch.arange(12.0).view(3, 4)
    tensors = {
        "view": base.T,
        "shared": base,
        "scalar": torch.tensor(1, dtype=torch.int64),
        "empty": torch.zeros(0, 3),
        "special": torch.tensor([torch.nan, -torch.inf, -0.0]),
        "bool": torch.tensor([True, False]),
        "half": torch.ones(2, dtype=torch.bfloat16),
        "parameter": nn.Parameter(torch.ones(2)),
    }
    config = {"phones": ["AH0", "SIL"], "nested": {"rate": 0.01, "none": None, "flag": True}, "한국어": "ㅏ"}
    save_tensors(tmp_path / "a.safetensors", tensors, config)
    loaded, loaded_config = load_tensors(tmp_path / "a.safetensors")
    assert loaded_config == config
    assert_bit_equal(loaded, {name: value.detach() for name, value in tensors.items()})


def test_saving_replaces_atomically_and_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.safetensors"
    save_tensors(path, {"x": torch.zeros(3)}, {})
    save_tensors(path, {"x": torch.ones(3)}, {})
    assert load_tensors(path)[0]["x"].tolist() == [1.0] * 3

    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        save_tensors(path, {"x": torch.zeros(3)}, {})
    assert load_tensors(path)[0]["x"].tolist() == [1.0] * 3
    assert list(tmp_path.iterdir()) == [path]


def test_a_config_that_json_cannot_hold_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        save_tensors(tmp_path / "a", {}, {"x": torch.zeros(1)})
    with pytest.raises(ValueError, match="JSON"):
        save_tensors(tmp_path / "a", {}, {"x": float("nan")})
    assert not list(tmp_path.iterdir())


def write(path: Path, **metadata: str) -> None:
    """Write a file with metadata of choice."""
    good = {"format": "pytorch-hmm", "format_version": "1", "package_version": "9.0", "config": "{}"}
    safetensors.torch.save_file({"x": torch.zeros(1)}, path, {**good, **metadata})


def test_files_that_cannot_be_read_are_named_with_the_reason(tmp_path: Path) -> None:
    good = tmp_path / "good"
    save_model(GaussianMixtures(2, 1, 3), good)
    content = good.read_bytes()

    def broken(name: str, data: bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(data)
        return path

    foreign, newer, damaged, odd = (tmp_path / name for name in ("foreign", "newer", "damaged", "odd"))
    safetensors.torch.save_file({"x": torch.zeros(1)}, foreign)
    write(newer, format_version="2")
    write(damaged, config="{")
    write(odd, config="[]")
    cases = {
        tmp_path / "missing": "no such file",
        tmp_path: "no such file",
        broken("empty", b""): "not a readable safetensors file",
        broken("cut", content[:-5]): "not a readable safetensors file",
        broken("cut-header", content[:20]): "not a readable safetensors file",
        broken("text", b"not a model at all, but long enough"): "not a readable safetensors file",
        foreign: "not one of pytorch-hmm",
        newer: "format version 2, written by hmm-models 9.0; .* reads up to version 1: update hmm-models",
        damaged: "damaged metadata",
        odd: "config is a list",
    }
    for path, reason in cases.items():
        with pytest.raises(ModelFileError, match=reason) as caught:
            load_model(path)
        assert caught.value.path == path
        assert str(path) in str(caught.value)


def test_files_that_hold_no_known_model_are_named_with_the_reason(tmp_path: Path) -> None:
    path = tmp_path / "a"
    save_tensors(path, {}, {"what": "lexicon"})
    with pytest.raises(ModelFileError, match="holds tensors, but no model"):
        load_model(path)
    save_tensors(path, {}, {"class": "os.system", "model": {}})
    with pytest.raises(ModelFileError, match=r"holds a os.system; the known classes are \[.*'GaussianHMM'"):
        load_model(path)
    save_tensors(path, {}, {"class": "GaussianMixtures", "model": {"sides": 3}})
    with pytest.raises(ModelFileError, match="configuration does not fit the class"):
        load_model(path)
    config = {"class": "GaussianMixtures", "model": {"num_densities": 2, "num_mixtures": 1, "feature_dim": 3}}
    save_tensors(path, {"mean": torch.zeros(2, 1, 3)}, config)
    with pytest.raises(ModelFileError, match="tensors do not fit the configuration"):
        load_model(path)
    config["model"] = {"num_densities": 0, "num_mixtures": 1, "feature_dim": 3}
    save_tensors(path, {}, config)
    with pytest.raises(ModelFileError, match="num_densities must be >= 1"):
        load_model(path)


def test_only_registered_classes_are_saved(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"one of \[.*'GaussianHMM', 'GaussianMixtures'.*got Linear"):
        save_model(nn.Linear(2, 2), tmp_path / "a")
    assert not list(tmp_path.iterdir())


def test_a_class_of_ones_own_can_be_registered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hmm_models._serialization._MODELS", {})

    @register_model
    class Own(nn.Linear):
        def config(self) -> dict[str, Any]:
            return {"size": self.in_features}

        @classmethod
        def from_config(cls, config: Mapping[str, Any]) -> Self:
            return cls(config["size"], 1)

    model = Own(3, 1)
    save_model(model, tmp_path / "a")
    assert_bit_equal(load_model(tmp_path / "a").state_dict(), model.state_dict())
    with pytest.raises(ValueError, match="the name 'Own' is taken by"):
        register_model(type("Own", (Own,), {}))


def test_the_file_is_plain_safetensors_with_readable_metadata(tmp_path: Path) -> None:
    save_model(GaussianMixtures(2, 1, 3), tmp_path / "a")
    with safetensors.safe_open(tmp_path / "a", framework="pt") as file:
        config = json.loads(file.metadata()["config"])
        assert set(file.keys()) == {"log_variance", "mean", "variance_floor", "weight_logits"}
    assert config["class"] == "GaussianMixtures"
    assert config["model"] == {"num_densities": 2, "num_mixtures": 1, "feature_dim": 3}
