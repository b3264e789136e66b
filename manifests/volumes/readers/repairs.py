"""What may be done to a scan whose slices do not make up a grid with right angles."""

from dataclasses import dataclass


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

    def forbid(self, code: str) -> bool:
        """Tell whether a case with this finding would not be made now."""
        tilt, uneven = not self.straighten_tilt, not self.resample_uneven
        return (code == STRAIGHTENED and tilt) or (code == RESAMPLED and uneven)


STRAIGHTENED, RESAMPLED = "gantry_tilt_straightened", "slice_distances_resampled"
AS_USUAL = Repairs()
