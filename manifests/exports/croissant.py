"""Croissant: a JSON-LD description of a manifest's cases, one record for each."""

import hashlib
import json
from pathlib import Path
from typing import Any

from manifests.exports.document import as_text, write_document
from manifests.exports.selection import Selection
from manifests.table.dataset_facts import facts_of
from manifests.table.manifest import manifest_file

RECORDS = "cases"
# name: type, what it is
FIELDS = {
    "case_id": ("sc:Text", "unique: dataset/name"),
    "dataset": ("sc:Text", "the source dataset"),
    "subject_id": ("sc:Text", "the patient"),
    "split": ("sc:Text", "train, validation, test, or empty"),
    "annotated": ("sc:Text", "classes told apart from every other class, separated by commas"),
    "merged": ("sc:Text", "representative of each class id, as a JSON list"),
    "licence": ("sc:Text", "SPDX name, or words, of the dataset's licence"),
    "image": ("sc:Text", "path of the volume in HU, relative to the manifest"),
    "label": ("sc:Text", "path of the volume of class ids, relative to the manifest"),
    "image_sha256": ("sc:Text", "hash of the image file"),
    "label_sha256": ("sc:Text", "hash of the label file"),
}
CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}


def write_croissant(selection: Selection, manifest: Path, path: Path) -> None:
    """Write the description of selected cases.

    Args:
        selection: The cases.
        manifest: The manifest's file, which is the one file that is described as such.
        path: The new JSON-LD file.

    Raises:
        ExportError: There is another file.
    """
    write_document(path, as_text(describe(selection, manifest_file(manifest))))


def describe(selection: Selection, manifest: Path) -> dict[str, Any]:
    """Return the JSON-LD document."""
    facts = facts_of(selection.manifest.settings)
    datasets = sorted({c.case.dataset for c in selection.cases})
    citations = [facts[name].citation for name in datasets if name in facts]
    licences = sorted({c.case.licence for c in selection.cases})
    with manifest.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": f"marginalia_{selection.manifest.label_space.name}",
        "description": f"CT cases harmonised by marginalia, from {', '.join(datasets)}. Each is "
        "labelled with what its own annotators drew; the field merged says which classes they did "
        "not tell apart.",
        "license": licences if len(licences) > 1 else licences[0],
        "citeAs": " ; ".join(citations) or ", ".join(datasets),
        "version": "1.0.0",
        "distribution": [
            {
                "@type": "cr:FileObject",
                "@id": manifest.name,
                "name": manifest.name,
                "contentUrl": manifest.name,
                "encodingFormat": "application/x-parquet",
                "sha256": sha256,
            }
        ],
        "recordSet": [_records(selection)],
    }


def _records(selection: Selection) -> dict[str, Any]:
    return {
        "@type": "cr:RecordSet",
        "@id": RECORDS,
        "name": RECORDS,
        "key": {"@id": f"{RECORDS}/case_id"},
        "field": [
            {
                "@type": "cr:Field",
                "@id": f"{RECORDS}/{name}",
                "name": name,
                "description": words,
                "dataType": kind,
            }
            for name, (kind, words) in FIELDS.items()
        ],
        "data": [
            {f"{RECORDS}/{name}": _text(getattr(c.case, name)) for name in FIELDS}
            for c in selection.cases
        ],
    }


def _text(value: object) -> str:
    if isinstance(value, tuple):
        numbers = all(isinstance(item, int) for item in value)  # pyright: ignore[reportUnknownVariableType]
        return json.dumps(value) if numbers else ", ".join(map(str, value))  # pyright: ignore[reportUnknownArgumentType]
    return "" if value is None else str(value)
