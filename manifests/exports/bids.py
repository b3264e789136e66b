"""BIDS derivatives: the labels as `dseg` files, and who labelled what beside them.

BIDS has no CT yet, so the scans lie in `ct/` as its proposal for CT has them.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from manifests.classes.label_space import IGNORED
from manifests.exports.document import as_text, write_document
from manifests.exports.selection import ExportedCase, Selection, label_names
from manifests.exports.volume_file import export_volume
from manifests.ground.errors import ExportError

VERSION = "1.9.0"
COLUMNS = ("participant_id", "session_id", "case_id", "dataset", "split", "licence", "annotated")


@dataclass(frozen=True)
class BidsCase:
    """One case, and its place in a BIDS dataset: `sub-...`, and `ses-...` if there are several."""

    exported: ExportedCase
    subject: str
    session: str

    @property
    def stem(self) -> str:
        """Return what its files' names begin with."""
        return "_".join(filter(None, (self.subject, self.session)))

    @property
    def folder(self) -> Path:
        """Return where its files lie."""
        return Path(self.subject, self.session, "ct")


def place_cases(cases: Sequence[ExportedCase]) -> list[BidsCase]:
    """Give each case its subject and session, which are letters and digits alone.

    Raises:
        ExportError: Two patients would be called the same.
    """
    patients: dict[str, str] = {}
    scans = Counter(c.case.subject_id for c in cases)
    seen: Counter[str] = Counter()
    placed: list[BidsCase] = []
    for exported in cases:
        patient = exported.case.subject_id
        subject = f"sub-{re.sub('[^a-zA-Z0-9]', '', patient)}"
        if patients.setdefault(subject, patient) != patient:
            msg = (
                f"the patients {patient!r} and {patients[subject]!r} would both be called "
                f"{subject}; export one of them, with --where"
            )
            raise ExportError(msg)
        seen[patient] += 1
        session = f"ses-{seen[patient]}" if scans[patient] > 1 else ""
        placed.append(BidsCase(exported, subject, session))
    return placed


def write_bids(selection: Selection, folder: Path) -> Iterator[tuple[str, str]]:
    """Write a dataset; yield each case's id and why it could not be written, or an empty text.

    Raises:
        ExportError: Two patients would be called the same, or a document exists with another
            content.
    """
    placed = place_cases(selection.cases)
    space = selection.manifest.label_space
    colours = {0: "#000000", IGNORED: "#808080"}
    colours |= {n: c.colour for n, c in enumerate(space.classes, start=1)}
    rows = ((value, name, colours[value]) for value, name in label_names(selection).items())
    table = [("index", "name", "color"), *rows]
    write_document(folder / "dseg.tsv", _tsv(table))
    description = {
        "Name": f"Cases harmonised by marginalia, {space.name}",
        "BIDSVersion": VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": "marginalia", "Version": selection.manifest.software_version}],
    }
    write_document(folder / "dataset_description.json", as_text(description))
    write_document(folder / "participants.tsv", _tsv([COLUMNS, *map(_participant, placed)]))
    for case in placed:
        yield case.exported.case.case_id, _write_case(case, folder)


def _write_case(placed: BidsCase, folder: Path) -> str:
    stem, case = folder / placed.folder / placed.stem, placed.exported.case
    facts = {
        "Annotated": list(case.annotated),
        "Merged": list(case.merged),
        "Sources": [f"bids::{placed.folder.as_posix()}/{placed.stem}_ct.nii.gz"],
    }
    try:
        export_volume(placed.exported.image, stem.with_name(f"{placed.stem}_ct.nii.gz"))
        export_volume(placed.exported.label, stem.with_name(f"{placed.stem}_dseg.nii.gz"))
        write_document(stem.with_name(f"{placed.stem}_dseg.json"), as_text(facts))
    except (ExportError, OSError) as error:
        return str(error)
    return ""


def _participant(placed: BidsCase) -> tuple[str, ...]:
    case = placed.exported.case
    session, split = placed.session or "n/a", case.split or "n/a"
    annotated = ",".join(case.annotated) or "n/a"
    return (
        *(placed.subject, session, case.case_id, case.dataset, split, case.licence or "n/a"),
        annotated,
    )


def _tsv(rows: Sequence[Sequence[object]]) -> str:
    return "".join("\t".join(str(v).replace("\t", " ") for v in row) + "\n" for row in rows)
