"""Starts of a training: with another run's weights, of the same classes or of others."""

import json
import math
from dataclasses import replace

import pytest
import torch

from manifests.classes.label_space import LabelClass, LabelSpace
from manifests.ground.errors import TrainingError
from manifests.table.manifest import Manifest, read_manifest
from tests.train.conftest import write_case
from train.checkpoints.restoration import load_model, load_run
from train.checkpoints.transfer import transfer_weights
from train.methods.table import METHODS, new_network
from train.networks.network import NetworkSettings
from train.training.events import Started
from train.training.loop import train
from train.training.start import Start


@pytest.fixture(scope="module")
def base(tmp_path_factory, manifest_path, settings):
    """A run of the classes liver and spleen."""
    run = tmp_path_factory.mktemp("runs") / "base"
    train(read_manifest(manifest_path), run, settings)
    return run


def space_of(*names):
    classes = tuple(LabelClass(name=n, structures=(n,), colour="#aa0000") for n in names)
    return LabelSpace(name="other", classes=classes)


@pytest.mark.parametrize("method", METHODS)
def test_classes_are_taken_by_name_whatever_the_method(base, settings, method):
    space = space_of("spleen", "stomach", "liver")  # other order, one more
    architecture = NetworkSettings.of(
        settings.model_copy(update={"method": method, "patch_size_zyx": (32, 32, 32)}),
        (4.0, 4.0, 4.0),
    )
    one, other = (new_network(architecture, n, seed=n) for n in (3, 4))
    header = load_run(base).header
    checkpoint = load_run(base)
    weights = {f"network/{n}": p.detach() for n, p in one.named_parameters()}
    checkpoint = type(checkpoint)(base, header, weights, "")
    new = {n: p.detach().clone() for n, p in other.named_parameters()}
    taken = transfer_weights(checkpoint, other, architecture, space)
    assert taken.known == ("background", "spleen", "liver")
    assert (taken.new, taken.gone) == (("stomach",), ())
    pairs = {0: 0, 1: 2, 2: 0, 3: 1}  # our class ids to theirs; the stomach was background
    for name, parameter in other.named_parameters():
        old = weights[f"network/{name}"]
        if name in taken.whole:
            assert parameter.equal(old)
        elif name in taken.by_class:
            axis = next(a for a in range(old.ndim) if old.shape[a] != parameter.shape[a])
            first = 4 - parameter.shape[axis]
            for ours, theirs in pairs.items():
                if min(ours, theirs) >= first:
                    row = parameter.select(axis, ours - first)
                    share = math.log(2) if theirs == 0 and parameter.ndim == 1 else 0.0
                    torch.testing.assert_close(row, old.select(axis, theirs - first) - share)
        else:
            assert parameter.equal(new[name])
    assert len(taken.whole) > len(taken.left)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("names", [("spleen", "liver"), ("liver", "spleen", "stomach")])
def test_other_classes_are_refused_where_a_class_is_told_as_a_number(base, settings, method, names):
    chosen = settings.model_copy(update={"method": method, "patch_size_zyx": (32, 32, 32)})
    architecture = NetworkSettings.of(chosen, (4.0, 4.0, 4.0))
    checkpoint, network = load_run(base), new_network(architecture, 1 + len(names))
    network_of_three = new_network(architecture, 3)
    weights = {f"network/{n}": p.detach() for n, p in network_of_three.named_parameters()}
    header = checkpoint.header.model_copy(update={"settings": chosen})
    checkpoint = type(checkpoint)(base, header, weights, "")
    if method in ("conditional", "dodnet"):
        with pytest.raises(TrainingError, match=f"as a number.*got {names[0]}"):
            transfer_weights(checkpoint, network, architecture, space_of(*names))
        same = space_of("liver", "spleen")
        assert not transfer_weights(checkpoint, network_of_three, architecture, same).left
    else:
        assert transfer_weights(checkpoint, network, architecture, space_of(*names)).whole


def test_a_new_class_disturbs_no_other(base, settings):
    space, checkpoint = space_of("liver", "stomach", "spleen"), load_run(base)
    architecture = NetworkSettings.of(settings, (4.0, 4.0, 4.0))
    network = new_network(architecture, 4, seed=9)
    transfer_weights(checkpoint, network, architecture, space)
    images = torch.randn(1, 1, 16, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        before = load_model(base).network(images).softmax(1)
        after = network.eval()(images).softmax(1)
    torch.testing.assert_close(after[:, [1, 3]], before[:, [1, 2]])
    torch.testing.assert_close(after[:, 0] + after[:, 2], before[:, 0])


def test_a_run_of_the_same_classes_goes_on_as_the_other_ended(base, manifest, settings, tmp_path):
    events = []
    never = settings.model_copy(update={"learning_rate": 1e-30, "weight_decay": 0.0})
    start = Start(init=base, manifest=manifest.folder / "manifest.parquet")
    train(manifest, tmp_path / "run", never, start=start, on_event=events.append)
    best, ours = load_model(base), load_model(tmp_path / "run")
    assert ours.normalisation == best.normalisation
    for one, other in zip(best.network.parameters(), ours.network.parameters(), strict=True):
        torch.testing.assert_close(one, other)
    begun = next(e for e in events if isinstance(e, Started))
    assert "classes taken: background, liver, spleen" in begun.taken.lines()[0]
    assert json.loads((tmp_path / "run" / "init.json").read_text())["known"] == [
        "background",
        "liver",
        "spleen",
    ]
    # the same call again, and without --init, resume it; the weights of another run do not
    assert train(manifest, tmp_path / "run", never, start=start).epochs_before == 4
    assert train(manifest, tmp_path / "run", never).epochs_before == 4
    with pytest.raises(TrainingError, match="--init: the run began with the weights of another"):
        train(manifest, tmp_path / "run", never, start=Start(init=tmp_path / "run"))
    with pytest.raises(TrainingError, match="--init: the run began with new weights"):
        train(manifest, base, settings, start=Start(init=tmp_path / "run"))


def test_an_organ_is_added_from_data_that_label_only_that_organ(base, settings, tmp_path):
    space = space_of("liver", "stomach", "spleen")
    cases = [
        write_case(tmp_path, f"stomach_only/{n}", merged=(0, 0, 2), split="train", seed=n)
        for n in range(2)
    ]
    cases = [replace(c, merged=(0, 0, 2, 0), annotated=("stomach",)) for c in cases]
    manifest = Manifest.of(cases, space, folder=tmp_path)
    settings = settings.model_copy(update={"stage_epochs": (0, 1)})
    with pytest.raises(TrainingError):
        train(manifest, tmp_path / "run", settings, start=Start(init=tmp_path / "nothing"))
    train(manifest, tmp_path / "run", settings, start=Start(init=base))
    assert load_model(tmp_path / "run").label_space.names[1:] == ("liver", "stomach", "spleen")


def test_weights_of_another_spacing_are_refused(base, settings, tmp_path, label_space):
    case = write_case(tmp_path, "both/0", merged=(0, 1, 2), split="train", seed=0)
    other = replace(case, spacing_mm=(2.0, 2.0, 2.0))
    manifest = Manifest.of([other], label_space, folder=tmp_path)
    with pytest.raises(TrainingError, match="with --spacing 4,4,4"):
        train(manifest, tmp_path / "run", settings, start=Start(init=base))


def test_a_finished_run_is_extended_by_more_epochs(manifest, settings, tmp_path):
    run = tmp_path / "run"
    short = settings.model_copy(update={"stage_epochs": (1, 1)})
    train(manifest, run, short)
    assert train(manifest, run, short).epochs_before == 2
    longer = settings.model_copy(update={"stage_epochs": (1, 2)})
    result = train(manifest, run, longer)
    assert (result.epochs_before, result.epochs) == (2, 3)
    assert load_run(run, "last").header.settings.stage_epochs == (1, 2)
    for stages in ((1, 1), (2, 2)):  # shorter; or more of a stage that is over
        with pytest.raises(TrainingError, match="stage_epochs: was"):
            train(manifest, run, settings.model_copy(update={"stage_epochs": stages}))
