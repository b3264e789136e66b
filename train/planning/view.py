"""View of a plan: tables and lines on cases, classes, network, memory and time."""

from collections.abc import Iterable

from rich.table import Table

from train.device import pick_device, uses_bfloat16
from train.networks.network import plan_levels
from train.planning.footprint import Footprint, footprint
from train.planning.plan import TrainingPlan, annotated_counts
from train.settings import TrainSettings

_GIB = 2**30


def plan_tables(plan: TrainingPlan) -> Iterable[Table]:
    """Yield the tables of cases by dataset, and of cases that annotate each class."""
    parts = [c.coded("dataset") for c in (plan.training, plan.cases(1), plan.validation)]
    datasets = sorted({name for names in parts for name in names.present()})
    table = Table("dataset", "train", "fully labelled", "validation", title="cases")
    for name in datasets:
        table.add_row(name, *(str(names.equal(name).sum()) for names in parts))
    yield table
    table = Table("class", "train", "validation", title="cases that annotate a class")
    counts = [annotated_counts(c, plan.label_space) for c in (plan.training, plan.validation)]
    for name in plan.label_space.names[1:]:
        table.add_row(name, *(str(count[name]) for count in counts))
    yield table


def plan_facts(plan: TrainingPlan) -> list[str]:
    """Return lines on network, patch, intensity, epochs and memory, and the plan's remarks."""
    settings, scale, traced = plan.settings, plan.normalisation, _footprint(plan)
    z, y, x = settings.patch_size_zyx
    spacing = " x ".join(f"{mm:g}" for mm in plan.spacing_mm)
    return [
        f"network: {len(plan_levels(plan.network))} levels, {traced.parameters:,} parameters",
        f"patch: {x} x {y} x {z} voxels of {spacing} mm, {settings.batch_size} in a batch",
        f"intensity: {scale.low_hu:.0f} to {scale.high_hu:.0f} HU, "
        f"mean {scale.mean_hu:.0f}, deviation {scale.std_hu:.0f}",
        f"epochs: {_epochs(settings)}; {settings.patches_per_dataset} patches of each dataset",
        f"memory: about {traced.total_bytes / _GIB:.2g} GiB, without that of PyTorch itself",
        *(f"note: {remark}" for remark in plan.remarks),
    ]


def _epochs(settings: TrainSettings) -> str:
    first, second = settings.stage_epochs
    more = ""
    if first and second and settings.first_stage_dice:
        more = f" (up to {first} more until each class has a Dice of {settings.first_stage_dice:g})"
    return f"{first} on fully labelled cases{more}, {second} on all"


def _footprint(plan: TrainingPlan) -> Footprint:
    settings = plan.settings
    return footprint(
        plan.network,
        len(plan.label_space),
        batch_size=settings.patches_at_once,
        optimiser=settings.optimiser,
        half=uses_bfloat16(settings.precision, pick_device(settings.device)),
    )


def duration(seconds: float) -> str:
    """Return a time in the largest unit of which there are at least two."""
    for unit, length in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.1f} s"
