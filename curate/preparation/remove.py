"""Removal of datasets from a prepared folder, because the user says so."""

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

from curate.cases.precedence import Precedence
from curate.preparation.output_folder import exclusive, staging_folder
from curate.preparation.plan import PrepareRequest
from curate.preparation.prepare import Report, written
from curate.preparation.tally import Tally
from manifests.ground.errors import ManifestError, MarginaliaError
from manifests.ground.near_names import did_you_mean
from manifests.table.manifest import FILE_NAME, read_manifest


def remove_datasets(request: PrepareRequest, names: Collection[str]) -> Report:
    """Take datasets out of the manifest, and then delete their cases.

    What was unpacked of them is deleted, too; `--raw` is left as it is. Other cases and their
    splits do not change. Killed on the way, the same call again finishes.

    Raises:
        InUseError: Another run is writing to the folder.
        MarginaliaError: The folder has no such dataset, or no other one.
    """
    folder = request.target.folder
    with exclusive(folder), staging_folder(folder) as staging:
        prepared = _check(folder, names)
        if prepared.get("fuse_duplicates") and not request.fuse_duplicates:
            classes = request.target.label_space.names
            precedence = Precedence.from_words(prepared.get("precedence", ()), classes)
            request = replace(request, fuse_duplicates=True, precedence=precedence)
        request = replace(request, recipes=(), removed=frozenset(names))
        report = written((), Tally(0), request)
        staging.mkdir(parents=True)
        for kind in ("cases", "unpacked"):
            for name in names:
                if (place := folder / kind / name).exists():
                    place.rename(staging / f"{kind}-{name}")  # deleted as a whole when it ends
    return report


def _check(folder: Path, names: Collection[str]) -> dict[str, Any]:
    """Refuse names that cannot be removed; return with which settings the cases were prepared."""
    known: set[str] = {p.name for p in (folder / "cases").glob("*")}
    prepared: dict[str, Any] = {}
    try:
        manifest = read_manifest(folder / FILE_NAME)
    except ManifestError:
        pass  # it is written again
    else:
        known |= {*manifest.datasets()}
        prepared = manifest.settings.get("prepare", {})
    for name in sorted({*names} - known):
        msg = (
            f"--remove {name}: {folder} has no such dataset{did_you_mean(name, known)}: it has "
            f"{', '.join(sorted(known)) or 'none'}; nothing was changed"
        )
        raise MarginaliaError(msg)
    if known <= {*names}:
        msg = f"--remove: {folder} has no other dataset: delete the folder, if it is to go"
        raise MarginaliaError(msg)
    return prepared
