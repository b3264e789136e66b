"""Fingerprints of many scans as one Parquet file, made once and matched with others' files."""

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from manifests.fingerprints.fingerprint import Fingerprint, is_newest
from manifests.ground.atomic import whole_file
from manifests.ground.content_hash import files_of
from manifests.ground.errors import MarginaliaError
from manifests.table.manifest import SUFFIX, manifest_file, open_parquet, read_manifest
from manifests.volumes.hounsfield import to_hounsfield
from manifests.volumes.orientation import orientation_code
from manifests.volumes.readers.repairs import AS_USUAL, Repairs
from manifests.volumes.volume import read_volume
from train.prediction.scan import find_scans, reason_of, require_scan
from train.seen import read_fingerprint

Row = dict[str, Any]
SAVED_EVERY = 50  # scans; a run that is killed has to read so many again

_numbers, _counts = pa.list_(pa.float64()), pa.list_(pa.int64())
SCHEMA = pa.schema(
    [
        ("name", pa.string()),  # below the folder, or the case id
        ("fingerprint", pa.string()),
        ("size", _counts),  # of the file's axes, as the next two
        ("spacing_mm", _numbers),
        ("orientation", pa.string()),
        ("origin_mm", _numbers),  # LPS
        ("state", pa.string()),  # sizes and times of the files, to tell whether they changed
    ]
)


@dataclass(frozen=True)
class Fingerprinting:
    """What became of a folder's scans.

    Attributes:
        made: Number of fingerprints that were computed now; the others stood in the file.
        failures: Why scans have none, by name.
    """

    rows: int
    made: int
    failures: dict[str, str]


def write_fingerprints(
    source: Path,
    out: Path,
    *,
    jobs: int = 1,
    repairs: Repairs = AS_USUAL,
    notify: Callable[[int, int], None] = lambda *_: None,
) -> Fingerprinting:
    """Write the fingerprints of a folder's scans, or of a manifest's cases.

    What stands in the file of an earlier call, of scans that did not change, is kept.

    Raises:
        MarginaliaError: `out` is not called `*.parquet`, or is no file of fingerprints.
    """
    if out.suffix != SUFFIX:
        msg = f"a file of fingerprints is called *{SUFFIX}; got {out}"
        raise MarginaliaError(msg)
    if source.suffix == SUFFIX or manifest_file(source).is_file():
        rows = _of_manifest(source)
        _write(rows, out)
        return Fingerprinting(len(rows), 0, {})
    known = {row["name"]: row for row in read_fingerprints(out)} if out.exists() else {}
    scans = {name: scan for scan, name in find_scans(source, leave_out=out)}
    rows = {
        name: row
        for name, row in known.items()
        if name in scans and row["state"] == _state(scans[name]) and is_newest(row["fingerprint"])
    }
    waiting = {name: scan for name, scan in scans.items() if name not in rows}
    failures: dict[str, str] = {}
    for number, (name, outcome) in enumerate(_computed(waiting, jobs, repairs), start=1):
        if isinstance(outcome, str):
            failures[name] = outcome
        else:
            rows[name] = outcome
        if number % SAVED_EVERY == 0:
            _write(list(rows.values()), out)
        notify(number, len(waiting))
    _write(list(rows.values()), out)
    return Fingerprinting(len(rows), len(waiting) - len(failures), failures)


def read_fingerprints(path: Path) -> list[Row]:
    """Return the rows of a file of fingerprints, or of a manifest.

    Raises:
        MarginaliaError: It is neither, or a fingerprint cannot be read.
    """
    if path.is_dir():
        return _of_manifest(path)
    with open_parquet(path) as file:
        if "case_id" in file.schema_arrow.names:
            return _of_manifest(path)
        if missing := set(SCHEMA.names) - set(file.schema_arrow.names):
            msg = (
                f"{path} is no file of fingerprints: columns are missing: "
                f"{', '.join(sorted(missing))}; write one with `marginalia fingerprint`"
            )
            raise MarginaliaError(msg)
        rows = file.read(columns=SCHEMA.names).to_pylist()
    if bad := [row["name"] for row in rows if read_fingerprint(row["fingerprint"]) is None]:
        msg = f"{path}: the fingerprint of {bad[0]!r} and {len(bad) - 1} more cannot be read"
        raise MarginaliaError(msg)
    return rows


def fingerprint_scan(name: str, scan: Path, repairs: Repairs = AS_USUAL) -> Row:
    """Return the row of one scan, read just as `predict` reads it.

    Raises:
        MarginaliaError: It is no CT that can be read.
    """
    require_scan(scan)
    state = _state(scan)
    volume = to_hounsfield(read_volume(scan, repairs), scan)
    return {
        "name": name,
        "fingerprint": Fingerprint.of(volume).to_text(),
        "size": list(volume.grid.size_xyz),
        "spacing_mm": list(volume.grid.spacing_mm),
        "orientation": orientation_code(volume.grid),
        "origin_mm": list(volume.grid.origin_mm),
        "state": state,
    }


def _computed(
    scans: dict[str, Path], jobs: int, repairs: Repairs
) -> Iterator[tuple[str, Row | str]]:
    """Yield each scan with its row, or with why it has none."""
    if jobs == 1 or not scans:
        yield from ((name, _attempt(name, scan, repairs)) for name, scan in scans.items())
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(jobs, len(scans)), mp_context=context) as pool:
        names: dict[Future[Row | str], str] = {
            pool.submit(_attempt, name, scan, repairs): name for name, scan in scans.items()
        }
        for future in as_completed(names):
            error = future.exception()  # a process that died
            yield names[future], future.result() if error is None else reason_of(error)


def _attempt(name: str, scan: Path, repairs: Repairs) -> Row | str:
    """Return the row of a scan, or why it has none: not every error can be sent to a process."""
    try:
        return fingerprint_scan(name, scan, repairs)
    except Exception as error:
        return reason_of(error)


def _of_manifest(path: Path) -> list[Row]:
    columns = {
        "name": "case_id",
        "fingerprint": "fingerprint",
        "size": "source_size",
        "spacing_mm": "source_spacing_mm",
        "orientation": "source_orientation",
        "origin_mm": "source_origin_mm",
        "state": "source_image_sha256",
    }
    found = read_manifest(path, list(columns.values())).table.to_pylist()
    rows = ({name: row[column] for name, column in columns.items()} for row in found)
    return [row for row in rows if read_fingerprint(row["fingerprint"])]


def _write(rows: Sequence[Row], out: Path) -> None:
    table = pa.Table.from_pylist(sorted(rows, key=lambda row: row["name"]), schema=SCHEMA)
    with whole_file(out) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def _state(scan: Path) -> str:
    stats = [path.stat() for path in files_of(scan) if path.exists()]
    newest = max((s.st_mtime_ns for s in stats), default=0)
    return f"{len(stats)} {sum(s.st_size for s in stats)} {newest}"
