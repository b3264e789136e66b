"""The settings beside the checkpoints of a run, from which its evaluation learns its manifest."""

import json
from pathlib import Path

from manifests.ground.errors import TrainingError
from train.checkpoints.fold_folders import fold_folders

SETTINGS = "settings.json"


def manifest_of(run: Path) -> Path:
    """Return the manifest that a run, or a cross-validation, learnt from.

    Raises:
        TrainingError: The run does not say it, or it is no longer there.
    """
    file = next(iter(fold_folders(run)), run) / SETTINGS
    try:
        place = json.loads(file.read_text(encoding="utf-8")).get("manifest")
    except (OSError, ValueError, AttributeError):
        place = None
    advice = f"name it, as in `marginalia evaluate {run} MANIFEST`"
    if not isinstance(place, str):
        msg = f"{run} does not say which manifest it learnt from (expected it in {file}); {advice}"
        raise TrainingError(msg)
    if not Path(place).is_file():
        msg = f"{run} learnt from {place}, which is no longer there; {advice}"
        raise TrainingError(msg)
    return Path(place)
