"""First stages that trainings share: the same result as alone, and refused where it is not."""

import pytest
import torch

from manifests.ground.errors import CheckpointError, TrainingError
from manifests.table.manifest import read_manifest
from tests.train.training.test_loop import assert_same_run
from train.checkpoints.checkpoint import checkpoint_path, load_checkpoint
from train.losses.options import TERMS
from train.planning.plan import plan_training
from train.training import loop
from train.training.events import StepDone
from train.training.first_stage import find_first_stage
from train.training.log import read_log
from train.training.loop import train
from train.training.resume import new_header
from train.training.start import Start
from train.training.validation import Validation

STEPS = 2 * 1, 1 * 2  # of both stages


@pytest.fixture(scope="module")
def chosen(settings):
    """Two epochs of the first stage, and one of the second."""
    short = {"stage_epochs": (2, 1), "validation_every": 2, "patches_per_dataset": 2}
    return settings.model_copy(update=short)


@pytest.fixture(scope="module")
def source(manifest_path, chosen, tmp_path_factory):
    run = tmp_path_factory.mktemp("source") / "run"
    train(read_manifest(manifest_path), run, chosen)
    return run


OTHERS = (
    {"method": "regular"},
    {
        "marginal_weight": 0.0,  # full labels have their regular losses all the same
        "exclusion_weight": 2.0,
        "epsilon": 0.1,
        "exclusion_ramp": 0.5,
        "terms": TERMS[:3],
    },
)


@pytest.mark.parametrize("other", OTHERS, ids=lambda other: next(iter(other)))
def test_a_training_from_a_shared_first_stage_is_the_training_alone_bit_by_bit(
    source, manifest, chosen, tmp_path, other
):
    differs = chosen.model_copy(update=other)
    steps = []

    def on_event(event):
        if isinstance(event, StepDone):
            steps.append(event.epoch)

    plan = plan_training(manifest, differs)
    found = find_first_stage([tmp_path / "none", source], new_header(plan, None), plan)
    assert found == source
    shared, alone = tmp_path / "shared", tmp_path / "alone"
    train(manifest, shared, differs, start=Start(first_stage_of=found), on_event=on_event)
    assert steps == [3] * STEPS[1]
    train(manifest, alone, differs)
    assert_same_run(shared, alone)
    assert not checkpoint_path(shared, "first_stage").exists()


def test_the_best_weights_may_be_of_an_earlier_epoch(manifest, chosen, tmp_path, monkeypatch):
    scores = iter([0.9, 0.2, 0.3, 0.3])
    monkeypatch.setattr(
        loop, "validate", lambda *_, **__: Validation({("both", "liver"): next(scores)}, {})
    )
    averaged = chosen.model_copy(update={"ema_decay": 0.5, "validation_every": 1})
    train(manifest, tmp_path / "one", averaged)
    train(manifest, tmp_path / "two", averaged, start=Start(first_stage_of=tmp_path / "one"))
    one, two = (load_checkpoint(checkpoint_path(tmp_path / r, "best")) for r in ("one", "two"))
    assert one.header.best_score == two.header.best_score == 0.9
    assert all(torch.equal(one.tensors[n], two.tensors[n]) for n in one.tensors if n != "learnt")


def test_fully_labelled_cases_alone_and_the_union_can_share_it(manifest, chosen, tmp_path):
    """They are validated on other cases, and the union takes the scale of the images."""
    alone = chosen.model_copy(update={"datasets": ("both",), "stage_epochs": (2, 2)})
    train(manifest, tmp_path / "alone", alone)
    plan = plan_training(manifest, chosen)
    assert find_first_stage([tmp_path / "alone"], new_header(plan, None), plan) is None
    result = train(
        manifest, tmp_path / "union", chosen, start=Start(first_stage_of=tmp_path / "alone")
    )
    assert (result.epochs_before, result.epochs) == (2, 3)
    one, two = (load_checkpoint(checkpoint_path(tmp_path / r, "last")) for r in ("alone", "union"))
    assert one.header.normalisation == two.header.normalisation
    assert one.header.step == two.header.step == sum(STEPS)
    assert two.header.losses[:2] == one.header.losses[:2]
    assert read_log(tmp_path / "union")["step"].tolist() == [1, 2, 4]
    assert load_checkpoint(checkpoint_path(tmp_path / "union", "best")).header.epochs == 3
    datasets = {c.dataset for c in one.learnt.cases}, {c.dataset for c in two.learnt.cases}
    assert datasets == ({"both"}, {"both", "liver_only"})


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"seed": 1}, "seed: was 0, is 1"),
        ({"stage_epochs": (1, 1)}, "stage_epochs: was 2, is 1"),
        ({"stage_epochs": (2, 2)}, "batches of both stages: was 4, is 6"),
        ({"marginal_weight": 2.0}, "marginal_weight: was 1.0, is 2.0"),
        ({"terms": TERMS[:1]}, "terms: was"),
        ({"method": "leaf_dice"}, "leaf_dice shares no first stage"),
        ({"filters": (4, 8, 16)}, "filters: was"),
    ],
    ids=str,
)
def test_another_first_stage_is_refused(source, manifest, chosen, tmp_path, other, words):
    differs = chosen.model_copy(update=other)
    with pytest.raises((TrainingError, CheckpointError), match=words):
        train(manifest, tmp_path, differs, start=Start(first_stage_of=source))
    plan = plan_training(manifest, differs)
    assert find_first_stage([source], new_header(plan, None), plan) is None


def test_without_both_stages_there_is_none_to_take(manifest, chosen, tmp_path):
    only = chosen.model_copy(update={"stage_epochs": (0, 1)})
    train(manifest, tmp_path / "one", only)
    with pytest.raises(CheckpointError, match="end of a first stage"):
        train(manifest, tmp_path / "two", chosen, start=Start(first_stage_of=tmp_path / "one"))


def test_a_damaged_one_is_passed_over(source, manifest, chosen, tmp_path):
    path = checkpoint_path(tmp_path, "first_stage")
    path.parent.mkdir(parents=True)
    path.write_bytes(b"no checkpoint")
    plan = plan_training(manifest, chosen)
    assert find_first_stage([tmp_path, source], new_header(plan, None), plan) == source
