"""Checkpoints: round trips, and files that are damaged, tampered with or something else."""

import json
import pickle

import pytest
import torch
from safetensors.torch import load_file, safe_open, save_file

from manifests.ground.errors import CheckpointError
from train.checkpoints.checkpoint import (
    FORMAT,
    CheckpointHeader,
    checkpoint_path,
    load_checkpoint,
    save_checkpoint,
)
from train.checkpoints.restoration import load_model, restore_network, restore_optimiser
from train.model import Normalisation
from train.networks.network import build_network, for_device
from train.settings import resolve
from train.training.learner import build_optimiser


@pytest.fixture
def header(label_space, settings):
    return CheckpointHeader(
        label_space=label_space,
        settings=settings,
        normalisation=Normalisation(-50.0, 300.0, 100.0, 40.0),
        spacing_mm=(4.0, 4.0, 5.0),
        manifest_sha256="0" * 64,
        losses=(1.5, 1.25),
        step=12,
        best_score=0.1,
    )


@pytest.fixture
def network(header):
    return for_device(build_network(header.network, 3, seed=7), torch.device("cpu"))


def learn(network, optimiser, seed=0):
    images = torch.randn(1, 1, 16, 16, 16, generator=torch.Generator().manual_seed(seed))
    optimiser.zero_grad()
    network(images).square().mean().backward()
    optimiser.step()


@pytest.fixture
def saved(tmp_path, header, network):
    """The last checkpoint of a run, after one step."""
    optimiser = build_optimiser(network, header.settings)
    learn(network, optimiser)
    path = checkpoint_path(tmp_path / "run", "last")
    save_checkpoint(path, header, network, optimiser)
    return path


@pytest.mark.parametrize("overrides", [["optimiser=adam"], ["optimiser=sgd", "momentum=0.9"]])
def test_a_restored_training_takes_the_same_next_step(tmp_path, header, network, overrides):
    settings = resolve("tiny", overrides)
    optimiser = build_optimiser(network, settings)
    learn(network, optimiser)
    save_checkpoint(tmp_path / "a.safetensors", header, network, optimiser)

    checkpoint = load_checkpoint(tmp_path / "a.safetensors")
    other = for_device(build_network(header.network, 3, seed=8), torch.device("cpu"))
    other_optimiser = build_optimiser(other, settings)
    restore_network(checkpoint, other)
    restore_optimiser(checkpoint, other_optimiser, other)
    assert checkpoint.header == header
    for parameter in other.parameters():
        momentum = other_optimiser.state[parameter]
        momentum = momentum.get("exp_avg", momentum.get("momentum_buffer"))
        assert momentum.stride() == parameter.stride()

    learn(network, optimiser, seed=1)
    learn(other, other_optimiser, seed=1)
    for one, two in zip(network.parameters(), other.parameters(), strict=True):
        assert torch.equal(one, two)


def test_a_model_is_the_network_with_its_surroundings(saved, header, network):
    for where in (saved, saved.parents[1]):
        model = load_model(where, which="last")
        assert model.label_space == header.label_space
        assert model.normalisation == header.normalisation
        assert model.spacing_mm == header.spacing_mm
        assert model.patch_size_zyx == header.settings.patch_size_zyx
        images = torch.randn(1, 1, 16, 16, 16)
        network.eval()
        torch.testing.assert_close(model.network(images), network(images), rtol=1e-4, atol=1e-4)
        assert not model.network.training


def test_a_run_without_that_checkpoint_says_what_to_do(saved):
    with pytest.raises(CheckpointError, match=r"no checkpoint at .*best.safetensors: train first"):
        load_model(saved.parents[1])


class Bomb:
    """Unpickling it would leave a trace."""

    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return (self.trace.write_text, ("executed",))


def test_a_pickle_is_refused_and_not_executed(tmp_path):
    trace = tmp_path / "trace"
    for name, content in (
        ("pickle", pickle.dumps(Bomb(trace))),
        ("empty", b""),
        ("text", b"weights, honestly" * 100),
    ):
        path = tmp_path / f"{name}.safetensors"
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match="is not a readable checkpoint"):
            load_model(path)
    torch.save({"network": Bomb(trace)}, tmp_path / "torch.pt")
    with pytest.raises(CheckpointError, match="is not a readable checkpoint"):
        load_model(tmp_path / "torch.pt")
    assert not trace.exists()


@pytest.mark.parametrize("length", [4, 100, -1])
def test_a_truncated_file_is_refused(saved, length):
    saved.write_bytes(saved.read_bytes()[:length])
    with pytest.raises(CheckpointError, match=r"expected a whole .safetensors file"):
        load_checkpoint(saved)


def test_a_flipped_bit_in_the_weights_is_noticed(saved):
    content = bytearray(saved.read_bytes())
    content[-1] ^= 1
    saved.write_bytes(content)
    with pytest.raises(CheckpointError, match="is damaged or was changed"):
        load_checkpoint(saved)


def test_a_changed_header_is_noticed(saved):
    content = saved.read_bytes()
    assert content.count(b"liver") >= 1
    saved.write_bytes(content.replace(b"liver", b"river"))
    with pytest.raises(CheckpointError, match="is damaged or was changed"):
        load_checkpoint(saved)


def test_safetensors_of_another_kind_are_refused(tmp_path):
    other = tmp_path / "other.safetensors"
    save_file({"weight": torch.zeros(3)}, other)
    with pytest.raises(CheckpointError, match=f"expected format '{FORMAT}', got 'none'"):
        load_checkpoint(other)
    save_file({"weight": torch.zeros(3)}, other, {"format": "marginalia checkpoint 9"})
    with pytest.raises(CheckpointError, match="got 'marginalia checkpoint 9'"):
        load_checkpoint(other)


def forge(path, *, header=None, tensors=None):
    """Write a checkpoint whose digest is right, whatever it holds."""
    from train.checkpoints.checkpoint import _digest

    with safe_open(path, framework="pt") as file:
        text = file.metadata()["header"]
    values = json.loads(text)
    text = json.dumps(values | (header(values) if header else {}))
    changed = load_file(path)
    changed |= tensors(changed) if tensors else {}
    changed = {k: v for k, v in changed.items() if v is not None}
    save_file(changed, path, {"format": FORMAT, "header": text, "sha256": _digest(text, changed)})


def test_the_model_resamples_as_its_training_images_were(saved):
    forge(saved, header=lambda _: {"interpolation": "cubic"})
    assert load_model(saved).interpolation == "cubic"
    # as the checkpoints of the time before it was kept
    forge(saved, header=lambda values: values.pop("interpolation") and {})
    assert load_model(saved).interpolation == "linear"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda _: {"step": "many"}, "step: Input should be a valid integer"),
        (lambda _: {"surprise": 1}, "surprise: no such key"),
        (lambda v: {"settings": v["settings"] | {"batch_size": 0}}, "settings.batch_size"),
        (lambda v: {"normalisation": v["normalisation"] | {"std_hu": 0}}, "std_hu above 0"),
        (lambda _: {"spacing_mm": [0, 1, 1]}, "spacing_mm.0"),
        (lambda _: {"interpolation": "sinc"}, "interpolation: Input should be 'linear' or"),
    ],
)
def test_a_header_that_makes_no_sense_is_explained(saved, change, words):
    forge(saved, header=change)
    with pytest.raises(CheckpointError, match=words):
        load_checkpoint(saved)


def test_a_header_that_claims_a_huge_network_takes_no_memory(saved, monkeypatch):
    forge(saved, header=lambda v: {"settings": v["settings"] | {"filters": [1024] * 8}})
    monkeypatch.setattr(torch.nn.Module, "to_empty", pytest.fail)
    with pytest.raises(
        CheckpointError, match=r"tensors do not fit the network .*expected \(\(1024"
    ):
        load_model(saved)


def first_weight(tensors):
    return next(name for name in sorted(tensors) if name.startswith("network/"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: {first_weight(t): t[first_weight(t)].flatten()}, "expected .*, got"),
        (lambda t: {first_weight(t): t[first_weight(t)].double()}, "got .*float64"),
        (lambda t: {first_weight(t): None}, "got none"),
        (lambda _: {"network/more": torch.zeros(1)}, "network/more: expected none"),
    ],
)
def test_weights_that_do_not_fit_are_explained(saved, change, words):
    forge(saved, tensors=change)
    with pytest.raises(CheckpointError, match=rf"1 tensors do not fit the network.*{words}"):
        load_model(saved, which="last")


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_weights_that_are_not_numbers_are_refused(saved, bad):
    forge(saved, tensors=lambda t: {first_weight(t): t[first_weight(t)] * 0 + bad})
    with pytest.raises(CheckpointError, match=r"got NaN or infinity in 1 of .*network/.*diverged"):
        load_model(saved, which="last")


@pytest.mark.parametrize("what", ["exp_avg", "step"])
def test_momenta_that_do_not_fit_are_explained(saved, header, network, what):
    def change(tensors):
        name = next(n for n in sorted(tensors) if n.endswith(f"/{what}"))
        return {name: torch.zeros(2, 2)}

    forge(saved, tensors=change)
    optimiser = build_optimiser(network, header.settings)
    with pytest.raises(CheckpointError, match=rf"1 tensors do not fit.*/{what}: expected"):
        restore_optimiser(load_checkpoint(saved), optimiser, network)


def test_momenta_of_an_unknown_weight_are_explained(saved, header, network):
    forge(saved, tensors=lambda _: {"optimiser/none/exp_avg": torch.zeros(2)})
    optimiser = build_optimiser(network, header.settings)
    with pytest.raises(CheckpointError, match="none/exp_avg: expected none"):
        restore_optimiser(load_checkpoint(saved), optimiser, network)
