"""Sampler: balance, and foreground in each batch."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from manifests.ground.errors import TrainingError
from train.boxes import patch_box
from train.patches.sampler import Candidate, plan_epoch
from train.settings import resolve

SHAPE = (20, 24, 28)
FULL, LIVER_ONLY = (0, 1, 2), (0, 1, 0)


def candidate(case_id, merged, **foreground):
    held = {int(n[1:]): np.array(flat) for n, flat in foreground.items()}
    return Candidate(case_id, case_id.split("/")[0], merged, SHAPE, held)


CANDIDATES = [
    candidate("both/0", FULL, n1=[0, 5000, 13439], n2=[77]),
    candidate("both/1", FULL, n1=[10, 11], n2=[12]),
    candidate("liver_only/0", LIVER_ONLY, n1=[9]),
    candidate("liver_only/1", LIVER_ONLY, n1=[8]),
    candidate("liver_only/2", LIVER_ONLY, n1=[7]),
]
# two livers are annotated and absent, as after a liver's removal
SOME_EMPTY = [
    replace(c, foreground={}) if c.case_id in ("liver_only/0", "liver_only/1") else c
    for c in CANDIDATES
]


def draw(candidates, seed=0, **options):
    chosen = {"patches_per_dataset": 12, "batch_size": 2, "foreground_probability": 0.0}
    settings = resolve("tiny", ["patch_size_zyx=16,16,16"]).model_copy(update=chosen | options)
    return plan_epoch(candidates, settings, np.random.default_rng(seed))


def patches_of(plan):
    return [patch for batch in plan for patch in batch]


@given(
    seed=st.integers(0, 10_000),
    patches_per_dataset=st.integers(1, 20),
    batch_size=st.integers(1, 5),
    foreground_probability=st.floats(0, 1),
)
@effort(max_examples=40, deadline=None)
@pytest.mark.parametrize("candidates", [CANDIDATES, SOME_EMPTY])
@pytest.mark.parametrize("balance", ["dataset", "class"])
def test_every_batch_has_foreground_and_a_dataset_its_share(candidates, balance, seed, **options):
    plan = draw(candidates, seed, balance=balance, **options)
    n, size = options["patches_per_dataset"], options["batch_size"]
    counts = Counter(p.case_id.split("/")[0] for p in patches_of(plan))
    assert counts.total() == 2 * n
    if balance == "dataset":
        assert counts == {"both": n, "liver_only": n}
    assert [len(b) for b in plan[:-1]] == [size] * (len(plan) - 1)
    assert all(any(p.representative for p in batch) for batch in plan)


def test_a_foreground_patch_is_centred_on_its_class():
    held = {c.case_id: c for c in CANDIDATES}
    for patch in patches_of(draw(CANDIDATES, foreground_probability=1.0)):
        flat = np.ravel_multi_index(patch.centre_zyx, SHAPE)
        assert flat in held[patch.case_id].foreground[patch.representative]


def test_every_class_is_drawn_alike_within_a_case():
    plan = draw(CANDIDATES[:2], patches_per_dataset=1000, foreground_probability=1.0)
    counts = Counter(p.representative for p in patches_of(plan))
    assert counts[1] == pytest.approx(500, abs=80)


def test_every_annotated_class_is_drawn_alike_when_the_classes_are_balanced():
    plan = draw(CANDIDATES, balance="class", patches_per_dataset=1000, foreground_probability=1.0)
    counts = Counter(p.representative for p in patches_of(plan))
    # by dataset, the spleen would be a quarter: only half of the patches annotate it
    assert counts[2] == pytest.approx(1000, abs=100)
    spleens = Counter(p.case_id for p in patches_of(plan) if p.representative == 2)
    assert spleens["both/0"] == pytest.approx(500, abs=80)
    livers = Counter(p.case_id for p in patches_of(plan) if p.representative == 1)
    assert min(livers[c.case_id] for c in CANDIDATES) == pytest.approx(200, abs=50)


def test_no_patch_is_drawn_for_a_class_from_a_case_that_merges_it_with_another():
    organs = candidate("organs/0", (0, 1, 1, 3), n1=[5, 6], n3=[9])  # told apart by it: 3 alone
    liver = candidate("liver/0", (0, 1, 0, 0), n1=[7])
    spleen = candidate("spleen/0", (0, 0, 2, 0), n2=[8])
    chosen = {"balance": "class", "patches_per_dataset": 600, "foreground_probability": 1.0}
    plan = draw([organs, liver, spleen], **chosen)
    drawn = Counter((p.case_id, p.representative) for p in patches_of(plan))
    assert set(drawn) == {("organs/0", 3), ("liver/0", 1), ("spleen/0", 2)}
    assert min(drawn.values()) == pytest.approx(600, abs=90)


def test_patches_without_a_wish_for_foreground_go_anywhere():
    plan = draw(CANDIDATES, patches_per_dataset=300)
    starts = np.array([p.centre_zyx for p in patches_of(plan) if p.representative is None]) - 8
    assert len(starts) > 100
    for axis, room in enumerate((4, 8, 12)):
        positions, counts = np.unique(starts[:, axis], return_counts=True)
        assert positions.tolist() == list(range(room + 1))
        assert counts.max() < 3 * counts.mean()


@given(
    seed=st.integers(0, 1000),
    shape=st.tuples(*(st.integers(1, 40) for _ in range(3))),
    size=st.tuples(*(st.integers(1, 40) for _ in range(3))),
)
@effort(max_examples=60, deadline=None)
def test_a_patch_is_centred_on_a_voxel_of_the_volume(seed, shape, size):
    small = [replace(CANDIDATES[0], shape_zyx=shape, foreground={1: np.array([0])})]
    drawn = patches_of(draw(small, seed, patch_size_zyx=size))
    for patch in (p for p in drawn if p.representative is None):
        start = patch_box(patch.centre_zyx, size, shape).start_zyx
        for centre, n, first, limit in zip(patch.centre_zyx, size, start, shape, strict=True):
            assert centre == (limit // 2 if n >= limit else first + n // 2)


@pytest.mark.parametrize("balance", ["dataset", "class"])
def test_the_same_generator_plans_the_same_epoch(balance):
    assert draw(CANDIDATES, 5, balance=balance) == draw(CANDIDATES, 5, balance=balance)
    assert draw(CANDIDATES, 5, balance=balance) != draw(CANDIDATES, 6, balance=balance)


def test_each_patch_has_a_seed_of_its_own():
    seeds = [p.seed for p in patches_of(draw(CANDIDATES))]
    assert len(set(seeds)) == len(seeds)


def test_a_dataset_without_a_labelled_voxel_is_refused():
    empty = [replace(c, foreground={}) if c.dataset == "liver_only" else c for c in CANDIDATES]
    with pytest.raises(TrainingError, match="'liver_only': none of its 3 training cases"):
        draw(empty)
