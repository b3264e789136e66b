"""Model cards: what a run's network is, learnt from and scores, as Hugging Face's cards say it."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from manifests.ground.atomic import write_text
from manifests.ground.errors import CheckpointError
from train.checkpoints.checkpoint import Checkpoint, CheckpointHeader
from train.checkpoints.restoration import load_run
from train.learnt import Learnt
from train.scoring.scores import EVALUATION, SUMMARY_FILE

CARD = "model_card.md"


def write_model_card(run: Path) -> Path:
    """Write `model_card.md` of a run, from its best checkpoint and its scores; return its path.

    Raises:
        CheckpointError: There is no checkpoint, or it is damaged.
    """
    path = run / CARD
    write_text(path, model_card(run.resolve().name, load_run(run), _scores(run)))
    return path


def refresh_model_card(run: Path) -> str:
    """Write the card of a run again after its scores have changed; return why not, if not.

    Only a run's folder has a card: no package, and no folder of folds.
    """
    if not (run / CARD).is_file():
        return ""
    try:
        write_model_card(run)
    except (OSError, CheckpointError) as error:
        return f"the model card cannot be written again: {error}"
    return ""


def model_card(name: str, checkpoint: Checkpoint, scores: dict[str, list[dict]]) -> str:
    """Return the text of a card.

    Args:
        name: The network's.
        checkpoint: The network.
        scores: The rows of its summaries, by split.
    """
    header, learnt = checkpoint.header, checkpoint.learnt
    parts = (_metadata(learnt), _network(name, header), _cases(header, learnt), _terms(learnt))
    lines = [line for part in (*parts, _results(scores)) for line in part]
    return "\n".join(lines) + "\n"


def _metadata(learnt: Learnt) -> Iterator[str]:
    """Yield the block of YAML at the head; whose licence is on the network, nobody decides here."""
    yield "---"
    yield "license: other"
    yield "license_name: terms-of-the-training-data"
    yield "library_name: marginalia"
    yield "pipeline_tag: image-segmentation"
    yield "tags:"
    yield from (f"- {tag}" for tag in ("medical", "ct", "segmentation", "partial-labels"))
    yield "metrics:"
    yield "- dice"
    if learnt.datasets:
        yield "training_datasets:"
        yield from (f"- {json.dumps(name)}" for name in sorted(learnt.datasets))
    yield "---"


def _network(name: str, header: CheckpointHeader) -> Iterator[str]:
    spacing = " x ".join(f"{mm:g}" for mm in header.spacing_mm)
    z, y, x = header.settings.patch_size_zyx
    yield from ("", f"# {_plain(name)}", "")
    yield "A network that segments organs in CT scans, trained with marginalia on partially"
    yield "labelled datasets. It is not a medical device."
    yield from ("", "## Network", "")
    yield f"- Classes ({header.label_space.name}): {', '.join(header.label_space.names)}"
    yield f"- Grid: {spacing} mm; patches of {x} x {y} x {z} voxels; {header.interpolation}"
    yield f"- Method: {header.settings.method}; {header.epochs} epochs, {header.step} batches"
    best = "none" if header.best_score is None else f"{header.best_score:.3f}"
    yield f"- Best mean Dice in the validation: {best}"
    yield f"- Versions: {', '.join(f'{k} {v}' for k, v in header.versions.items())}"


def _cases(header: CheckpointHeader, learnt: Learnt) -> Iterator[str]:
    yield from ("", "## Training data", "")
    if not learnt.cases:
        yield "The checkpoint does not say which cases it was trained on."
        return
    names = header.label_space.names[1:]
    datasets = sorted({case.dataset for case in learnt.cases})
    yield from _table(
        ("dataset", "training cases", "validation cases", *(f"annotate {n}" for n in names)),
        [
            (
                dataset,
                sum(c.part == "train" for c in learnt.cases if c.dataset == dataset),
                sum(c.part == "validation" for c in learnt.cases if c.dataset == dataset),
                *(
                    sum(name in c.annotated for c in learnt.cases if c.dataset == dataset)
                    for name in names
                ),
            )
            for dataset in datasets
        ],
    )
    if counts := Counter(name for case in learnt.cases for name in case.by_model):
        cases = sum(bool(case.by_model) for case in learnt.cases)
        words = ", ".join(f"{name} {n}" for name, n in sorted(counts.items()))
        yield ""
        yield f"In {cases} training cases, another network labelled what the annotator had left"
        yield f"out: {words}. What that network was trained on is in this list, too."
    yield ""
    yield "The checkpoint holds the id and a fingerprint of each case. `marginalia seen` tells"
    yield "whether a scan is among them."


def _terms(learnt: Learnt) -> Iterator[str]:
    yield from ("", "## Licences and citations of the training data", "")
    words = {True: "yes", False: "no", None: "not known"}
    rows = []
    for licence, datasets in learnt.licences().items():
        for name in datasets:
            facts = learnt.datasets.get(name)
            use, alike = (
                words[getattr(facts, key, None)] for key in ("commercial_use", "share_alike")
            )
            rows.append((name, licence, use, alike, facts.citation if facts else ""))
    yield from _table(("dataset", "licence", "commercial use", "share alike", "citation"), rows)


def _results(scores: dict[str, list[dict]]) -> Iterator[str]:
    for split, cells in scores.items():
        yield from ("", f"## Scores on the split {_plain(split)}", "")
        yield from _table(
            ("class", "dataset", "cases", "mean Dice", "mean HD95 in mm"),
            [
                (c["class"], c["dataset"], c["cases"], _number(c, "dice"), _number(c, "hd95_mm"))
                for c in cells
            ],
        )


def _table(heading: Sequence[str], rows: Sequence[Sequence[object]]) -> Iterator[str]:
    yield f"| {' | '.join(heading)} |"
    yield f"|{'---|' * len(heading)}"
    for row in rows:
        yield f"| {' | '.join(_plain(str(cell)) for cell in row)} |"


def _plain(text: str) -> str:
    """Return text of somebody else as one line that stays in its cell."""
    printable = "".join(c if c.isprintable() else " " for c in text)
    return printable.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")


def _number(cell: dict, metric: str) -> str:
    mean = cell.get(f"{metric}_mean")
    return "" if mean is None else f"{mean:.3f}"


def _scores(run: Path) -> dict[str, list[dict]]:
    found: dict[str, list[dict]] = {}
    for path in sorted((run / EVALUATION).glob(f"*/{SUMMARY_FILE}")):
        try:
            summary = json.loads(path.read_text(encoding="utf-8"))
            settings, cells = summary["settings"], summary["cells"]
            name = path.parent.name
            if "where" in settings:  # the folder's name has a hash of it, which tells nobody
                name = f"{settings['split']}, of cases for which {settings['where']}"
        except (OSError, ValueError, KeyError, TypeError):
            continue  # an evaluation that is under way, or another file
        found[name] = cells
    return found
