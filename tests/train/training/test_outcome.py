"""Outcome of a training: what was not learnt is said, and nothing where all is well."""

import pandas as pd
import pytest

from train.planning.plan import plan_training
from train.training.outcome import outcome_remarks
from train.training.resume import new_header


def remarks_of(manifest, settings, rows, added=0):
    plan = plan_training(manifest, settings)
    header = new_header(plan, None).model_copy(update={"added_epochs": added})
    log = pd.DataFrame([{"epoch": n, **row} for n, row in enumerate(rows, start=1)])
    return outcome_remarks(plan, header, log)


@pytest.mark.parametrize(
    ("liver", "spleen", "words"),
    [
        ([0.4, 0.8], [0.2, 0.7], None),
        ([0.4, 0.8], [0.0, 0.0], "not learnt: spleen"),
        ([0.0, 0.004], [0.0, 0.0], "not learnt: liver, spleen"),
        ([0.4, 0.0], [0.2, 0.7], "forgotten: liver"),
        ([0.4, 0.8], [None, None], "no validation case has spleen"),
    ],
)
def test_classes_that_were_not_learnt_are_named(manifest, settings, liver, spleen, words):
    rows = [
        {"dice/both/liver": a, "dice/liver_only/liver": a, "dice/both/spleen": b}
        for a, b in zip(liver, spleen, strict=True)
    ]
    rows.insert(1, {"loss": 0.5})  # an epoch without a validation
    said = remarks_of(manifest, settings, rows)
    assert [s[: len(words)] for s in said] == [words] if words else not said


def test_a_prolonged_first_stage_is_said(manifest, settings):
    settings = settings.model_copy(update={"stage_epochs": (4, 3), "first_stage_dice": 0.1})
    (some,) = remarks_of(manifest, settings, [{}], added=2)
    assert some.startswith("the first stage took 6 epochs where 4 were planned")
    (most,) = remarks_of(manifest, settings, [{}], added=4)
    assert "--set stage_epochs=8,3" in most


def test_a_run_without_validation_has_no_remark(manifest, settings):
    assert remarks_of(manifest, settings, [{}]) == ()
