"""The scans of a folder or a manifest, held against the cases that networks were trained on."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from manifests.fingerprints.fingerprint import Fingerprint
from manifests.table.manifest import SUFFIX, manifest_file, read_manifest
from manifests.volumes.hounsfield import to_hounsfield
from manifests.volumes.readers.repairs import AS_USUAL, Repairs
from manifests.volumes.volume import read_volume
from train.learnt import Learnt
from train.prediction.scan import find_scans, reason_of, require_scan
from train.seen import KnownScans, read_fingerprint


@dataclass(frozen=True)
class SeenScan:
    """A scan that was looked at.

    Attributes:
        name: Its case id, or its path.
        seen: As which case a network was trained on it, in words; empty if on none.
        failure: Why it could not be looked at.
    """

    name: str
    seen: str = ""
    failure: str = ""


def look_for_seen(
    source: Path, learnt: Sequence[Learnt], *, repairs: Repairs = AS_USUAL
) -> Iterator[SeenScan]:
    """Look at each scan of a manifest, by the fingerprints in it, or of a folder, by reading them.

    Raises:
        ManifestError: The manifest cannot be read.
    """
    known = KnownScans.trained(learnt)
    if source.suffix == SUFFIX or manifest_file(source).is_file():
        table = read_manifest(source, ["case_id", "fingerprint"]).table
        for row in table.to_pylist():
            print_ = read_fingerprint(row["fingerprint"])
            failure = "" if print_ else "the manifest has no fingerprint of it; prepare it again"
            yield SeenScan(row["case_id"], known.shown_by(print_) if print_ else "", failure)
        return
    for scan, _ in find_scans(source, leave_out=source):
        try:
            require_scan(scan)
            volume = to_hounsfield(read_volume(scan, repairs), scan)
            yield SeenScan(str(scan), known.shown_by(Fingerprint.of(volume)))
        # one bad scan must not end the run for the others
        except Exception as error:
            yield SeenScan(str(scan), failure=reason_of(error))
