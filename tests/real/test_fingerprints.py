"""Copies and parts of two real CTs are found, and the two are kept apart."""

from itertools import product

import numpy as np
import pytest
import SimpleITK as sitk

from manifests.fingerprints.fingerprint import Fingerprint
from manifests.fingerprints.matching import LEAST_VOTES, find_matches
from manifests.volumes.grid import Grid
from manifests.volumes.volume import Volume

PATIENTS = ("example_ct", "example_ct_dicom")


@pytest.fixture(scope="module")
def scans(shared_data):
    folder = shared_data / "totalsegmentator"
    names = (*PATIENTS, "example_ct_sm")
    return {n: sitk.ReadImage(str(folder / n / "image.nii.gz"), sitk.sitkInt16) for n in names}


@pytest.fixture(scope="module")
def prints(scans):
    return {name: Fingerprint.of(Volume.of(scan)) for name, scan in scans.items()}


def headless(hu):
    return Volume(hu, Grid(hu.shape[::-1], (1.0, 1.0, 1.0)))


def match_of(first, second):
    found = find_matches([first, second])
    return found[0] if found else None


def test_the_slab_is_found_in_its_scan_with_its_place(prints):
    match = match_of(prints["example_ct"], prints["example_ct_sm"])
    assert match.votes >= 20
    assert match.shift == (-82, 0, 0)
    assert match.common == pytest.approx((30 / 112, 1.0))
    assert not match.whole


def test_two_patients_do_not_match(prints):
    assert match_of(*(prints[p] for p in PATIENTS)) is None
    assert match_of(prints["example_ct_sm"], prints["example_ct_dicom"]) is None


@pytest.mark.parametrize(("patient", "flips"), [*product(PATIENTS, product((0, 1), repeat=3))])
def test_every_flip_with_a_lost_header_an_offset_and_noise(scans, prints, patient, flips):
    hu = np.flip(sitk.GetArrayFromImage(scans[patient]), np.flatnonzero(flips).tolist())
    noise = np.random.default_rng(0).normal(0, 10, hu.shape)
    copy = Fingerprint.of(headless((hu + 1024 + noise).clip(24, 2024)))
    match = match_of(prints[patient], copy)
    assert match.votes >= 5 * LEAST_VOTES
    assert [min(row) < 0 for row in match.turn] == [bool(f) for f in flips]
    other = PATIENTS[1 - PATIENTS.index(patient)]
    assert match_of(prints[other], copy) is None


@pytest.mark.parametrize("start", range(0, 96, 16))
def test_sixteen_slices_anywhere(scans, prints, start):
    part = sitk.GetArrayFromImage(scans["example_ct"])[start : start + 16]
    match = match_of(prints["example_ct"], Fingerprint.of(headless(part)))
    assert match.votes >= LEAST_VOTES


def test_a_resampled_copy(scans, prints):
    scan = scans["example_ct"]
    place = ((1.5, 1.5, 2.0), scan.GetDirection(), -1024)
    size = (240, 200, 165)
    copy = sitk.Resample(scan, size, sitk.Transform(), sitk.sitkLinear, scan.GetOrigin(), *place)
    match = match_of(prints["example_ct"], Fingerprint.of(Volume.of(copy)))
    assert match.by == "space"
    assert match.votes >= 2 * LEAST_VOTES
