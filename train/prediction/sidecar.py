"""Sidecar: what was noticed about a scan, beside its label map."""

import json
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from manifests.ground.atomic import write_text
from manifests.ground.findings import Finding

SUFFIX = ".findings.json"


class _Noticed(BaseModel):
    model_config = ConfigDict(extra="ignore")

    findings: tuple[Finding, ...] = ()


def sidecar_of(output: Path) -> Path:
    """Return the path of the sidecar of a label map."""
    return output.with_name(f"{output.name.removesuffix('.nii.gz')}{SUFFIX}")


def write_sidecar(output: Path, scan: Path, note: str, findings: Sequence[Finding]) -> None:
    """Write what was noticed about the scan of a label map; `note` is the label map's own."""
    content = {
        "scan": scan.name,
        "label_map": output.name,
        "note": note,
        "findings": TypeAdapter(list[Finding]).dump_python(list(findings), mode="json"),
    }
    write_text(sidecar_of(output), json.dumps(content, indent=2) + "\n")


def read_sidecar(output: Path) -> tuple[Finding, ...]:
    """Return what was noticed when a label map was made; nothing if its sidecar cannot be read."""
    try:
        return _Noticed.model_validate_json(sidecar_of(output).read_bytes()).findings
    except (OSError, ValidationError, KeyError):  # a code that this version does not know
        return ()
