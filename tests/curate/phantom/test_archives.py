"""Phantom archives: the five real layouts with their quirks, byte for byte from the seed."""

import gzip
import json
import tarfile
import zipfile

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from curate.cases.reading import read_case
from curate.datasets.discover import discover
from curate.datasets.locate import root_of
from curate.phantom.acquisition import acquire, plan_scan
from curate.phantom.archive_plan import plan_archive
from curate.phantom.archives import _nifti, write_phantom_archives
from curate.phantom.datasets import phantom_datasets
from curate.phantom.patient import STRUCTURES, draw_patient, render
from curate.recipes.schema import load_recipe, shipped_recipes
from manifests.ground.errors import SourceError
from manifests.ground.unpack import unpack
from manifests.volumes.volume import Volume

COARSE = {"spacing_mm": (8.0, 8.0)}
COUNTS = {"btcv": 1, "msd_liver": 4, "msd_pancreas": 1, "msd_spleen": 2, "kits19": 2}
ARCHIVES = {
    "btcv": "RawData.zip",
    "msd_liver": "Task03_Liver.tar",
    "msd_pancreas": "Task07_Pancreas.tar",
    "msd_spleen": "Task09_Spleen.tar",
    "kits19": "kits19.zip",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("archives")
    write_phantom_archives(folder, cases=COUNTS, **COARSE)
    return folder


@pytest.fixture(scope="module")
def files(folder):
    return {dataset: contents(folder / archive) for dataset, archive in ARCHIVES.items()}


def contents(path):
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            return {name: archive.read(name) for name in archive.namelist()}
    with tarfile.open(path) as archive:
        return {info.name: archive.extractfile(info).read() for info in archive}


def volume(data):
    return nib.Nifti1Image.from_bytes(gzip.decompress(data))


def stored(data, folder):
    path = folder / "volume.nii.gz"
    path.write_bytes(data)
    return sitk.ReadImage(str(path))


def test_every_recipe_has_a_phantom():
    assert set(phantom_datasets()) == set(ARCHIVES) <= set(shipped_recipes())
    for dataset in phantom_datasets().values():
        assert 1 <= dataset.default_cases <= dataset.capacity


@pytest.mark.parametrize("dataset", ARCHIVES)
def test_full_archives_repeat_no_name(dataset):
    cases = plan_archive(dataset, phantom_datasets()[dataset].capacity).cases
    assert len({case.name for case in cases}) == len(cases)


def test_archives_are_named_as_published(folder):
    assert sorted(p.name for p in folder.iterdir()) == sorted(ARCHIVES.values())


def test_same_seed_same_bytes(folder, tmp_path):
    few = {"msd_spleen": 2, "kits19": 2}
    for path in write_phantom_archives(tmp_path, cases=few, **COARSE):
        assert path.read_bytes() == (folder / path.name).read_bytes()


def test_another_seed_other_bytes(folder, tmp_path):
    (path,) = write_phantom_archives(tmp_path, seed=1, cases={"btcv": 1}, **COARSE)
    assert path.read_bytes() != (folder / path.name).read_bytes()


def test_more_cases_leave_the_others_alone(files, tmp_path):
    (path,) = write_phantom_archives(tmp_path, cases={"msd_spleen": 3}, **COARSE)
    more = contents(path)
    same = {name for name, data in files["msd_spleen"].items() if more.get(name) == data}
    assert set(files["msd_spleen"]) - same == {"Task09_Spleen/dataset.json"}


def test_btcv_layout(files):
    assert set(files["btcv"]) == {
        "RawData/Training/img/img0001.nii.gz",
        "RawData/Training/label/label0001.nii.gz",
        "RawData/Testing/img/img0061.nii.gz",
    }


def test_btcv_ids_jump_from_10_to_21():
    names = [case.name for case in plan_archive("btcv", 12).cases]
    assert names[:12] == [f"{n:04d}" for n in [*range(1, 11), 21, 22]]


@pytest.mark.parametrize(
    ("dataset", "task", "training", "test"),
    [
        ("msd_liver", "Task03_Liver", ["liver_0", "liver_3", "liver_6", "liver_9"], "liver_128"),
        ("msd_pancreas", "Task07_Pancreas", ["pancreas_001"], "pancreas_415"),
        ("msd_spleen", "Task09_Spleen", ["spleen_2", "spleen_10"], "spleen_55"),
    ],
)
def test_decathlon_layout(files, dataset, task, training, test):
    real = [f"{task}/imagesTs/{test}.nii.gz"]
    real += [
        f"{task}/{kind}/{name}.nii.gz" for kind in ("imagesTr", "labelsTr") for name in training
    ]
    junk = [name[: name.rindex("/") + 1] + "._" + name[name.rindex("/") + 1 :] for name in real]
    assert set(files[dataset]) == {*real, *junk, f"{task}/dataset.json"}
    assert all(files[dataset][name].startswith(b"\x00\x05\x16\x07") for name in junk)
    index = json.loads(files[dataset][f"{task}/dataset.json"])
    assert index["training"] == [
        {"image": f"./imagesTr/{name}.nii.gz", "label": f"./labelsTr/{name}.nii.gz"}
        for name in training
    ]
    assert index["test"] == [f"./imagesTs/{test}.nii.gz"]
    assert (index["numTraining"], index["numTest"]) == (len(training), 1)
    assert index["modality"] == {"0": "CT"}


def test_decathlon_misspells_release(files):
    pancreas = json.loads(files["msd_pancreas"]["Task07_Pancreas/dataset.json"])
    liver = json.loads(files["msd_liver"]["Task03_Liver/dataset.json"])
    assert "relase" in pancreas
    assert "release" not in pancreas
    assert "release" in liver
    assert liver["labels"] == {"0": "background", "1": "liver", "2": "cancer"}


def test_decathlon_axes_and_number_types_vary(files):
    pairs = [
        [volume(files["msd_liver"][f"Task03_Liver/{kind}/liver_{n}.nii.gz"]) for n in (0, 3, 6, 9)]
        for kind in ("imagesTr", "labelsTr")
    ]
    images, labels = pairs
    axes = ["".join(nib.aff2axcodes(image.affine)) for image in images]
    assert axes == ["LAS", "RAS", "LAI", "LPS"]
    assert {image.get_data_dtype() for image in images} == {np.dtype("int16"), np.dtype("float32")}
    assert {label.get_data_dtype() for label in labels} == {np.dtype("uint8"), np.dtype("float32")}


def test_tars_have_one_owner_and_time(folder):
    with tarfile.open(folder / "Task09_Spleen.tar") as archive:
        infos = archive.getmembers()
    assert {(i.uid, i.gid, i.uname, i.mtime) for i in infos} == {(0, 0, "", 1_609_459_200)}


def test_kits_layout(files):
    cases = [f"kits19/data/case_0000{n}" for n in range(2)]
    volumes = {f"{c}/{kind}.nii.gz" for c in cases for kind in ("imaging", "segmentation")}
    assert set(files["kits19"]) == {*volumes, "kits19/data/kits.json", "kits19/README.md"}
    records = json.loads(files["kits19"]["kits19/data/kits.json"])
    assert [record["case_id"] for record in records] == ["case_00000", "case_00001"]
    assert records[0]["voxel_spacing"] == {"x_spacing": 8.0, "y_spacing": 8.0, "z_spacing": 8.0}


def test_kits_geometry(files):
    image = volume(files["kits19"]["kits19/data/case_00000/imaging.nii.gz"])
    label = volume(files["kits19"]["kits19/data/case_00000/segmentation.nii.gz"])
    expected = [[0, 0, -8, 0], [0, -8, 0, 0], [-8, 0, 0, 0], [0, 0, 0, 1]]
    np.testing.assert_array_equal(image.affine, expected)
    assert image.get_data_dtype() == np.float64
    assert label.get_data_dtype() == np.uint8
    assert (int(image.header["qform_code"]), int(image.header["sform_code"])) == (0, 2)


def test_some_kits_headers_have_a_qform_only():
    case = plan_archive("kits19", 8).cases[7]
    assert case.forms == ("qform",)
    assert case.label_type == "uint16"


@pytest.mark.parametrize("number", [0, 7])  # with an sform, with a qform
def test_kits_is_read_the_right_way_round(number, tmp_path):
    rng = np.random.default_rng(0)
    patient, scan = draw_patient(rng), plan_scan("kits19", rng, **COARSE)
    _, structures = render(patient, scan.grid)
    case = plan_archive("kits19", 8).cases[number]
    data = _nifti(Volume(structures, scan.grid), case, "uint8")
    image = stored(data, tmp_path)
    assert image.GetOrigin() == (0.0, 0.0, 0.0)
    voxels = sitk.GetArrayFromImage(image)

    def centre_mm(name):
        index = np.argwhere(voxels == 1 + STRUCTURES.index(name)).mean(axis=0)[::-1]
        return np.array(image.TransformContinuousIndexToPhysicalPoint(index.tolist()))

    assert centre_mm("left_kidney")[0] > centre_mm("right_kidney")[0] + 50
    assert centre_mm("liver")[0] < centre_mm("spleen")[0] - 50
    assert centre_mm("spleen")[2] > centre_mm("right_kidney")[2]
    assert centre_mm("stomach")[1] < centre_mm("spleen")[1]


@pytest.mark.parametrize("dataset", ARCHIVES)
def test_archives_walk_the_path_of_real_data(folder, tmp_path, dataset):
    recipe = load_recipe(dataset)
    unpack(folder / ARCHIVES[dataset], tmp_path / dataset)
    cases = discover(recipe, root_of(recipe, tmp_path / dataset))
    assert len(cases) == COUNTS[dataset]
    for case in cases:
        image, label, findings = read_case(case, recipe.values)
        assert {f.code for f in findings} <= {"axes_left_handed"}
        values = np.unique(label.voxels)
        assert values[0] == 0
        assert values.size > 1
        hu = image.voxels
        assert -1024 <= hu.min() < -900
        assert 200 < hu.max() <= 3071


def test_btcv_has_thirteen_values(tmp_path):
    (path,) = write_phantom_archives(tmp_path, cases={"btcv": 1}, spacing_mm=(4.0, 4.0))
    label = volume(contents(path)["RawData/Training/label/label0001.nii.gz"])
    assert set(np.unique(np.asanyarray(label.dataobj))) == set(range(14))


def test_sharpness_and_noise_are_the_datasets():
    rng = np.random.default_rng(0)
    scan = plan_scan("msd_pancreas", rng, **COARSE)
    x, y, z = scan.grid.size_xyz
    flat = acquire(np.zeros((z, y, x), np.float32), scan, rng)
    middle = flat[:, y // 2 - 4 : y // 2 + 4, x // 2 - 4 : x // 2 + 4]
    assert middle.std() == pytest.approx(scan.noise_hu, rel=0.15)
    assert middle.mean() == pytest.approx(scan.offset_hu, abs=2.0)
    assert flat[0, 0, 0] == scan.protocol.padding_hu
    np.testing.assert_array_equal(flat, np.rint(flat))


def test_spacing_changes_neither_field_nor_patient():
    fine, coarse = (
        plan_scan("btcv", np.random.default_rng(5), spacing_mm=(s, None)) for s in (2.0, 6.0)
    )
    assert fine.noise_hu == coarse.noise_hu
    width = [s.grid.size_xyz[0] * s.grid.spacing_mm[0] for s in (fine, coarse)]
    assert width[0] == pytest.approx(width[1], abs=6.0)


@pytest.mark.parametrize("cases", [{"amos": 3}, {"btcv": 0}, {"btcv": 31}])
def test_impossible_numbers_of_cases_are_refused(tmp_path, cases):
    with pytest.raises(SourceError, match="expected"):
        write_phantom_archives(tmp_path / "out", cases=cases)
    assert not (tmp_path / "out").exists()


def test_a_failure_leaves_nothing_behind(tmp_path, monkeypatch):
    def fail(*_args, **_kwargs):
        raise MemoryError

    monkeypatch.setattr("curate.phantom.archives.render", fail)
    with pytest.raises(MemoryError):
        write_phantom_archives(tmp_path, cases={"msd_spleen": 1}, **COARSE)
    assert list(tmp_path.iterdir()) == []
