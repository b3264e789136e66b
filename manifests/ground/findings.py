"""Findings: what was noticed about a case, as a code that machines count and a reason to read."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from manifests.ground.errors import MarginaliaError

_TABLES = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
MEANINGS: Mapping[str, str] = MappingProxyType(_TABLES["kept"] | _TABLES["set_aside"])


@dataclass(frozen=True, order=True)
class Finding:
    """A code of `MEANINGS`, and what was seen in one case, with the numbers."""

    code: str
    reason: str

    def __post_init__(self) -> None:
        """Refuse a code that `findings.toml` lacks, so that no code goes undocumented."""
        if self.code not in MEANINGS:
            msg = f"unknown finding code {self.code!r}; add it to findings.toml"
            raise KeyError(msg)


class SetAsideError(MarginaliaError):
    """A file or a case cannot be used; carries the finding that says why."""

    def __init__(self, finding: Finding) -> None:
        """Say what was seen."""
        super().__init__(finding.reason)
        self.finding = finding
