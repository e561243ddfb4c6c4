"""Weights on disk come back bit for bit; what does not fit is named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import nn

from pipeline.config.bridge import BridgeSection
from pipeline.config.vae import VaeSection
from pipeline.models.factory import build_vae
from pipeline.models.files import (
    fingerprint,
    load_state,
    load_system,
    load_vae,
    model_config,
    save_model,
)
from pipeline.models.spaces import Codec
from pipeline.models.system import System

SIZE, FACTOR = 32, 8
VAE = VaeSection(base=8, multipliers=[1, 2], blocks=1, latent_channels=2)
LATENT = BridgeSection(width=32, depth=1, heads=2, patch_px=4)
PIXEL = BridgeSection(space="pixel", target="residual", conditioning="aligned", network="unet", base=8)
GRID = {"size_px": SIZE, "factor": FACTOR, "pixel_m": 20.0, "halo_px": 0}


def write_vae(folder: Path, seed: int = 0) -> Path:
    torch.manual_seed(seed)
    config = {"kind": "vae", "key": "k", "section": VAE.model_dump(mode="json"), "grid": GRID}
    save_model(folder / "model.safetensors", build_vae(VAE).state_dict(), config)
    return folder / "model.safetensors"


def write_system(folder: Path, section: BridgeSection, vae: Path | None = None) -> tuple[Path, System]:
    torch.manual_seed(1)
    codec = load_vae(vae) if vae else None
    system = System(section, SIZE, FACTOR, 0.5, codec, 0.3)
    config = {
        "kind": "bridge",
        "key": "k",
        "section": section.model_dump(mode="json"),
        "grid": GRID,
        "state_scale": 0.5,
        "residual_scale": 0.3,
        "vae_fingerprint": model_config(vae, "vae")["fingerprint"] if vae else None,
    }
    save_model(folder / "model.safetensors", system.network.state_dict(), config)
    return folder / "model.safetensors", system


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A VAE, a latent system, a pixel system."""
    folder = tmp_path_factory.mktemp("models")
    vae = write_vae(folder / "vae")
    write_system(folder / "latent", LATENT, vae)
    write_system(folder / "pixel", PIXEL)
    return folder


@pytest.fixture
def models(made: Path, tmp_path: Path) -> Path:
    """A copy to be spoilt."""
    return Path(shutil.copytree(made, tmp_path / "models"))


def edit(path: Path, **changes: Any) -> None:
    """Change entries of the ``config.json`` beside a model; None removes one."""
    config = json.loads(path.with_name("config.json").read_text()) | changes
    clean = {k: v for k, v in config.items() if not (k in changes and v is None)}
    path.with_name("config.json").write_text(json.dumps(clean))


def test_weights_come_back_bit_for_bit(tmp_path: Path) -> None:
    path, system = write_system(tmp_path, PIXEL)
    again = load_system(path)
    assert again.section == PIXEL
    assert (again.state_scale, again.residual_scale, again.size_px, again.factor) == (0.5, 0.3, SIZE, FACTOR)
    assert not again.training
    for name, value in system.network.state_dict().items():
        assert torch.equal(again.network.state_dict()[name], value), name


def test_equal_weights_are_equal_bytes_in_any_order(tmp_path: Path) -> None:
    state = {"b": torch.arange(6.0).reshape(2, 3).T, "a": torch.tensor(3)}
    save_model(tmp_path / "1" / "m", state, {"kind": "vae"})
    save_model(tmp_path / "2" / "m", dict(reversed(state.items())), {"kind": "vae"})
    for name in ("m", "config.json"):
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes()
    with safe_open(tmp_path / "1" / "m", "pt") as opened:
        assert opened.metadata() == {"fingerprint": fingerprint(state)}


def test_the_fingerprint_sees_names_shapes_types_and_values() -> None:
    base = {"a": torch.zeros(2, 3), "b": torch.tensor(1.0)}
    others = [
        {"a": torch.zeros(2, 3), "c": torch.tensor(1.0)},
        {"a": torch.zeros(3, 2), "b": torch.tensor(1.0)},
        {"a": torch.zeros(2, 3, dtype=torch.float64), "b": torch.tensor(1.0)},
        {"a": torch.zeros(2, 3), "b": torch.tensor(1.0000001)},
        {"a": torch.zeros(2, 3)},
    ]
    marks = [fingerprint(state) for state in (base, *others)]
    assert len(set(marks)) == len(marks)
    assert all(len(mark) == 16 for mark in marks)
    assert fingerprint(dict(reversed(base.items()))) == marks[0]
    assert fingerprint({"a": base["a"].T.contiguous().T, "b": base["b"]}) == marks[0]
    assert fingerprint({"e": torch.zeros(0, 3)})


@pytest.mark.parametrize("damage", ["absent", "truncated", "empty", "text"])
def test_damaged_weights_are_named(models: Path, damage: str) -> None:
    path = models / "pixel" / "model.safetensors"
    content = path.read_bytes()
    if damage == "absent":
        path.unlink()
    else:
        path.write_bytes({"truncated": content[:-100], "empty": b"", "text": b"hello"}[damage])
    with pytest.raises(
        ValueError, match=r"expected (model weights, found no file|a whole safetensors file)"
    ) as caught:
        load_system(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_a_flipped_bit_is_found_by_the_fingerprint(models: Path) -> None:
    path = models / "pixel" / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    with pytest.raises(
        ValueError, match=r"expected weights with fingerprint [0-9a-f]{16} \(config\.json beside it\)"
    ):
        load_system(path)


def test_weights_of_another_network_are_named(models: Path) -> None:
    path = models / "pixel" / "model.safetensors"
    with pytest.raises(
        ValueError, match=r"model\.safetensors: expected weights of the configured network, found"
    ):
        load_state(path, nn.Linear(2, 2))
    edit(path, section=PIXEL.model_copy(update={"base": 16}).model_dump(mode="json"))
    with pytest.raises(
        ValueError, match="expected weights of the configured network, found others: "
    ) as caught:
        load_system(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "vae"}, r"pixel/config\.json: expected a model of kind 'bridge', found 'vae'"),
        ({"schema": "model/9"}, r"pixel/config\.json: expected schema 'model/1', found 'model/9'"),
        (
            {"section": {"space": "fourier"}},
            r"pixel/config\.json: expected a section 'bridge', found 1 validation",
        ),
        ({"section": None}, r"pixel/config\.json: expected an entry 'section', found none"),
        ({"grid": None}, r"pixel/config\.json: expected an entry 'grid', found none"),
        ({"state_scale": None}, r"pixel/config\.json: expected an entry 'state_scale', found none"),
        ({"fingerprint": None}, r"pixel/config\.json: expected an entry 'fingerprint', found none"),
    ],
)
def test_a_config_that_does_not_fit_is_named(models: Path, changes: dict[str, Any], message: str) -> None:
    path = models / "pixel" / "model.safetensors"
    edit(path, **changes)
    with pytest.raises(ValueError, match=message):
        load_system(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, r"pixel/config\.json: expected the config of model\.safetensors, found no file"),
     (b"{", r"pixel/config\.json: expected JSON, found a file that does not parse")],
)  # fmt: skip
def test_an_absent_or_broken_config_is_named(models: Path, content: bytes | None, message: str) -> None:
    path = models / "pixel" / "config.json"
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        load_system(models / "pixel" / "model.safetensors")


def test_a_latent_model_needs_the_vae_it_was_trained_with(models: Path, tmp_path: Path) -> None:
    latent, vae = models / "latent" / "model.safetensors", models / "vae" / "model.safetensors"
    assert load_system(latent, vae).codec.section == VAE
    with pytest.raises(ValueError, match=r"expected the VAE of this latent model, found none"):
        load_system(latent)
    other = write_vae(tmp_path / "other", seed=9)
    with pytest.raises(
        ValueError, match=r"other/model\.safetensors: expected the VAE [0-9a-f]{16} that .*latent"
    ):
        load_system(latent, other)


def test_a_loaded_vae_is_frozen(models: Path) -> None:
    codec = load_vae(models / "vae" / "model.safetensors")
    assert isinstance(codec, Codec)
    assert not codec.vae.training
    assert not any(p.requires_grad for p in codec.vae.parameters())


def test_a_failed_save_leaves_the_old_weights(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = models / "pixel" / "model.safetensors"
    before = path.read_bytes()
    monkeypatch.setattr("pipeline.models.files.save", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        save_model(path, {"a": torch.zeros(3)}, {"kind": "vae"})
    assert path.read_bytes() == before
    load_system(path)
