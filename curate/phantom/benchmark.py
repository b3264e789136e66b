"""The phantom benchmark: five partly labelled datasets whose test cases carry the full truth.

SplitSizes are in the proportion of the paper's five training sets. Every case is drawn and labelled
whole; what a dataset does not publish is then forgotten in the manifest, for training and
validation alone. So a network learns from what it would have had, and every organ of every dataset
can be scored.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from math import floor
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from curate.cases.target import Target
from curate.phantom.archives import write_phantom_archives
from curate.phantom.patient import STRUCTURES
from curate.preparation.plan import PrepareRequest
from curate.preparation.prepare import Report, prepare
from curate.preparation.tally import Notify
from curate.recipes.schema import Recipe, load_recipe
from manifests.changes.edits import edit
from manifests.changes.split_request import SplitRequest
from manifests.changes.splits import assign_splits
from manifests.classes.merged import Block
from manifests.ground.errors import ManifestError
from manifests.table.manifest import FILE_NAME, Manifest, read_manifest, write_manifest

VERSION = 2  # another one whenever the same seed gives other cases, splits or annotations
SETTINGS = "phantom_benchmark"
SIDES = ("left_", "right_")

# Shi et al. 2021, section 4.1.
PAPER_TRAINING_CASES = MappingProxyType(
    {"btcv": 24, "msd_liver": 105, "msd_spleen": 33, "msd_pancreas": 225, "kits19": 168}
)
DEFAULT_SHARE = 1 / 6
TEST_CASES = 6  # of each dataset, as the paper has of F
VALIDATION_SHARE = 0.1  # beside the training cases


class SplitSizes(NamedTuple):
    """How many cases of one dataset are in each split; those of the test have the full truth."""

    train: int
    validation: int
    test: int = TEST_CASES


def benchmark_sizes(share: float = DEFAULT_SHARE) -> dict[str, SplitSizes]:
    """Return the sizes of the five datasets, with that share of the paper's training cases."""
    training = {name: _round(share * n) for name, n in PAPER_TRAINING_CASES.items()}
    return {name: SplitSizes(n, _round(VALIDATION_SHARE * n)) for name, n in training.items()}


def make_benchmark(
    target: Target,
    *,
    seed: int = 0,
    share: float = DEFAULT_SHARE,
    workers: int = 1,
    notify: Notify = lambda *_: None,
) -> Manifest:
    """Draw, prepare, split and annotate the benchmark, unless it is there.

    The whole cases have a folder and a manifest of their own: the folder's manifest is the
    benchmark's from the first, and the same call goes on with one that was interrupted.

    Args:
        target: Label space, spacing and folder; the archives go to `raw` beneath it, the cases to
            a folder that is called by what is asked for.
        seed: Of the patients, the scans and the split.
        share: Of the paper's training cases.
        workers: Number of processes.
        notify: Told how far it is.

    Raises:
        MarginaliaError: The folder holds other cases, the share asks for more than can be drawn,
            or a case could not be made.
    """
    sizes = benchmark_sizes(share)
    wanted = {
        "version": VERSION,
        "seed": seed,
        "sizes": {name: list(size) for name, size in sizes.items()},
        "label_space": target.label_space.name,
        "spacing_mm": list(target.spacing_mm),
    }
    path = target.folder / FILE_NAME
    if path.exists():
        return _read_existing(path, wanted)
    raw = target.folder / "raw"
    counts = {name: sum(size) for name, size in sizes.items()}
    write_phantom_archives(raw, seed=seed, cases=counts, whole=True, notify=notify)
    recipes = tuple(whole_recipe(load_recipe(name)) for name in sizes)
    apart = replace(target, folder=target.folder / _whole_folder(wanted))
    report = prepare(PrepareRequest(recipes, raw, apart), workers=workers, notify=notify)
    _require_all(report)
    manifest = assign_splits(report.manifest, _split(sizes, seed))
    published = forget_unpublished(manifest, map(load_recipe, sizes))
    published = published.with_table(published.table, **{SETTINGS: wanted})
    write_manifest(published, path)
    return read_manifest(path)


def whole_recipe(recipe: Recipe) -> Recipe:
    """Return the recipe of a dataset that labels every structure, each by a value of its own."""
    values = {value: (name,) for value, name in enumerate(STRUCTURES, start=1)}
    return recipe.model_copy(update={"values": values, "split_kidneys": False, "unlabelled": ()})


def forget_unpublished(manifest: Manifest, recipes: Iterable[Recipe]) -> Manifest:
    """Keep only published labels in the training and validation cases."""
    for recipe in recipes:
        covered = frozenset[str]().union(*recipe.blocks)
        manifest = edit(
            manifest,
            drop=sorted(set(STRUCTURES) - covered),
            merge=[sorted(block) for block in _blocks_by_side(recipe) if len(block) > 1],
            where=f"dataset = '{recipe.name}' and split <> 'test'",
        )
    return manifest


def _blocks_by_side(recipe: Recipe) -> list[Block]:
    """Return the blocks that the dataset's labels tell apart, once its kidneys are split."""
    if not recipe.split_kidneys:
        return list(recipe.blocks)
    sides = [
        frozenset(s for s in block if s.startswith(side))
        for block in recipe.blocks
        for side in SIDES
    ]
    rest = [frozenset(s for s in b if not s.startswith(SIDES)) for b in recipe.blocks]
    return [*sides, *rest]


def _split(sizes: Mapping[str, SplitSizes], seed: int) -> SplitRequest:
    return SplitRequest(
        test_by_dataset={name: size.test for name, size in sizes.items()},
        validation_by_dataset={name: size.validation for name, size in sizes.items()},
        seed=seed,
    )


def _whole_folder(wanted: Mapping[str, object]) -> str:
    """Return a name that only equal benchmarks share, so that no case of another is used."""
    text = json.dumps(wanted, sort_keys=True)
    return f"whole-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def _require_all(report: Report) -> None:
    """Refuse to freeze a benchmark in which cases are missing."""
    rejected = [f"{r.case.dataset}/{r.case.name}: {r.finding.reason}" for r in report.rejected]
    if missing := [*report.problems, *rejected]:
        msg = (
            f"the phantom benchmark is not whole, and was not written: {'; '.join(missing)}; run "
            f"the same command again once it is mended"
        )
        raise ManifestError(msg)


def _read_existing(path: Path, wanted: Mapping[str, object]) -> Manifest:
    manifest = read_manifest(path)
    found = manifest.settings.get(SETTINGS)
    if found != wanted:
        msg = (
            f"{path} is another manifest: expected the phantom benchmark {dict(wanted)}, got "
            f"{found or 'no phantom benchmark'}; choose another folder"
        )
        raise ManifestError(msg)
    return manifest


def _round(number: float) -> int:
    return max(1, floor(number + 0.5))
