"""What may be done to a scan whose slices do not make up a grid with right angles."""

from collections.abc import Iterable
from dataclasses import dataclass

from manifests.ground.findings import Finding


@dataclass(frozen=True)
class Repairs:
    """What a user allows; what is not allowed sets a scan aside.

    Attributes:
        straighten_tilt: Resample a scan of a tilted gantry, whose slices are shifted evenly against
            each other, to right angles.
        resample_uneven: Resample a scan that was planned with two or more distances of slices to
            the finest of them.
    """

    straighten_tilt: bool = True
    resample_uneven: bool = False

    def allow(self, findings: Iterable[Finding]) -> bool:
        """Tell whether a case with these findings may be made."""
        refused = set[str]()
        if not self.straighten_tilt:
            refused.add(STRAIGHTENED)
        if not self.resample_uneven:
            refused.add(RESAMPLED)
        return not any(finding.code in refused for finding in findings)


STRAIGHTENED, RESAMPLED = "gantry_tilt_straightened", "slice_distances_resampled"
AS_USUAL = Repairs()
OF_LABELS = Repairs(resample_uneven=True)  # what is allowed is asked of the image


def is_resampled(findings: Iterable[Finding]) -> bool:
    """Tell from a scan's findings whether its slices were resampled to a grid."""
    return any(finding.code in (STRAIGHTENED, RESAMPLED) for finding in findings)
