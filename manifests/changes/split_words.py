"""Splits in words: by which rule they were made, and what is left for training."""

from collections import Counter
from collections.abc import Mapping, Sequence

from manifests.changes.splits import HELD_OUT, Amount, SplitRequest
from manifests.table.case import SPLITS
from manifests.table.manifest import Manifest


def split_rule(request: SplitRequest) -> str:
    """Return the rule of a split, as in `test 20 % of each dataset, the rest is for training`."""
    if request.given:
        return "as the file of splits says that you gave"
    parts = [_held_out(request, split) for split in HELD_OUT]
    held_out = "; ".join(part for part in parts if part)
    if not held_out:
        return "all cases are for training"
    return f"{held_out}; the rest is for training; whole patients, drawn with seed {request.seed}"


def _held_out(request: SplitRequest, split: str) -> str:
    named: Mapping[str, Amount] = getattr(request, f"{split}_by_dataset")
    every: Amount = getattr(request, split)
    words = [f"{_amount(every)} of each {'other ' if named else ''}dataset"] if every else []
    words += [f"{_amount(amount)} of {name}" for name, amount in sorted(named.items())]
    return f"{split} {', '.join(words)}" if words else ""


def _amount(amount: Amount) -> str:
    return f"{amount} cases" if isinstance(amount, int) else f"{100 * amount:g} %"


def left_for_training(manifest: Manifest) -> list[str]:
    """Say how many cases are left for training, and which datasets have none, or no validation."""
    columns = (map(str, manifest.table[name].to_pylist()) for name in ("dataset", "split"))
    rows = list(zip(*columns, strict=True))
    counts, datasets = Counter(rows), sorted({dataset for dataset, _ in rows})
    left = [f"{name} {counts[name, 'train']} of {_total(counts, name)}" for name in datasets]
    lines = [f"left for training: {', '.join(left)}"]
    if none := [name for name in datasets if not counts[name, "train"]]:
        lines.append(
            f"{', '.join(none)}: no case is left for training, so that nothing can be learnt of "
            f"it; hold out less"
        )
    if not any(split == "validation" for _, split in rows):
        lines.append(
            "no case is for validation, so that the last epoch of a training counts as its best; "
            "--validation 0.1 holds some out"
        )
    return lines


def _total(counts: Counter[tuple[str, str]], dataset: str) -> int:
    return sum(n for (name, _), n in counts.items() if name == dataset)


def new_splits(manifest: Manifest, earlier: Manifest | None) -> str:
    """Say that cases were split, how many, and by which rule; nothing if all had a split before."""
    known = set(earlier.case_ids()) if earlier else set[str]()
    rows = zip(manifest.case_ids(), manifest.table["split"].to_pylist(), strict=True)
    new = Counter(split for case_id, split in rows if case_id not in known)
    if not new:
        return ""
    request = SplitRequest.model_validate(manifest.settings["split"])
    counts = _counts(new)
    kept = "; the others keep their splits" if known else ""
    return (
        f"splits of {sum(new.values())} new cases: {counts} ({split_rule(request)}){kept}; "
        f"`marginalia split` makes others"
    )


def _counts(splits: Counter[str | None]) -> str:
    words: Sequence[tuple[str | None, str]] = [*((s, s) for s in SPLITS), (None, "unassigned")]
    return ", ".join(f"{splits[key]} {word}" for key, word in words if splits[key])
