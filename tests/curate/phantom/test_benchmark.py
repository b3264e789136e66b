"""The phantom benchmark: what is forgotten is what the published labels never said."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from curate.cases.target import Target
from curate.datasets.discover import SourceCase
from curate.phantom import benchmark
from curate.phantom.archives import write_phantom_archives
from curate.phantom.benchmark import (
    PAPER_TRAINING_CASES,
    SplitSizes,
    benchmark_sizes,
    forget_unpublished,
    make_benchmark,
    whole_recipe,
)
from curate.preparation.plan import PrepareRequest
from curate.preparation.prepare import prepare
from curate.preparation.rejected import Rejected
from curate.recipes.schema import load_recipe
from manifests.changes.split_request import SplitRequest
from manifests.changes.splits import assign_splits
from manifests.classes.label_space import load_label_space
from manifests.ground.errors import ManifestError, SourceError
from manifests.ground.findings import Finding
from manifests.table.manifest import FILE_NAME

COARSE = {"spacing_mm": (10.0, 10.0)}
SPACING_MM = (10.0, 10.0, 10.0)


def stored(manifest, case):
    return sitk.GetArrayFromImage(sitk.ReadImage(manifest.path(case.label)))


def made(folder, *, whole):
    """One case of each dataset, of the same patients, as published or whole."""
    counts = dict.fromkeys(PAPER_TRAINING_CASES, 1)
    write_phantom_archives(folder / "raw", cases=counts, whole=whole, **COARSE)
    recipes = [load_recipe(name) for name in counts]
    chosen = tuple(map(whole_recipe, recipes)) if whole else tuple(recipes)
    target = Target(load_label_space("abdomen5"), SPACING_MM, folder / "prepared")
    manifest = prepare(PrepareRequest(chosen, folder / "raw", target), workers=1).manifest
    return manifest, recipes


def test_forgetting_gives_the_cases_as_they_are_published(tmp_path):
    published, recipes = made(tmp_path / "published", whole=False)
    whole, _ = made(tmp_path / "whole", whole=True)
    for case in whole.cases():
        assert case.merged == tuple(range(len(whole.label_space)))
    every = SplitRequest(given={case.case_id: "train" for case in whole.cases()})
    forgotten = forget_unpublished(assign_splits(whole, every), recipes)
    for expected in published.cases():
        case = forgotten.case(expected.case_id)
        assert case.merged == expected.merged
        assert case.annotated == expected.annotated
        assert set(case.blocks) == set(expected.blocks)
        told = np.array(case.merged)[stored(forgotten, case)]
        np.testing.assert_array_equal(told, stored(published, expected))


def test_sizes_are_in_the_papers_proportion():
    assert benchmark_sizes(0.9)["kits19"] == SplitSizes(train=151, validation=15, test=6)
    assert benchmark_sizes() == {
        "btcv": SplitSizes(4, 1),
        "msd_liver": SplitSizes(18, 2),
        "msd_spleen": SplitSizes(6, 1),
        "msd_pancreas": SplitSizes(38, 4),
        "kits19": SplitSizes(28, 3),
    }
    assert all(size.train == PAPER_TRAINING_CASES[n] for n, size in benchmark_sizes(1).items())


@pytest.fixture
def target(tmp_path, monkeypatch):
    """Few cases, and coarse: what is drawn is tested above."""
    few = {"btcv": SplitSizes(1, 1, 1), "msd_spleen": SplitSizes(1, 1, 1)}
    monkeypatch.setattr(benchmark, "benchmark_sizes", lambda _: few)
    monkeypatch.setattr(
        benchmark,
        "write_phantom_archives",
        lambda *args, **kwargs: write_phantom_archives(*args, **kwargs, **COARSE),
    )
    return Target(load_label_space("abdomen5"), SPACING_MM, tmp_path)


def test_the_same_command_finds_it_and_another_is_refused(target):
    manifest = make_benchmark(target)
    annotated = {(c.dataset, c.split): len(c.annotated) for c in manifest.cases()}
    assert annotated == {
        **{("btcv", split): 5 for split in ("train", "validation", "test")},
        **{("msd_spleen", split): 1 for split in ("train", "validation")},
        ("msd_spleen", "test"): 5,
    }
    again = make_benchmark(target)
    assert again.table.equals(manifest.table)
    with pytest.raises(ManifestError, match="choose another folder"):
        make_benchmark(target, seed=1)


def test_one_that_was_interrupted_is_gone_on_with_and_never_taken_for_whole(target, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(benchmark, "assign_splits", interrupted)
        with pytest.raises(KeyboardInterrupt):
            make_benchmark(target)
    assert not (target.folder / FILE_NAME).exists()
    # another seed takes nothing of what was begun
    other = make_benchmark(target, seed=1)
    (target.folder / FILE_NAME).unlink()
    manifest = make_benchmark(target)
    hashes = [{c.voxels_sha256 for c in m.cases()} for m in (manifest, other)]
    assert len(hashes[0]) == 6
    assert not hashes[0] & hashes[1]
    assert all(manifest.path(c.image).is_file() for c in manifest.cases())


@pytest.mark.parametrize("what", ["problems", "rejected"])
def test_one_in_which_cases_are_missing_is_not_written(target, monkeypatch, what):
    missing = {
        "problems": ("the disk is full",),
        "rejected": (
            Rejected(
                SourceCase("btcv", "0007", Path("image"), Path("label")),
                Finding("forms_disagree", "no voxel is labelled"),
            ),
        ),
    }

    def incomplete(*args, **kwargs):
        return replace(prepare(*args, **kwargs), **{what: missing[what]})

    monkeypatch.setattr(benchmark, "prepare", incomplete)
    said = {"problems": "the disk is full", "rejected": "btcv/0007: no voxel is labelled"}[what]
    with pytest.raises(ManifestError, match=f"is not whole.*{said}"):
        make_benchmark(target)
    assert not (target.folder / FILE_NAME).exists()


def test_more_cases_than_can_be_drawn_are_refused(tmp_path):
    target = Target(load_label_space("abdomen5"), SPACING_MM, tmp_path)
    with pytest.raises(SourceError, match="btcv: expected 1 to 30 cases, got 32"):
        make_benchmark(target, share=1.0)
