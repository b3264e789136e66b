"""What `prepare` is measured beside: the floor, TorchIO, MONAI and nnU-Net, one step each."""

import os
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np

WANTED_MM = (1.5, 1.5, 3.0)
LABELS = {"background": 0, **{f"organ_{n}": n for n in range(1, 14)}}

Step = Callable[[], object]


def floor(folder: Path) -> Step:
    """Decode, and resample by ITK; no checks, no orientation, nothing written."""
    import SimpleITK as sitk

    from manifests.volumes.grid import Grid, harmonised_grid

    decode = fastest_gzip()
    header = sitk.ImageFileReader()
    header.SetFileName(str(folder / "image.nii.gz"))
    header.ReadImageInformation()
    source = Grid(header.GetSize(), header.GetSpacing(), header.GetOrigin(), header.GetDirection())
    grid = harmonised_grid(source, WANTED_MM)
    place = (grid.origin_mm, grid.spacing_mm, grid.direction_lps)

    def read(name: str, dtype: type) -> sitk.Image:
        raw = decode((folder / name).read_bytes())
        return source.image(np.frombuffer(raw, dtype, offset=352).reshape(source.size_xyz[::-1]))

    def step() -> object:
        image, label = read("image.nii.gz", np.int16), read("label.nii.gz", np.uint8)
        return (
            sitk.Resample(image, grid.size_xyz, sitk.Transform(), sitk.sitkLinear, *place, -1024),
            sitk.Resample(label, grid.size_xyz, sitk.Transform(), sitk.sitkNearestNeighbor, *place),
        )

    return step


def fastest_gzip() -> Callable[[bytes], bytes]:
    """The decoder of the fastest library there is."""
    if find_spec("deflate"):
        import deflate

        return deflate.gzip_decompress
    from isal import igzip

    return igzip.decompress


def torchio(folder: Path) -> Step:
    """TorchIO's `ToCanonical` and `Resample`."""
    import torch
    import torchio as tio

    torch.set_num_threads(1)
    transform = tio.Compose([tio.ToCanonical(), tio.Resample(WANTED_MM)])

    def step() -> object:
        return transform(
            tio.Subject(
                image=tio.ScalarImage(folder / "image.nii.gz"),
                label=tio.LabelMap(folder / "label.nii.gz"),
            )
        )

    return step


def monai(folder: Path) -> Step:
    """MONAI's `LoadImaged`, `Orientationd` and `Spacingd`."""
    import torch
    from monai.transforms import Compose, LoadImaged, Orientationd, Spacingd

    torch.set_num_threads(1)
    keys = ("image", "label")
    transform = Compose(
        [
            LoadImaged(keys, ensure_channel_first=True),
            Orientationd(keys, axcodes="LPS", labels=None),
            Spacingd(keys, pixdim=WANTED_MM, mode=("bilinear", "nearest")),
        ]
    )
    return lambda: transform({k: str(folder / f"{k}.nii.gz") for k in keys})


def nnunet(folder: Path) -> Step:
    """The `DefaultPreprocessor` of nnU-Net v2: crops, normalises, resamples by cubic splines."""
    import torch

    os.environ |= dict.fromkeys(("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"), "/nowhere")
    from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    torch.set_num_threads(1)
    hu = {"mean": 50.0, "std": 70.0, "percentile_00_5": -300.0, "percentile_99_5": 300.0}
    resample = "resample_data_or_seg_to_shape"
    configuration = {
        "spacing": list(WANTED_MM[::-1]),
        "normalization_schemes": ["CTNormalization"],
        "use_mask_for_norm": [False],
        "architecture": {},
        "resampling_fn_data": resample,
        "resampling_fn_seg": resample,
        "resampling_fn_data_kwargs": {
            "is_seg": False,
            "order": 3,
            "order_z": 0,
            "force_separate_z": None,
        },
        "resampling_fn_seg_kwargs": {
            "is_seg": True,
            "order": 1,
            "order_z": 0,
            "force_separate_z": None,
        },
    }
    plans = PlansManager(
        {
            "transpose_forward": [0, 1, 2],
            "transpose_backward": [0, 1, 2],
            "image_reader_writer": "SimpleITKIO",
            "foreground_intensity_properties_per_channel": {"0": hu},
            "configurations": {"3d_fullres": configuration},
        }
    )
    dataset = {"channel_names": {"0": "CT"}, "file_ending": ".nii.gz", "labels": LABELS}
    preprocessor = DefaultPreprocessor(verbose=False)
    files = [str(folder / "image.nii.gz")], str(folder / "label.nii.gz")
    return lambda: preprocessor.run_case(
        *files, plans, plans.get_configuration("3d_fullres"), dataset
    )
