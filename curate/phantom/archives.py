"""Archives of phantoms in the layouts of the five real datasets, quirks included."""

import gzip
import io
import tarfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing import cpu_count
from pathlib import Path
from types import MappingProxyType

import nibabel as nib
import numpy as np
from nibabel import orientations
from numpy.typing import NDArray

from curate.phantom.acquisition import APPEARANCES, acquire, plan_scan
from curate.phantom.archive_plan import (
    CAPACITIES,
    REMARK,
    ArchivePlan,
    CasePlan,
    lists,
    plan_archive,
)
from curate.phantom.patient import STRUCTURES, TumourChance, draw_patient, render
from curate.preparation.tally import Notify
from curate.recipes.schema import load_recipe
from manifests.ground.errors import SourceError
from manifests.volumes.grid import Grid

DEFAULT_CASES = MappingProxyType(
    {"btcv": 8, "msd_liver": 14, "msd_pancreas": 16, "msd_spleen": 8, "kits19": 14}
)
MODIFIED = (2021, 1, 1, 0, 0, 0)
MODIFIED_SECONDS = 1_609_459_200
GZIP_LEVEL = 4
# AppleDouble's magic number and version, then what a Mac would put there.
APPLE_DOUBLE = bytes.fromhex("00051607 00020000") + b"Mac OS X        " + bytes(range(256)) * 2

Member = tuple[str, bytes]
Result = tuple[Grid, list[Member]]


@dataclass(frozen=True)
class Job:
    """One case to compute.

    Attributes:
        dataset: The recipe's name.
        case: How it is stored.
        seed: The case's own.
        in_plane_mm: Replaces the dataset's pixel spacing.
        slice_mm: Replaces the dataset's slice spacing.
        whole: Every structure is labelled, by its id.
    """

    dataset: str
    case: CasePlan
    seed: np.random.SeedSequence
    in_plane_mm: float | None
    slice_mm: float | None
    whole: bool


def write_phantom_archives(
    folder: Path,
    *,
    seed: int = 0,
    cases: Mapping[str, int] | None = None,
    in_plane_mm: float | None = None,
    slice_mm: float | None = None,
    whole: bool = False,
    notify: Notify = lambda *_: None,
) -> list[Path]:
    """Write one archive per dataset, the same bytes for the same arguments.

    A case depends on the seed, its dataset and its place in it alone: more cases or fewer datasets
    leave the others as they are. An archive of that name is replaced.

    Args:
        folder: Where the archives go; made if missing.
        seed: Of everything random.
        cases: Labelled cases of each dataset to write; `DEFAULT_CASES` if none is given.
        in_plane_mm: Replaces the pixel spacings; larger is faster.
        slice_mm: Replaces the slice spacings.
        whole: Label every structure of every dataset, by its place in `STRUCTURES` from 1 on.
        notify: Told how far it is.

    Returns:
        The archives' paths.

    Raises:
        SourceError: An unknown dataset, or a number of cases that it cannot have.
    """
    plans = [plan_archive(*item) for item in _checked(DEFAULT_CASES if cases is None else cases)]
    folder.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    # Threads, not processes: NumPy and zlib let go of the interpreter's lock.
    with ThreadPoolExecutor(cpu_count()) as pool:
        for plan in plans:
            jobs = _jobs(plan, seed, in_plane_mm, slice_mm, whole=whole)
            path = folder / plan.archive
            results = _told(pool.map(_compute, jobs), plan, notify)
            _write_archive(path, _members(plan, results))
            written.append(path)
    return written


def _told(results: Iterable[Result], plan: ArchivePlan, notify: Notify) -> Iterator[Result]:
    for number, result in enumerate(results, start=1):
        notify(f"draw {plan.dataset}", number, len(plan.cases))
        yield result


def _checked(cases: Mapping[str, int]) -> list[tuple[str, int]]:
    for dataset, count in cases.items():
        if dataset not in CAPACITIES:
            msg = f"no phantom of a dataset {dataset!r}: expected one of {', '.join(CAPACITIES)}"
            raise SourceError(msg)
        if not 1 <= count <= CAPACITIES[dataset]:
            msg = (
                f"phantom of {dataset}: expected 1 to {CAPACITIES[dataset]} cases, got {count}; "
                "leave the dataset out to write none"
            )
            raise SourceError(msg)
    return list(cases.items())


def _jobs(
    plan: ArchivePlan,
    seed: int,
    in_plane_mm: float | None,
    slice_mm: float | None,
    *,
    whole: bool,
) -> list[Job]:
    """Return an archive's cases, each with a seed that only its place determines."""
    place = list(CAPACITIES).index(plan.dataset)
    labelled = (case for case in plan.cases if case.label)
    others = (case for case in plan.cases if not case.label)
    return [
        Job(
            plan.dataset,
            case,
            np.random.SeedSequence(seed, spawn_key=(place, kind, index)),
            in_plane_mm,
            slice_mm,
            whole,
        )
        for kind, group in enumerate((labelled, others))
        for index, case in enumerate(group)
    ]


def _compute(job: Job) -> Result:
    """Draw, render and scan one patient; return the grid and the case's files."""
    rng = np.random.default_rng(job.seed)
    patient = draw_patient(rng, tumour_chance=TumourChance(*APPEARANCES[job.dataset].tumours))
    scan = plan_scan(job.dataset, rng, in_plane_mm=job.in_plane_mm, slice_mm=job.slice_mm)
    couch_mm = np.round(rng.uniform((-20.0, -200.0, -900.0), (20.0, -120.0, 1200.0)), 1)
    hu, structures = render(patient, scan.grid, contrast=scan.contrast)
    image = acquire(hu, scan, rng)
    files = [(job.case.image, _nifti(image, scan.grid, couch_mm, job.case, job.case.image_type))]
    if job.case.label:
        label = structures if job.whole else _label_lookup(job.dataset)[structures]
        data = _nifti(label, scan.grid, couch_mm, job.case, job.case.label_type)
        files.append((job.case.label, data))
    return scan.grid, files


def _label_lookup(dataset: str) -> NDArray[np.uint8]:
    """Return the dataset's label value of each structure id, as its recipe has it."""
    values = {name: value for value, names in load_recipe(dataset).values.items() for name in names}
    return np.array([0, *(values.get(name, 0) for name in STRUCTURES)], dtype=np.uint8)


def _nifti(
    voxels: NDArray[np.generic],
    grid: Grid,
    couch_mm: NDArray[np.float64],
    case: CasePlan,
    number_type: str,
) -> bytes:
    """Return a compressed NIfTI file.

    Args:
        voxels: On `grid`, [z, y, x].
        grid: Along LPS.
        couch_mm: Where the grid's frame lies in the scanner.
        case: Names the axes and the header's forms.
        number_type: NumPy's name of the number type to store.
    """
    affine = np.diag([-grid.spacing_mm[0], -grid.spacing_mm[1], grid.spacing_mm[2], 1.0])
    affine[:3, 3] = (grid.origin_mm + couch_mm) * (-1.0, -1.0, 1.0)
    image = nib.Nifti1Image(voxels.T.astype(number_type), affine)
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


def _members(plan: ArchivePlan, results: Iterable[Result]) -> Iterator[Member]:
    """Yield an archive's files as the cases are done, with junk before what it belongs to."""
    grids: list[Grid] = []
    for case, (grid, files) in zip(plan.cases, results, strict=True):
        grids.append(grid)
        for name, data in files:
            if case.junk:
                parent, _, base = name.rpartition("/")
                yield f"{parent}/._{base}", APPLE_DOUBLE
            yield name, data
    yield from lists(plan, grids).items()


def _write_archive(path: Path, members: Iterable[Member]) -> None:
    """Write a tar or a zip under another name, then rename it."""
    partial = path.with_name(f".{path.name}.partial")
    write = _write_zip if path.suffix == ".zip" else _write_tar
    try:
        write(partial, members)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _write_tar(path: Path, members: Iterable[Member]) -> None:
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size, info.mtime, info.mode = len(data), MODIFIED_SECONDS, 0o644
            archive.addfile(info, io.BytesIO(data))


def _write_zip(path: Path, members: Iterable[Member]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, data in members:
            info = zipfile.ZipInfo(name, MODIFIED)
            info.create_system, info.external_attr = 3, 0o100644 << 16
            archive.writestr(info, data)
