"""Fingerprints of many scans as one Parquet file, made once and matched with others' files."""

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from manifests.fingerprints.fingerprint import Fingerprint, is_newest
from manifests.ground.atomic import whole_file
from manifests.ground.content_hash import files_of
from manifests.ground.errors import MarginaliaError
from manifests.ground.workers import Executor, Job, Result, run_all
from manifests.table.arrays import arrow_table
from manifests.table.manifest import SUFFIX, manifest_file, open_parquet, read_manifest
from manifests.volumes.hounsfield import to_hounsfield
from manifests.volumes.orientation import orientation_code
from manifests.volumes.readers.repairs import AS_USUAL, Repairs
from manifests.volumes.volume import read_volume
from train.prediction.scan import find_scans, reason_of, require_scan
from train.provenance.archived_scans import is_archive, scans_of_archive
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


@dataclass(frozen=True)
class _Wanted:
    """A scan whose fingerprint is asked for, and by what it is told whether it changed."""

    name: str
    scan: Path
    state: str

    def stands_in(self, rows: Mapping[str, Row]) -> bool:
        return self.name in rows and rows[self.name]["state"] == self.state


def write_fingerprints(
    source: Path,
    out: Path,
    *,
    jobs: int = 1,
    repairs: Repairs = AS_USUAL,
    executor: Executor = run_all,
    notify: Callable[[int, int | None], None] = lambda *_: None,
) -> Fingerprinting:
    """Write the fingerprints of the scans of a folder or an archive, or of a manifest's cases.

    What stands in the file of an earlier call, of scans that did not change, is kept.

    Args:
        source: An archive is not unpacked: a few scans at a time lie beside `out`.
        out: File to write.
        jobs: Processes; one is this one, unless there is another executor.
        repairs: What may be done to a scan whose slices do not make up a grid.
        executor: Where they run.
        notify: Called with the number of scans that are done, and of all if it is known.

    Raises:
        MarginaliaError: `out` is not called `*.parquet`, or is no file of fingerprints, or an
            archive is damaged.
    """
    if out.suffix != SUFFIX:
        msg = f"a file of fingerprints is called *{SUFFIX}; got {out}"
        raise MarginaliaError(msg)
    packed = is_archive(source)
    if source.suffix == SUFFIX or (manifest_file(source).is_file() and not packed):
        rows = _of_manifest(source)
        _write(rows, out)
        return Fingerprinting(len(rows), 0, {})
    old = {row["name"]: row for row in read_fingerprints(out)} if out.exists() else {}
    old = {name: row for name, row in old.items() if is_newest(row["fingerprint"])}
    run = executor if executor is not run_all or jobs > 1 else _here
    attempt = partial(_attempt, repairs=repairs)
    made, total, failures = 0, None, dict[str, str]()
    with ExitStack() as stack:
        if packed:
            state = _state(source)
            rows = {name: row for name, row in old.items() if row["state"] == state}
            batches = scans_of_archive(source, out, rows, at_a_time=SAVED_EVERY)
            waiting = ([_Wanted(*s, state) for s in b] for b in stack.enter_context(batches))
        else:
            scans = [_Wanted(n, s, _state(s)) for s, n in find_scans(source, leave_out=out)]
            rows = {s.name: old[s.name] for s in scans if s.stands_in(old)}
            left = [s for s in scans if s.name not in rows]
            total, waiting = len(left), iter([left])
        for wanted in waiting:
            for number, (scan, outcome) in enumerate(run(attempt, wanted, workers=jobs), start=1):
                if isinstance(outcome, dict):
                    rows[scan.name] = outcome
                    made += 1
                else:
                    failures[scan.name] = (
                        outcome if isinstance(outcome, str) else reason_of(outcome)
                    )
                if number % SAVED_EVERY == 0:
                    _write(list(rows.values()), out)
                notify(made + len(failures), total)
            _write(list(rows.values()), out)
    return Fingerprinting(len(rows), made, failures)


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
    """Return the row of one scan but for its state, read just as `predict` reads it.

    Raises:
        MarginaliaError: It is no CT that can be read.
    """
    require_scan(scan)
    volume = to_hounsfield(read_volume(scan, repairs), scan)
    return {
        "name": name,
        "fingerprint": Fingerprint.of(volume).to_text(),
        "size": list(volume.grid.size_xyz),
        "spacing_mm": list(volume.grid.spacing_mm),
        "orientation": orientation_code(volume.grid),
        "origin_mm": list(volume.grid.origin_mm),
    }


def _here(
    function: Callable[[Job], Result], jobs: Iterable[Job], *, workers: int
) -> Generator[tuple[Job, Result | Exception]]:
    """Do jobs in this process."""
    del workers
    yield from ((job, function(job)) for job in jobs)


def _attempt(wanted: _Wanted, repairs: Repairs) -> Row | str:
    """Return the row of a scan, or why it has none: not every error can be sent to a process."""
    try:
        return fingerprint_scan(wanted.name, wanted.scan, repairs) | {"state": wanted.state}
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
    table = arrow_table(sorted(rows, key=lambda row: row["name"]), SCHEMA)
    with whole_file(out) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def _state(scan: Path) -> str:
    stats = [path.stat() for path in files_of(scan) if path.exists()]
    newest = max((s.st_mtime_ns for s in stats), default=0)
    return f"{len(stats)} {sum(s.st_size for s in stats)} {newest}"
