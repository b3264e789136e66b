"""Columns: a plan of what is read for it is the plan of the whole manifest."""

from dataclasses import fields

import pytest

from manifests.table.case import SCHEMA
from manifests.table.manifest import read_manifest
from train import learnt
from train.learnt import NOT_KEPT
from train.patches.mapped_case import open_case
from train.planning import columns
from train.planning.columns import COLUMNS, FINGERPRINT, read_cases
from train.planning.plan import plan_training
from train.planning.view import plan_facts, plan_tables


def test_a_plan_needs_no_other_columns(manifest_path, settings):
    some, whole = read_cases(manifest_path.parent), read_manifest(manifest_path)
    assert some.table.column_names == [*COLUMNS, FINGERPRINT]
    one, other = plan_training(some, settings), plan_training(whole, settings)
    for name in {"learnt", *(f.name for f in fields(one))} - {"training", "validation"}:
        assert getattr(one, name) == getattr(other, name), name
    assert one.manifest_sha256 == other.manifest_sha256
    assert plan_facts(one) == plan_facts(other)
    assert len(list(plan_tables(one))) == 2
    opened = [[open_case(m, c) for c in p.training] for m, p in ((some, one), (whole, other))]
    assert opened[0] == opened[1]


def test_what_was_not_read_is_not_made_up(manifest_path):
    case = next(read_cases(manifest_path).cases())
    for name in set(SCHEMA.names) - {*COLUMNS, FINGERPRINT, "ignored"}:
        if SCHEMA.field(name).nullable:
            continue
        with pytest.raises(AttributeError, match=name):
            getattr(case, name)


def test_fingerprints_that_fill_a_checkpoint_are_not_kept_and_that_is_told(
    manifest_path, settings, monkeypatch
):
    for module in (columns, learnt):
        monkeypatch.setattr(module, "MOST_OF_FINGERPRINTS", 0)
    cases = read_cases(manifest_path)
    assert FINGERPRINT not in cases.table.column_names
    plan = plan_training(cases, settings)
    assert plan.remarks == (NOT_KEPT,)
    assert len(plan.learnt.cases) == 7
    assert plan_training(read_manifest(manifest_path), settings).learnt == plan.learnt
