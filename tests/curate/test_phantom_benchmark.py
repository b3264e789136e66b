"""The phantom benchmark: what is forgotten is what the published labels never said."""

import numpy as np
import pytest
import SimpleITK as sitk

from curate.phantom_archives import write_phantom_archives
from curate.phantom_benchmark import (
    PAPER_TRAINING_CASES,
    Sizes,
    benchmark_sizes,
    forget_unpublished,
    make_benchmark,
    whole_recipe,
)
from curate.prepare import prepare
from curate.prepare_plan import Request
from curate.recipe import load_recipe
from curate.target import Target
from manifests.errors import ManifestError, SourceError
from manifests.label_space import load_label_space
from manifests.splits import SplitRequest, assign_splits

COARSE = {"in_plane_mm": 10.0, "slice_mm": 10.0}
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
    manifest = prepare(Request(chosen, folder / "raw", target), workers=1).manifest
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
    assert benchmark_sizes(0.9)["kits19"] == Sizes(train=151, validation=15, test=6)
    assert benchmark_sizes() == {
        "btcv": Sizes(4, 1),
        "msd_liver": Sizes(18, 2),
        "msd_spleen": Sizes(6, 1),
        "msd_pancreas": Sizes(38, 4),
        "kits19": Sizes(28, 3),
    }
    assert all(size.train == PAPER_TRAINING_CASES[n] for n, size in benchmark_sizes(1).items())


def test_the_same_command_finds_it_and_another_is_refused(tmp_path, monkeypatch):
    # what is drawn is tested above: here, few cases, and coarse
    few = {"btcv": Sizes(1, 1, 1), "msd_spleen": Sizes(1, 1, 1)}
    monkeypatch.setattr("curate.phantom_benchmark.benchmark_sizes", lambda _: few)
    monkeypatch.setattr(
        "curate.phantom_benchmark.write_phantom_archives",
        lambda *args, **kwargs: write_phantom_archives(*args, **kwargs, **COARSE),
    )
    target = Target(load_label_space("abdomen5"), SPACING_MM, tmp_path)
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


def test_more_cases_than_can_be_drawn_are_refused(tmp_path):
    target = Target(load_label_space("abdomen5"), SPACING_MM, tmp_path)
    with pytest.raises(SourceError, match="btcv: expected 1 to 30 cases, got 32"):
        make_benchmark(target, share=1.0)
