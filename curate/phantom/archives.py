"""Archives of phantoms in the layouts of the five real datasets, quirks included."""

import gzip
import io
import tarfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel import orientations
from numpy.typing import NDArray

from curate.phantom.acquisition import Spacing, acquire, plan_scan
from curate.phantom.archive_plan import REMARK, ArchivePlan, CasePlan, plan_archive, text_files
from curate.phantom.datasets import phantom_datasets
from curate.phantom.patient import STRUCTURES, draw_patient, render
from curate.preparation.tally import Notify
from curate.recipes.schema import load_recipe
from manifests.ground.atomic import whole_file
from manifests.ground.errors import SourceError
from manifests.ground.machine import usable_cores
from manifests.volumes.grid import Grid
from manifests.volumes.volume import Volume

MODIFIED = (2021, 1, 1, 0, 0, 0)
MODIFIED_SECONDS = 1_609_459_200
GZIP_LEVEL = 4
# AppleDouble's magic number and version, then what a Mac would put there.
APPLE_DOUBLE = bytes.fromhex("00051607 00020000") + b"Mac OS X        " + bytes(range(256)) * 2

PackedFile = tuple[str, bytes]  # its path in the archive, and what it holds
DrawnCase = tuple[Grid, list[PackedFile]]


def write_phantom_archives(
    folder: Path,
    *,
    seed: int = 0,
    cases: Mapping[str, int] | None = None,
    spacing_mm: Spacing = (None, None),
    whole: bool = False,
    notify: Notify = lambda *_: None,
) -> list[Path]:
    """Write one archive per dataset, the same bytes for the same arguments.

    A case depends on the seed, its dataset and its place in it alone: more cases or fewer datasets
    leave the others as they are. An archive of that name is replaced.

    Args:
        folder: Where the archives go; made if missing.
        seed: Of everything random.
        cases: Labelled cases of each dataset to write; by default, as many as datasets.toml says.
        spacing_mm: Replaces the datasets' spacings; larger is faster.
        whole: Label every structure of every dataset, by its place in `STRUCTURES` from 1 on.
        notify: Told how far it is.

    Returns:
        The archives' paths.

    Raises:
        SourceError: An unknown dataset, or a number of cases that it cannot have.
    """
    if cases is None:
        cases = {name: dataset.default_cases for name, dataset in phantom_datasets().items()}
    _check(cases)
    written: list[Path] = []
    # Threads, not processes: NumPy and zlib let go of the interpreter's lock.
    with ThreadPoolExecutor(usable_cores()) as pool:
        for plan in (plan_archive(*item) for item in cases.items()):
            draw = partial(_draw_case, dataset=plan.dataset, spacing_mm=spacing_mm, whole=whole)
            drawn = pool.map(draw, plan.cases, _seeds(plan, seed))
            write = _write_zip if plan.archive.endswith(".zip") else _write_tar
            with whole_file(folder / plan.archive) as temporary:
                write(temporary, _packed_files(plan, drawn, notify))
            written.append(folder / plan.archive)
    return written


def _check(cases: Mapping[str, int]) -> None:
    datasets = phantom_datasets()
    for name, count in cases.items():
        if name not in datasets:
            msg = f"no phantom of a dataset {name!r}: expected one of {', '.join(datasets)}"
            raise SourceError(msg)
        if not 1 <= count <= datasets[name].capacity:
            msg = (
                f"phantom of {name}: expected 1 to {datasets[name].capacity} cases, got {count}; "
                "leave the dataset out to write none"
            )
            raise SourceError(msg)


def _seeds(plan: ArchivePlan, seed: int) -> list[np.random.SeedSequence]:
    """Return a seed for each case of an archive; only the case's place determines it."""
    dataset = list(phantom_datasets()).index(plan.dataset)
    labelled = sum(case.label is not None for case in plan.cases)  # they come before the others
    places = [(0, n) if n < labelled else (1, n - labelled) for n in range(len(plan.cases))]
    return [np.random.SeedSequence(seed, spawn_key=(dataset, *place)) for place in places]


def _draw_case(
    case: CasePlan,
    seed: np.random.SeedSequence,
    *,
    dataset: str,
    spacing_mm: Spacing,
    whole: bool,
) -> DrawnCase:
    """Draw, render and scan one patient; return the grid and the case's files."""
    rng = np.random.default_rng(seed)
    tumour_chance = phantom_datasets()[dataset].protocol.tumour_chance
    patient = draw_patient(rng, tumour_chance=tumour_chance)
    scan = plan_scan(dataset, rng, spacing_mm=spacing_mm)
    couch_mm = np.round(rng.uniform((-20.0, -200.0, -900.0), (20.0, -120.0, 1200.0)), 1)
    hu, structures = render(patient, scan.grid, contrast=scan.contrast)
    x, y, z = (scan.grid.origin_mm + couch_mm).tolist()
    place = replace(scan.grid, origin_mm=(x, y, z))
    files = [(case.image, _nifti(Volume(acquire(hu, scan, rng), place), case, case.image_type))]
    if case.label:
        label = structures if whole else _label_lookup(dataset)[structures]
        files.append((case.label, _nifti(Volume(label, place), case, case.label_type)))
    return scan.grid, files


def _label_lookup(dataset: str) -> NDArray[np.uint8]:
    """Return the dataset's label value of each structure id, as its recipe has it."""
    values = {name: value for value, names in load_recipe(dataset).values.items() for name in names}
    return np.array([0, *(values.get(name, 0) for name in STRUCTURES)], dtype=np.uint8)


def _nifti(volume: Volume, case: CasePlan, number_type: str) -> bytes:
    """Return a compressed NIfTI file of a volume along LPS, with the axes and forms of a case."""
    affine = np.diag([*np.multiply(volume.grid.spacing_mm, (-1.0, -1.0, 1.0)), 1.0])
    affine[:3, 3] = np.multiply(volume.grid.origin_mm, (-1.0, -1.0, 1.0))
    image = nib.Nifti1Image(volume.voxels.T.astype(number_type), affine)
    turn = orientations.ornt_transform(
        orientations.io_orientation(affine), orientations.axcodes2ornt(case.axes)
    )
    image = image.as_reoriented(turn.astype(int).tolist())
    affine = np.array(image.affine)
    if case.at_origin:
        affine[:3, 3] = 0.0
    image.set_sform(affine, code=2 if "sform" in case.forms else 0)
    image.set_qform(affine, code=1 if "qform" in case.forms else 0)
    image.header.set_xyzt_units("mm", "sec")
    image.header["descrip"] = REMARK.encode()
    return gzip.compress(image.to_bytes(), GZIP_LEVEL, mtime=0)


def _packed_files(
    plan: ArchivePlan, drawn: Iterable[DrawnCase], notify: Notify
) -> Iterator[PackedFile]:
    """Yield an archive's files as the cases are done, with junk before what it belongs to."""
    grids: list[Grid] = []
    for case, (grid, files) in zip(plan.cases, drawn, strict=True):
        grids.append(grid)
        notify(f"draw {plan.dataset}", len(grids), len(plan.cases))
        for name, data in files:
            if case.junk:
                parent, _, base = name.rpartition("/")
                yield f"{parent}/._{base}", APPLE_DOUBLE
            yield name, data
    yield from text_files(plan, grids).items()


def _write_tar(path: Path, files: Iterable[PackedFile]) -> None:
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as archive:
        for name, data in files:
            info = tarfile.TarInfo(name)
            info.size, info.mtime, info.mode = len(data), MODIFIED_SECONDS, 0o644
            archive.addfile(info, io.BytesIO(data))


def _write_zip(path: Path, files: Iterable[PackedFile]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, data in files:
            info = zipfile.ZipInfo(name, MODIFIED)
            info.create_system, info.external_attr = 3, 0o100644 << 16
            archive.writestr(info, data)
