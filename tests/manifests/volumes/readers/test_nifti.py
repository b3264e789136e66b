"""NIfTI files byte by byte: what is believed of a header, and what is refused before it is read."""

import gzip
import struct
import tracemalloc
from itertools import product

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from manifests.ground.findings import SetAsideError
from manifests.volumes.volume import read_volume
from tests.curate.defects import AFFINE, SHAPE, SPACING_MM, ct, write_nifti


def codes(volume):
    return sorted(f.code for f in volume.findings)


def aside(path):
    with pytest.raises(SetAsideError) as error:
        read_volume(path)
    return error.value.finding


@pytest.fixture
def path(tmp_path):
    return tmp_path / "volume.nii.gz"


@pytest.mark.parametrize("name", ["v.nii", "v.nii.gz", "V.NII.GZ"])
@pytest.mark.parametrize("dtype", ["u1", "i1", "<i2", ">i2", "u2", "i4", "i8", "f4", "f8"])
def test_every_number_type_is_read_as_nibabel_and_itk_read_it(tmp_path, name, dtype):
    voxels = np.arange(np.prod(SHAPE)).reshape(SHAPE).astype(np.dtype(dtype).newbyteorder("="))
    header = nib.Nifti1Header(endianness=">" if dtype.startswith(">") else "<")
    nib.save(nib.Nifti1Image(voxels.T, AFFINE, header, dtype=voxels.dtype), tmp_path / "v.nii")
    content = (tmp_path / "v.nii").read_bytes()
    (tmp_path / name).write_bytes(gzip.compress(content) if ".gz" in name.lower() else content)
    volume = read_volume(tmp_path / name)
    assert np.array_equal(volume.voxels, voxels)
    assert volume.voxels.dtype.isnative
    itk = sitk.ReadImage(str(tmp_path / "v.nii"))
    assert np.array_equal(volume.voxels, sitk.GetArrayFromImage(itk))
    assert volume.grid.spacing_mm == pytest.approx(itk.GetSpacing())
    assert volume.grid.origin_mm == pytest.approx(itk.GetOrigin())
    assert volume.grid.direction_lps == pytest.approx(itk.GetDirection())
    assert volume.findings == ()


def test_nifti_2_and_pairs(tmp_path):
    nib.save(nib.Nifti2Image(ct().T, AFFINE), tmp_path / "two.nii.gz")
    nib.save(nib.Nifti1Pair(ct().T, AFFINE), tmp_path / "pair.img")
    for name in ("two.nii.gz", "pair.img", "pair.hdr"):
        volume = read_volume(tmp_path / name)
        assert np.array_equal(volume.voxels, ct())
        assert volume.grid.spacing_mm == pytest.approx(SPACING_MM)


def test_slope_and_intercept(path):
    stored = (ct() + 1024).astype(np.uint16)
    volume = read_volume(write_nifti(path, stored, scaling=(1.0, -1024.0)))
    assert np.array_equal(volume.voxels, ct())


def test_a_long_file_is_read_in_slabs(path, monkeypatch):
    monkeypatch.setattr(
        "manifests.volumes.readers.nifti.SLAB_BYTES", 5 * SHAPE[1] * SHAPE[2] * 2
    )  # 5 of 12
    assert np.array_equal(read_volume(write_nifti(path, ct())).voxels, ct())


def test_memory_is_one_volume_and_a_slab(path, monkeypatch):
    """A volume of float64 takes half of what it takes in the file: it becomes float32."""
    monkeypatch.setattr("manifests.volumes.readers.nifti.SLAB_BYTES", 1 << 18)
    voxels = np.zeros((64, 128, 128))
    write_nifti(path, voxels)
    tracemalloc.start()
    read_volume(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < voxels.nbytes * 0.75


# --- where the voxels lie ---------------------------------------------------------------------


def test_the_sform_is_believed_and_the_finding_tells_both(path):
    other = AFFINE.copy()
    other[:3, 3] = 7, 8, 9
    volume = read_volume(write_nifti(path, ct(), qform=other))
    assert codes(volume) == ["forms_disagree"]
    assert volume.grid.origin_mm == pytest.approx((-100, -90, 30))
    reason = volume.findings[0].reason
    assert "100;" in reason
    assert "7;" in reason
    assert "the sform was used" in reason
    assert sitk.ReadImage(str(path)).GetOrigin() == pytest.approx((-7, -8, 9))  # as ITK has it


def test_forms_that_differ_by_rounding_are_not_worth_a_word(path):
    other = AFFINE.copy()
    other[:3, 3] += 0.01
    assert codes(read_volume(write_nifti(path, ct(), qform=other))) == []


def test_a_unit_sform_is_a_lost_header(path):
    volume = read_volume(write_nifti(path, ct(), sform=np.eye(4), qform=AFFINE))
    assert codes(volume) == ["forms_disagree"]
    assert volume.grid.spacing_mm == pytest.approx(SPACING_MM)
    alone = write_nifti(
        path, ct(), sform=np.eye(4), qform=None, pixdim=[1, *SPACING_MM, 0, 0, 0, 0]
    )
    volume = read_volume(alone)
    assert "forms_disagree" in codes(volume)
    assert volume.grid.spacing_mm == pytest.approx(SPACING_MM)


def test_a_sform_alone_goes_before_pixdim(path):
    volume = read_volume(write_nifti(path, ct(), qform=None, pixdim=[1, 3, 3, 3, 0, 0, 0, 0]))
    assert codes(volume) == ["forms_disagree"]
    assert volume.grid.spacing_mm == pytest.approx(SPACING_MM)


def test_one_form_is_enough(path):
    for forms in ({"sform": None}, {"qform": None}):
        volume = read_volume(write_nifti(path, ct(), **forms))
        assert codes(volume) == []
        assert volume.grid.origin_mm == pytest.approx((-100, -90, 30))


@pytest.mark.parametrize("qfac", [0.0, 1.0, -1.0])
@pytest.mark.parametrize("axes", [(-1, -1, 1), (1, 1, 1), (-1, -1, -1)])
def test_a_qform_counts_whatever_its_qfac(tmp_path, qfac, axes):
    """In `pixdim[0]`, -1 mirrors the third axis; old writers leave a 0, which the standard reads
    as 1."""
    affine = np.diag([*np.multiply(axes, SPACING_MM), 1.0])
    affine[:3, 3] = 20, -30, -100
    path = write_nifti(tmp_path / "v.nii", ct(), sform=None, qform=affine)
    content = bytearray(path.read_bytes())
    content[76:80] = struct.pack("<f", qfac)
    path.write_bytes(content)
    volume, itk = read_volume(path), sitk.ReadImage(str(path))
    assert volume.grid.origin_mm == pytest.approx(itk.GetOrigin())
    assert volume.grid.direction_lps == pytest.approx(itk.GetDirection(), abs=1e-6)
    assert "orientation_unstated" not in codes(volume)


def test_a_damaged_sform_gives_way_to_the_qform(path):
    volume = read_volume(write_nifti(path, ct(), srow_x=[np.nan, 0, 0, 0]))
    assert codes(volume) == ["forms_disagree"]
    assert volume.grid.origin_mm == pytest.approx((-100, -90, 30))


def test_no_form_is_taken_as_dicom_and_itk_have_it(path):
    write_nifti(path, ct(), sform=None, qform=None)
    volume, itk = read_volume(path), sitk.ReadImage(str(path))
    assert codes(volume) == ["orientation_unstated"]
    assert volume.grid.spacing_mm == pytest.approx(SPACING_MM)
    assert volume.grid.direction_lps == itk.GetDirection() == (1, 0, 0, 0, 1, 0, 0, 0, 1)


def sheared(by):
    affine = AFFINE.copy()
    affine[0, 1] += by
    return affine


def test_axes_not_quite_at_right_angles_become_the_nearest_that_are(path):
    write_nifti(path, ct(), sform=sheared(0.01), qform=None)
    with pytest.raises(RuntimeError, match="orthonormal"):
        sitk.ReadImage(str(path))
    volume = read_volume(path)
    assert codes(volume) == ["axes_oblique", "axes_skewed"]
    axes = np.reshape(volume.grid.direction_lps, (3, 3))
    np.testing.assert_allclose(axes.T @ axes, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(axes, np.eye(3), atol=0.007)  # half of 0.01 / 0.8
    assert np.array_equal(volume.voxels, ct())


@pytest.mark.parametrize(("unit", "scale"), [(1, 1e-3), (2, 1.0), (3, 1e3), (0, 1.0)])
@pytest.mark.parametrize("forms", ["both", "none"])
def test_metres_and_micrometres_are_converted(path, unit, scale, forms):
    affine = np.diag([scale, scale, scale, 1]) @ AFFINE
    form = affine if forms == "both" else None
    spacing = np.array([1, *np.multiply(SPACING_MM, scale), 0, 0, 0, 0])
    write_nifti(path, ct(), sform=form, qform=form, xyzt_units=unit, pixdim=spacing)
    volume = read_volume(path)
    assert "units_suspect" not in codes(volume)
    assert volume.grid.spacing_mm == pytest.approx(SPACING_MM, rel=1e-5)
    if form is not None:
        assert volume.grid.origin_mm == pytest.approx((-100, -90, 30), rel=1e-5)


@pytest.mark.parametrize("unit", [1, 3])
def test_a_unit_that_cannot_be_is_taken_for_millimetres(path, unit):
    volume = read_volume(write_nifti(path, ct(), xyzt_units=unit))
    assert codes(volume) == ["units_suspect"]
    assert volume.grid.spacing_mm == pytest.approx(SPACING_MM)


NRRD = """NRRD0004
type: short
dimension: 3
space: left-posterior-superior
sizes: 24 20 12
space directions: (0.8,0,0) ({},0.8,0) (0,0,2.5)
kinds: domain domain domain
endian: little
encoding: raw
space origin: (-100,-90,30)

"""
META = """ObjectType = Image
NDims = 3
BinaryData = True
BinaryDataByteOrderMSB = False
CompressedData = False
TransformMatrix = 1 0 0 {} 1 0 0 0 1
Offset = -100 -90 30
ElementSpacing = 0.8 0.8 2.5
DimSize = 24 20 12
ElementType = MET_SHORT
ElementDataFile = LOCAL
"""


@pytest.mark.parametrize(("name", "header"), [("x.nrrd", NRRD), ("x.mha", META)])
def test_right_angles_are_one_rule_for_all_formats(tmp_path, name, header):
    def written(shear):
        head = header.format(shear * (0.8 if name == "x.nrrd" else 1))
        (tmp_path / name).write_bytes(head.encode() + ct().tobytes())
        return tmp_path / name

    assert codes(read_volume(written(0))) == []
    assert codes(read_volume(written(1e-5))) == []
    for shear in (0.0005, 0.0125):  # cosine
        volume = read_volume(written(shear))
        assert "axes_skewed" in codes(volume)
        axes = np.reshape(volume.grid.direction_lps, (3, 3))
        np.testing.assert_allclose(axes.T @ axes, np.eye(3), atol=1e-12)
        assert np.array_equal(volume.voxels, ct())
    finding = aside(written(0.1))
    assert finding.code == "geometry_invalid"
    assert "right angles" in finding.reason


def test_sheared_slices_are_set_aside(path):
    finding = aside(write_nifti(path, ct(), sform=sheared(0.3), qform=None))
    assert finding.code == "geometry_invalid"
    assert "right angles" in finding.reason


def turned(degrees):
    """Turn AFFINE about the long axis."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turn = np.eye(4)
    turn[:2, :2] = [[c, -s], [s, c]]
    return turn @ AFFINE


def test_oblique_axes_are_read_where_they_lie(path):
    affine = turned(20)
    volume = read_volume(write_nifti(path, ct(), sform=affine, qform=affine))
    assert codes(volume) == ["axes_oblique"]
    assert "20.0 degrees" in volume.findings[0].reason
    index = np.array([5, 6, 7])
    expected = (affine @ [*index, 1])[:3] * (-1, -1, 1)
    np.testing.assert_allclose(volume.grid.position_mm(index), expected, atol=1e-4)


def test_left_handed_axes_are_read_where_they_lie(path):
    affine = AFFINE @ np.diag([-1, 1, 1, 1])
    volume = read_volume(write_nifti(path, ct(), sform=affine, qform=affine))
    assert codes(volume) == ["axes_left_handed"]
    expected = (affine @ [5, 6, 7, 1])[:3] * (-1, -1, 1)
    np.testing.assert_allclose(volume.grid.position_mm((5, 6, 7)), expected, atol=1e-4)


@pytest.mark.parametrize(
    ("forms", "z_mm"),
    [
        *product(["none", "qform", "sform"], [0.0, np.nan, np.inf, 1000.0, 1e-6]),
        ("none", -2.5),  # of a form, a negative column is a direction
        ("qform", -2.5),
    ],
)
def test_spacing_that_makes_no_sense(path, z_mm, forms):
    affine = AFFINE.copy()
    affine[2, 2] = z_mm
    pixdim = {"pixdim": [1, 0.8, 0.8, z_mm, 0, 0, 0, 0]}
    if forms == "sform":
        path = write_nifti(path, ct(), sform=affine, qform=None, **pixdim)
    else:
        with_qform = {"qform": AFFINE if forms == "qform" else None}
        path = write_nifti(path, ct(), sform=None, **with_qform, **pixdim)
    assert aside(path).code == "geometry_invalid"


# --- sizes ------------------------------------------------------------------------------------


def dim(*sizes):
    return {"dim": [len(sizes), *sizes, *[1] * (7 - len(sizes))]}


def test_four_dimensions_with_one_volume(path):
    for sizes in ((24, 20, 12, 1), (24, 20, 12, 1, 1)):
        volume = read_volume(write_nifti(path, ct(), **dim(*sizes)))
        assert codes(volume) == ["single_volume_4d"]
        assert np.array_equal(volume.voxels, ct())


@pytest.mark.parametrize("sizes", [(24, 20, 6, 2), (24, 20, 4, 1, 3)])
def test_several_volumes(path, sizes):
    assert aside(write_nifti(path, ct(), **dim(*sizes))).code == "several_volumes"


def test_several_values_per_voxel(path):
    rgb = np.zeros(SHAPE, [("R", "u1"), ("G", "u1"), ("B", "u1")])
    for voxels in (rgb, np.zeros(SHAPE, np.complex64)):
        assert aside(write_nifti(path, voxels)).code == "several_volumes"


@pytest.mark.parametrize("sizes", [(24, 20), (24, 20, 0), (24, 20, -12), (0, 0, 0)])
def test_sizes_that_make_no_sense(path, sizes):
    assert aside(write_nifti(path, ct(), **dim(*sizes))).code == "geometry_invalid"


@pytest.mark.parametrize(
    ("sizes", "name", "code"),
    [
        ((32767, 32767, 1000), "v.nii.gz", "header_implausible"),  # two terabytes
        ((32767, 32767, 1000), "v.nii", "header_implausible"),
        ((512, 512, 1000), "v.nii.gz", "header_implausible"),  # 0.5 GB in 5 kB
        ((512, 512, 1000), "v.nii", "truncated"),
    ],
)
def test_a_header_that_claims_too_much_is_refused_before_memory_is_taken(
    tmp_path, sizes, name, code
):
    path = write_nifti(tmp_path / name, ct(), **dim(*sizes))
    tracemalloc.start()
    found = aside(path).code
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found == code
    assert peak < 4 << 20


def test_a_claim_in_an_nrrd_or_a_metaimage(tmp_path):
    head = "NRRD0004\ntype: short\ndimension: 3\nsizes: 30000 30000 1000\n"
    head += "endian: little\nencoding: gzip\n\n"
    (tmp_path / "v.nrrd").write_bytes(head.encode() + gzip.compress(bytes(1000)))
    meta = (
        "NDims = 3\nDimSize = 30000 30000 1000\nElementType = MET_SHORT\nElementDataFile = LOCAL\n"
    )
    (tmp_path / "v.mha").write_bytes(meta.encode() + bytes(1000))
    assert aside(tmp_path / "v.nrrd").code == "header_implausible"
    assert aside(tmp_path / "v.mha").code == "header_implausible"


@pytest.mark.parametrize("offset", [-1e9, 1e9, np.nan])
def test_an_absurd_place_of_the_voxels(path, offset):
    found = aside(write_nifti(path, ct(), vox_offset=offset)).code
    assert found in ("header_implausible", "unreadable")


@pytest.mark.parametrize("keep", [0.02, 0.5, 0.99])
def test_a_file_that_is_cut_off(path, keep):
    content = write_nifti(path, ct()).read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])
    assert aside(path).code in ("truncated", "header_implausible")


def test_voxels_that_end_too_early_in_a_whole_gzip_file(path):
    content = gzip.decompress(write_nifti(path, ct()).read_bytes())
    path.write_bytes(gzip.compress(content[:-1]))
    finding = aside(path)
    assert finding.code == "truncated"
    assert "1 bytes" in finding.reason


def test_a_bit_that_flipped_in_a_compressed_file_is_found(path):
    voxels = np.random.default_rng(1).integers(-1000, 1000, SHAPE, np.int16)
    content = bytearray(write_nifti(path, voxels).read_bytes())
    content[-8] ^= 1  # of the checksum
    path.write_bytes(content)
    assert "CRC" in aside(path).reason


def test_bytes_behind_the_voxels_do_no_harm(path):
    assert np.array_equal(read_volume(write_nifti(path, ct(), ending=bytes(99))).voxels, ct())


@pytest.mark.parametrize("magic", [b"", b"xx1", b"n"])
def test_wrong_magic(path, magic):
    assert aside(write_nifti(path, ct(), magic=magic)).code == "unreadable"


def test_unknown_number_type(path):
    assert aside(write_nifti(path, ct(), datatype=4711)).code == "unreadable"
