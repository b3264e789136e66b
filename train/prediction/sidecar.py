"""Sidecar: what was noticed about a scan, beside its label map."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from manifests.ground.atomic import write_text
from manifests.ground.findings import Finding
from train.learnt import Learnt

SUFFIX = ".findings.json"


class _Noticed(BaseModel):
    model_config = ConfigDict(extra="ignore")

    findings: tuple[Finding, ...] = ()


def sidecar_of(output: Path) -> Path:
    """Return the path of the sidecar of a label map."""
    return output.with_name(f"{output.name.removesuffix('.nii.gz')}{SUFFIX}")


def write_sidecar(
    output: Path, scan: Path, note: str, findings: Sequence[Finding], learnt: Iterable[Learnt] = ()
) -> None:
    """Write what was noticed about the scan of a label map, and which licences bind the network.

    Args:
        output: The label map.
        scan: What it was made of.
        note: The label map's own.
        findings: Of the scan.
        learnt: What the networks learnt from.
    """
    licences: dict[str, list[str]] = {}
    for each in learnt:
        for licence, datasets in each.licences().items():
            licences[licence] = sorted({*licences.get(licence, []), *datasets})
    content = {
        "scan": scan.name,
        "label_map": output.name,
        "note": note,
        "findings": TypeAdapter(list[Finding]).dump_python(list(findings), mode="json"),
        "licences_of_training_data": licences,
    }
    write_text(sidecar_of(output), json.dumps(content, indent=2) + "\n")


def read_sidecar(output: Path) -> tuple[Finding, ...]:
    """Return what was noticed when a label map was made; nothing if its sidecar cannot be read."""
    try:
        return _Noticed.model_validate_json(sidecar_of(output).read_bytes()).findings
    except (OSError, ValidationError, KeyError):  # a code that this version does not know
        return ()
