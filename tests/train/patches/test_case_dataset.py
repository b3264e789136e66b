"""CaseDataset: whole cases and patches as other programs read them, from workers too."""

import pickle
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
import torch
import torchio as tio
from monai.data import Dataset
from monai.data.meta_tensor import MetaTensor
from monai.transforms import ScaleIntensityd
from torch.utils.data import DataLoader

from manifests.ground.errors import TrainingError
from train.model import Normalisation
from train.patches.case_dataset import CaseDataset
from train.patches.mapped_case import open_case, read_target

PATCH_ZYX = (8, 12, 16)


@pytest.fixture
def cases(manifest):
    return [case for case in manifest.cases() if case.split == "train"]


def test_a_whole_case_is_what_other_programs_read(manifest, cases):
    dataset = CaseDataset(manifest, cases)
    assert len(dataset) == len(cases) == 5
    for case, sample in zip(cases, dataset, strict=True):
        file = nib.load(manifest.path(case.image))
        assert sample["case_id"] == case.case_id
        np.testing.assert_array_equal(sample["image"][0].numpy(), file.get_fdata().T)
        # NIfTI's matrix is for indices x, y, z, ours for z, y, x
        np.testing.assert_allclose(sample["affine"][:, [2, 1, 0, 3]], file.affine, atol=1e-4)
        stored = sitk.GetArrayFromImage(sitk.ReadImage(manifest.path(case.label)))
        np.testing.assert_array_equal(sample["label"][0].numpy(), stored)
        assert sample["merged"].tolist() == list(case.merged)
        assert (sample["image"].dtype, sample["label"].dtype) == (torch.float32, torch.uint8)


def test_merged_classes_of_an_edited_manifest_reach_the_labels(manifest, cases):
    edited = replace(cases[0], merged=(0, 1, 0))
    (sample,) = list(CaseDataset(manifest, [edited]))
    expected = read_target(open_case(manifest, edited))
    np.testing.assert_array_equal(sample["label"][0].numpy(), expected)
    assert set(np.unique(expected)) == {0, 1}
    assert sample["merged"].tolist() == [0, 1, 0]


def test_a_patch_lies_where_its_affine_says(manifest, cases):
    whole, patches = (
        CaseDataset(manifest, cases, patch_size_zyx=size) for size in (None, PATCH_ZYX)
    )
    starts = set()
    for index in [0, 1, 2, 3, 4] * 4:
        sample, volume = patches[index], whole[index]
        corner = torch.linalg.solve(volume["affine"], sample["affine"] @ torch.eye(4).double()[3])
        start = corner[:3].round().int().tolist()
        starts.add(tuple(start))
        inside = tuple(slice(s, s + n) for s, n in zip(start, PATCH_ZYX, strict=True))
        for key in ("image", "label"):
            torch.testing.assert_close(sample[key][0], volume[key][0][inside], rtol=0, atol=0)
    assert len(starts) > 10


def test_beyond_the_volume_is_air_and_background(manifest, cases):
    size = (40, 24, 28)  # twice as high as the volume
    scale = Normalisation(low_hu=-100.0, high_hu=300.0, mean_hu=100.0, std_hu=50.0)
    sample = CaseDataset(manifest, cases, patch_size_zyx=size, normalisation=scale)[0]
    assert sample["image"].shape == sample["label"].shape == (1, *size)
    assert sample["image"][0, :10].unique().tolist() == [-4]
    assert not sample["label"][0, :10].any()


@pytest.mark.parametrize(("probability", "share"), [(1.0, 1.0), (0.0, None)])
def test_patches_are_centred_on_labelled_voxels_as_often_as_asked(
    manifest, cases, probability, share
):
    torch.manual_seed(0)
    dataset = CaseDataset(
        manifest, cases[:1], patch_size_zyx=(1, 1, 1), foreground_probability=probability
    )
    labels = [int(dataset[0]["label"]) for _ in range(200)]
    volume = CaseDataset(manifest, cases[:1])[0]["label"]
    expected = share or float((volume > 0).float().mean())
    assert np.mean(np.array(labels) > 0) == pytest.approx(expected, abs=0.12)
    if probability:  # each class as often, whatever its size
        assert np.mean(np.array(labels) == 1) == pytest.approx(0.5, abs=0.12)


def test_workers_draw_other_patches_and_a_seed_repeats_them(manifest, cases):
    dataset = CaseDataset(manifest, cases, patch_size_zyx=PATCH_ZYX)

    def epochs(workers):
        torch.manual_seed(3)
        loader = DataLoader(dataset, batch_size=5, num_workers=workers)
        return [next(iter(loader)) for _ in range(2)]

    first, second = epochs(2)
    assert first["image"].shape == (5, 1, *PATCH_ZYX)
    assert first["merged"].shape == (5, 3)
    assert first["case_id"] == [case.case_id for case in cases]
    assert not torch.equal(first["affine"], second["affine"])
    torch.testing.assert_close(first["affine"], epochs(2)[0]["affine"])


def test_it_survives_pickling_and_holds_no_voxels(manifest, cases):
    dataset = CaseDataset(manifest, cases, normalisation=Normalisation(-100.0, 300.0, 100.0, 50.0))
    pickled = pickle.dumps(dataset)
    assert len(pickled) < 50_000  # the volumes have 200,000 bytes
    torch.testing.assert_close(pickle.loads(pickled)[1]["image"], dataset[1]["image"])


def test_monai_changes_the_samples_and_so_does_a_transform(manifest, cases):
    scaled = ScaleIntensityd("image", minv=0, maxv=1)
    by_monai = Dataset(CaseDataset(manifest, cases), scaled)[0]
    by_transform = CaseDataset(manifest, cases, transform=scaled)[0]
    for sample in (by_monai, by_transform):
        assert (sample["image"].min(), sample["image"].max()) == (0, 1)
        assert sample["merged"].tolist() == [0, 1, 2]


def test_torchio_and_monai_know_which_way_the_axes_point(manifest, cases):
    sample = CaseDataset(manifest, cases)[0]
    image = tio.ScalarImage(tensor=sample["image"], affine=sample["affine"])
    assert "".join(image.orientation) == "SPL"  # where z, y and x grow to
    assert image.spacing == (4, 4, 4)
    z, y, x = sample["label"][0].nonzero()[0].tolist()
    turned = tio.ToCanonical()(tio.LabelMap(tensor=sample["label"], affine=sample["affine"]))
    right_to_left = sample["label"].shape[3] - 1 - x  # RAS counts from the other side than LPS
    back_to_front = sample["label"].shape[2] - 1 - y
    assert turned.data[0, right_to_left, back_to_front, z] == sample["label"][0, z, y, x] > 0
    of_monai = MetaTensor(sample["image"], affine=sample["affine"])
    assert of_monai.pixdim.tolist() == [4, 4, 4]


def test_no_case_is_refused_with_the_next_step(manifest):
    with pytest.raises(TrainingError, match=r"expected some of the 7 cases .* `marginalia split`"):
        CaseDataset(manifest, [])
