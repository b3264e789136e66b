"""A scan held against the cases that a network was trained on."""

import SimpleITK as sitk

from manifests.fingerprints.fingerprint import Fingerprint
from manifests.ground.findings import Finding
from manifests.volumes.volume import Volume
from train.seen import KnownScans


def note_seen(image: sitk.Image, known: KnownScans) -> tuple[Finding, ...]:
    """Return a finding if a network was trained on a scan in Hounsfield units, or on a part."""
    if not known.ids:
        return ()
    words = known.shown_by(Fingerprint.of(Volume.of(image)))
    return (Finding("seen_in_training", words),) if words else ()
