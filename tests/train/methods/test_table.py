"""Methods: the table holds what the setting allows, and each trains, is loaded and predicts."""

from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
import torch

from manifests.ground.errors import TrainingError
from manifests.table.manifest import Manifest, read_manifest
from train.checkpoints.checkpoint import checkpoint_path, load_checkpoint
from train.checkpoints.restoration import load_model
from train.methods.table import METHODS, new_network
from train.networks.network import NetworkSettings
from train.planning.footprint import footprint
from train.planning.plan import plan_training
from train.prediction.sliding_window import Predictor, predict_classes
from train.settings import MethodName
from train.training.log import read_log
from train.training.loop import train

NAMES = get_args(MethodName)
RIVALS = [name for name in NAMES if name not in ("marginal", "regular")]
each_method = pytest.mark.parametrize("method", NAMES)
each_rival = pytest.mark.parametrize("method", RIVALS)


def form(method):
    return NetworkSettings((16, 16, 24), (4.0, 4.0, 5.0), (4, 8, 8), method=method)


def test_the_table_holds_what_the_setting_allows():
    assert tuple(METHODS) == NAMES


@each_method
@pytest.mark.parametrize("size", [(16, 16, 24), (13, 18, 21)])
def test_a_network_answers_with_logits_of_every_class_for_any_size(method, size):
    network = new_network(form(method), 4).eval()
    assert network(torch.randn(2, 1, *size)).shape == (2, 4, *size)


@each_method
def test_all_that_a_network_keeps_are_parameters(method):
    network = new_network(form(method), 4)
    assert not list(network.buffers())  # a checkpoint would leave them out


@each_method
def test_the_seed_decides_the_weights_and_no_other_generator(method):
    state = torch.random.get_rng_state()
    one, two, other = (new_network(form(method), 4, seed=s).state_dict() for s in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)


@each_method
def test_an_image_is_answered_for_whatever_else_is_in_its_batch(method):
    network = new_network(form(method), 4).eval()
    images = torch.randn(2, 1, 16, 16, 24)
    with torch.no_grad():
        both, one = network(images), network(images[:1])
    torch.testing.assert_close(both[:1], one, rtol=1e-4, atol=1e-4)


@each_rival
def test_a_step_is_traced_without_memory(method):
    needs = footprint(form(method), 4, batch_size=2, optimiser="sgd", half=False)
    parameters = sum(p.numel() for p in new_network(form(method), 4).parameters())
    assert needs.parameters == parameters
    assert needs.flops > 0


@pytest.fixture(scope="module")
def runs(manifest_path, settings, tmp_path_factory):
    """A short run of a method, trained once."""
    done = {}

    def run_of(method):
        if method not in done:
            chosen = settings.model_copy(update={"method": method, "stage_epochs": (1, 1)})
            done[method] = tmp_path_factory.mktemp(method) / "run"
            train(read_manifest(manifest_path), done[method], chosen)
        return done[method]

    return run_of


@each_rival
def test_a_trained_network_is_loaded_and_predicts_every_class(method, runs, label_space):
    run = runs(method)
    model = load_model(run)
    assert model.label_space == label_space
    hu = np.random.default_rng(0).normal(100, 100, (20, 24, 28)).astype(np.float32)
    classes = predict_classes(Predictor(model, "cpu"), hu)
    assert classes.shape == hu.shape
    assert classes.max() < 3
    logits = model.network(torch.zeros(1, 1, 16, 16, 16))
    assert logits.shape == (1, 3, 16, 16, 16)
    assert logits.isfinite().all()


@each_rival
def test_a_run_logs_the_terms_of_its_method_and_validates(method, runs):
    run = runs(method)
    log = read_log(run)
    header = load_checkpoint(checkpoint_path(run, "last")).header
    assert header.settings.method == method
    assert log["validation_dice"].notna().tolist() == [False, True]
    own = {
        "leaf_dice": {"leaf_dice"},
        "pann": {"cross_entropy", "prior"},
        "pipo_fan": {"marginal_cross_entropy"},
        "pipo_fan_3d": {"marginal_cross_entropy"},
    }
    terms = own.get(method, {"binary_cross_entropy", "binary_dice"})
    logged = {c for c in log.columns if c.endswith(("entropy", "dice", "prior"))}
    assert logged - {"validation_dice"} == terms


@each_rival
def test_every_weight_learns(method, runs, manifest, settings):
    plan = plan_training(manifest, settings.model_copy(update={"method": method}))
    before = new_network(plan.network, 3, seed=settings.seed)
    after = load_checkpoint(checkpoint_path(runs(method), "last")).tensors
    still = [n for n, p in before.named_parameters() if torch.equal(p, after[f"network/{n}"])]
    assert not still


@pytest.mark.parametrize("method", ["conditional", "dodnet", "masked_sigmoid"])
def test_methods_of_single_classes_refuse_a_case_that_tells_none_apart(method, manifest, settings):
    cases = [
        replace(c, merged=(0, 1, 1)) if c.dataset == "liver_only" else c for c in manifest.cases()
    ]
    other = Manifest.of(cases, manifest.label_space, folder=manifest.folder)
    chosen = settings.model_copy(update={"method": method})
    with pytest.raises(
        TrainingError, match=r"3 training cases distinguish no class.* liver_only/3"
    ):
        plan_training(other, chosen)
    lone = chosen.model_copy(update={"datasets": ("liver_only",), "stage_epochs": (0, 1)})
    with pytest.raises(TrainingError, match=r"no training case distinguishes the classes \[2\]"):
        plan_training(manifest, lone)
    plan_training(manifest, chosen)


@each_rival
def test_rivals_learn_at_full_resolution_alone(method):
    with_levels = new_network(replace(form(method), deep_supervision=True), 3)
    names = [name for name, _ in with_levels.named_parameters()]
    assert names == [name for name, _ in new_network(form(method), 3).named_parameters()]
