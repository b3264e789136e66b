"""BIDS derivatives: the labels as `dseg` files, and who labelled what beside them.

BIDS has no CT yet, so the scans lie in `ct/` as its proposal for CT has them, and validators are
told to leave them out. Labels may not lie there; they lie in `anat/`.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from manifests.classes.label_space import IGNORED
from manifests.exports.document import as_text, write_document
from manifests.exports.selection import ExportedCase, Selection, label_names
from manifests.exports.volume_file import export_volume
from manifests.ground.errors import ExportError
from manifests.table.case import Case

VERSION = "1.9.0"
COLUMNS = {
    "dataset": "Where the scans come from",
    "split": "What the patient is for: train, validation or test",
    "licence": "Licence of the scans and labels",
}
# a pattern with a slash at its end leaves out the files of a folder, but not the folder itself, in
# the validator 3.0.2
IGNORED_FOLDER = "ct"
README = """The labels are in sub-*/anat, the scans in sub-*/ct, for which BIDS has no place yet.

A label's JSON file says which classes its annotator told apart: Merged[n] is the class that class n
is labelled as. dseg.tsv names the classes.
"""


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
        """Return where the folders of its files lie."""
        return Path(self.subject, self.session)

    @property
    def scan(self) -> Path:
        """Return where its scan lies."""
        return self.folder / IGNORED_FOLDER / f"{self.stem}_ct.nii.gz"


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
    write_document(folder / "README", README)
    write_document(folder / ".bidsignore", f"{IGNORED_FOLDER}\n")
    write_document(folder / "participants.tsv", _tsv(_participants(placed)))
    columns = {name: {"Description": text} for name, text in COLUMNS.items()}
    write_document(folder / "participants.json", as_text(columns))
    for case in placed:
        yield case.exported.case.case_id, _write_case(case, folder)


def _write_case(placed: BidsCase, folder: Path) -> str:
    case, scan = placed.exported.case, f"bids::{placed.scan.as_posix()}"
    facts = {
        "Description": "Classes, as the annotator told them apart",
        "SpatialReference": scan,
        "Sources": [scan],
        "Case": case.case_id,
        "Dataset": case.dataset,
        "Split": case.split,
        "Licence": case.licence,
        "Annotated": list(case.annotated),
        "Merged": list(case.merged),
    }
    labels = folder / placed.folder / "anat" / f"{placed.stem}_dseg.nii.gz"
    try:
        export_volume(placed.exported.image, folder / placed.scan)
        export_volume(placed.exported.label, labels)
        write_document(labels.with_name(f"{placed.stem}_dseg.json"), as_text(facts))
    except (ExportError, OSError) as error:
        return str(error)
    return ""


def _participants(placed: Sequence[BidsCase]) -> Iterator[tuple[str, ...]]:
    """Return a row for each patient, which BIDS allows one of; what differs is joined."""
    yield ("participant_id", *COLUMNS)
    cases: dict[str, list[Case]] = {}
    for p in placed:
        cases.setdefault(p.subject, []).append(p.exported.case)
    for subject, found in cases.items():
        values = (dict.fromkeys(getattr(case, name) for case in found) for name in COLUMNS)
        yield (subject, *(",".join(filter(None, texts)) or "n/a" for texts in values))


def _tsv(rows: Iterable[Sequence[object]]) -> str:
    return "".join("\t".join(str(v).replace("\t", " ") for v in row) + "\n" for row in rows)
