"""Intensities: what is brought into Hounsfield units, what is only noted, what is set aside."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from manifests.ground.findings import SetAsideError
from manifests.volumes.grid import Grid
from manifests.volumes.hounsfield import to_hounsfield
from manifests.volumes.volume import Volume
from tests.curate.defects import SHAPE, body, ct

CROP = np.s_[4:-4, 6:14, 6:18]  # within the ellipse


def settle(voxels):
    voxels = np.array(voxels)
    settled = to_hounsfield(Volume(voxels, Grid(voxels.shape[::-1], (0.8, 0.8, 2.5))), "x.nii")
    return settled.voxels, sorted(f.code for f in settled.findings), settled.findings


def aside(voxels):
    with pytest.raises(SetAsideError, match=r"x\.nii: ") as error:
        settle(voxels)
    return error.value.finding


def soft(shape=(16, 20, 24), mean=60.0, spread=30.0, seed=0):
    """A crop within the body: no air, hardly any fat."""
    return np.rint(np.random.default_rng(seed).normal(mean, spread, shape)).astype(np.int16)


def whole(scale=2):
    """A larger CT with air, fat and soft tissue."""
    return ct().repeat(scale, 0).repeat(scale, 1).repeat(scale, 2)


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.float32, np.float64])
def test_a_ct_stays_as_it_is(dtype):
    hu, codes, _ = settle(whole().astype(dtype))
    assert codes == []
    assert np.array_equal(hu, whole())


def test_a_real_ct_stays_but_for_what_is_below_air(shared_data):
    from manifests.volumes.volume import read_volume

    for patient, expected in (("example_ct_dicom", []), ("example_ct", ["padding_clamped"])):
        path = shared_data / "totalsegmentator" / patient / "image.nii.gz"
        volume = read_volume(path)
        before = volume.voxels.copy()
        settled = to_hounsfield(volume, path)
        assert [f.code for f in settled.findings if not f.code.startswith("axes")] == expected
        assert np.array_equal(settled.voxels, np.maximum(before, -1024))


def test_the_real_ct_with_1024_added_is_found_out(shared_data):
    from manifests.volumes.volume import read_volume

    for patient in ("example_ct_dicom", "example_ct"):
        volume = read_volume(shared_data / "totalsegmentator" / patient / "image.nii.gz")
        true = np.maximum(volume.voxels, -1024)
        hu, codes, _ = settle((true + 1024).astype(np.uint16))
        assert codes == ["intensity_offset"]
        assert np.array_equal(hu, true)


# --- 1024 added -------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.uint16, np.int16, np.float32])
def test_1024_added_is_subtracted(dtype):
    hu, codes, findings = settle((whole() + 1024).astype(dtype))
    assert codes == ["intensity_offset"]
    assert np.array_equal(hu, whole())
    assert "%" in findings[0].reason


def test_1024_added_with_padding_below():
    """Some scanners store -2000 outside of the round field of view, -3024 HU."""
    stored = whole() + 1024
    stored[:, :3] = -2000
    hu, codes, _ = settle(stored)
    assert codes == ["intensity_offset", "padding_clamped"]
    assert (hu[:, :3] == -1024).all()
    assert np.array_equal(hu[:, 3:], whole()[:, 3:])


def test_1024_added_and_the_noise_of_air_below_zero():
    noise = np.random.default_rng(5).normal(0, 25, whole().shape)
    stored = np.rint(whole() + 1024 + noise).astype(np.int16)
    assert (stored < -10).mean() > 0.001
    assert settle(stored)[1] == ["intensity_offset", "padding_clamped"]


def test_1024_added_without_air_is_only_noted():
    hu, codes, _ = settle(soft() + 1024)
    assert codes == ["intensity_offset_suspected"]
    assert np.array_equal(hu, soft() + 1024)


def test_a_crop_of_soft_tissue_is_no_offset():
    assert settle(soft())[1] == []
    contrast = soft(mean=180, spread=20)  # nothing below 0
    hu, codes, _ = settle(contrast)
    assert codes == ["intensity_suspect"]
    assert np.array_equal(hu, contrast)


def test_lungs_and_bones_are_no_offset():
    rng = np.random.default_rng(3)
    lungs = rng.normal(-850, 60, (16, 20, 24))
    bones = rng.normal(1050, 60, (16, 20, 24))
    assert settle(np.rint(np.concatenate([lungs, bones])).clip(-1024).astype(np.int16))[1] == []


# --- no CT ------------------------------------------------------------------------------------


def grey(top):
    return np.rint(np.random.default_rng(0).uniform(0, top, (16, 20, 24)))


@pytest.mark.parametrize(
    ("voxels", "words"),
    [
        (grey(255).astype(np.uint8), "8-bit"),
        (grey(255).astype(np.float32), "8-bit"),
        (grey(255).astype(np.float32) / 255, "normalised"),
        (grey(255).astype(np.int16) - 128, "8-bit"),
        (np.full((16, 20, 24), 40, np.int16), "one value only"),
        ((whole().clip(-1000, 2000) + 1000) / 3000, "normalised"),  # ends before 1
        (whole().clip(-175, 250) / 212.5 - 37.5 / 212.5, "normalised"),  # from -1 to 1
        ((whole() - whole().mean()) / whole().std(), "normalised"),
        (np.where(whole() < -900, np.nan, whole() / 100.0), "normalised"),
        (np.where(whole() < -900, -1024, whole() / 100.0), "normalised"),  # padded
        (whole() - 2000, "below -1024"),
        (2047 - whole(), "denser than bone"),  # 12 bits turned round
        ((-1 - np.abs(whole())).astype(np.int16).view(np.uint16), "65536"),
    ],
)
def test_grey_levels_are_set_aside(voxels, words):
    finding = aside(voxels)
    assert finding.code == "not_hounsfield"
    assert words in finding.reason


def test_a_few_voxels_of_which_none_is_left_are_set_aside():
    assert aside(np.full((4, 5, 6), -2000, np.int16)).code == "not_hounsfield"


def test_an_mr_is_noted():
    rng = np.random.default_rng(2)
    mr = np.abs(rng.normal(0, 400, (16, 20, 24))).astype(np.int16)
    assert settle(mr)[1] == ["intensity_suspect"]


def test_a_window_that_was_cut_out_is_noted():
    hu, codes, findings = settle(whole().clip(-160, 240))
    assert codes == ["intensity_suspect"]
    assert "from -160 to" in findings[0].reason
    assert "cut off" in findings[0].reason
    assert np.array_equal(hu, whole().clip(-160, 240))


def test_a_handful_of_voxels_is_not_judged():
    assert settle(np.full((4, 5, 6), 40, np.int16))[1] == []


# --- NaN and infinities -----------------------------------------------------------------------


def floats():
    return ct(np.float32)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_around_the_body_becomes_air(value):
    spoilt = floats()
    spoilt[~body()] = value
    hu, codes, findings = settle(spoilt)
    assert codes == ["nonfinite_replaced"]
    assert (hu[~body()] == -1024).all()
    assert np.array_equal(hu[body()], floats()[body()])
    assert f"{np.count_nonzero(~body()):,} voxels" in findings[0].reason
    assert ("0 NaN" in findings[0].reason) == bool(np.isinf(value))


@pytest.mark.parametrize("layers", [np.s_[:2], np.s_[-3:], np.s_[:, :4], np.s_[:, :, -2:]])
def test_layers_at_an_end_are_a_border(layers):
    spoilt = floats()
    spoilt[layers] = np.nan
    assert settle(spoilt)[1] == ["nonfinite_replaced"]


@pytest.mark.parametrize("layers", [np.s_[5:7], np.s_[:, 9], np.s_[:, :, 10:12]])
def test_layers_through_the_body_set_the_case_aside(layers):
    spoilt = floats()
    spoilt[layers] = np.nan
    assert aside(spoilt).code == "intensity_invalid"


def test_few_within_the_body_become_air_and_many_do_not():
    few = np.pad(floats(), ((20, 20), (20, 20), (20, 20)), constant_values=-1000)
    few[26, 30, 30:34] = np.nan, np.inf, np.nan, -np.inf
    hu, codes, _ = settle(few)
    assert codes == ["nonfinite_replaced"]
    assert (hu[26, 30, 30:34] == -1024).all()
    many = floats()
    many[5:8, 8:11, 10:13] = np.nan
    finding = aside(many)
    assert finding.code == "intensity_invalid"
    assert "27 of them not around the body" in finding.reason


def test_a_body_that_was_lost_is_no_border():
    assert aside(np.where(body(), np.nan, floats())).code == "intensity_invalid"


def test_nothing_but_nan():
    assert aside(np.full(SHAPE, np.nan, np.float32)).code == "intensity_invalid"


# --- padding, wraps, overflows ----------------------------------------------------------------


@pytest.mark.parametrize("value", [-3024, -2048, -2000, -1025, -32768])
def test_padding_outside_the_field_of_view_becomes_air(value):
    padded = whole().astype(np.int16)
    padded[:, :3] = value
    hu, codes, findings = settle(padded)
    assert codes == ["padding_clamped"]
    assert (hu[:, :3] == -1024).all()
    assert np.array_equal(hu[:, 3:], whole()[:, 3:])
    assert str(value) in findings[0].reason


def test_negative_numbers_that_were_read_as_unsigned_are_found_out():
    hu, codes, _ = settle(whole().astype(np.int16).view(np.uint16))
    assert codes == ["intensity_wrapped"]
    assert np.array_equal(hu, whole())


def test_wrapped_numbers_need_a_gap():
    spoilt = whole().astype(np.int16).view(np.uint16)
    spoilt[0, 0, 0] = 50000
    assert "denser than bone" in aside(spoilt).reason


def test_what_16_bits_cannot_hold_is_clamped():
    huge = whole().astype(np.float32)
    huge[3, 8, 9] = 1e6
    hu, codes, _ = settle(huge)
    assert codes == ["intensity_clamped"]
    assert hu.max() == 32767


@given(arrays(np.float32, (4, 5, 6), elements=st.floats(width=32)))
def test_whatever_comes_out_is_finite_and_fits(voxels):
    try:
        hu, _, _ = settle(voxels)
    except SetAsideError:
        return
    assert np.isfinite(hu).all()
    assert -1024 <= hu.min() <= hu.max() <= 32767
