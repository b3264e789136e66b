"""What a network learnt from: cases with their licences, and fingerprints that recognise them."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from manifests.classes.label_space import LabelSpace
from manifests.ground.errors import CheckpointError, explain
from manifests.table.case import Case
from manifests.table.dataset_facts import facts_of
from manifests.table.manifest import Manifest

if TYPE_CHECKING:
    from torch import Tensor  # slow to import

MOST_BYTES = 1 << 30  # of a checkpoint's list of cases, which has 4 kB for each
MOST_OF_FINGERPRINTS = MOST_BYTES * 3 // 4  # of these bytes; with more of them, none are kept
NOT_KEPT = (
    "the fingerprints of the training cases are too many for a checkpoint, so that prediction will "
    "not recognise a scan that it was trained on"
)

Part = Literal["train", "validation"]


class _Facts(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class LearntDataset(_Facts):
    """Terms and source of a dataset, as its recipe says; None is not known."""

    title: str = ""
    citation: str = ""
    homepage: str = ""
    licence: str = ""
    commercial_use: bool | None = None
    share_alike: bool | None = None


class LearntCase(_Facts):
    """One case.

    Attributes:
        part: Whether its voxels changed the weights, or chose the best of them.
        annotated: The classes that it tells apart.
        by_model: Further classes that it learnt from, which a model told apart.
        fingerprint: As the manifest has it; empty if it has none.
    """

    case_id: str
    dataset: str
    part: Part
    licence: str
    annotated: tuple[str, ...] = ()
    by_model: tuple[str, ...] = ()
    fingerprint: str = ""


class Learnt(_Facts):
    """The cases of a network, and facts of their datasets by name."""

    datasets: dict[str, LearntDataset] = {}
    cases: tuple[LearntCase, ...] = ()

    @classmethod
    def of(
        cls, manifest: Manifest, parts: Mapping[Part, Sequence[Case]], *, completed: bool = False
    ) -> "Learnt":
        """Return what a network learns from: cases of a manifest, by what they are for.

        `completed` says whether it learns from labels that a model completed.
        """
        space = manifest.label_space
        known, kept = facts_of(manifest.settings), keeps_fingerprints(manifest)
        cases = tuple(
            LearntCase.model_construct(  # checked already, as parts of a manifest
                case_id=c.case_id,
                dataset=c.dataset,
                part=part,
                licence=c.licence,
                annotated=c.annotated,
                by_model=labelled_by_model(c, space) if completed and part == "train" else (),
                fingerprint=c.fingerprint if kept else "",
            )
            for part, found in parts.items()
            for c in found
        )
        datasets = {
            name: LearntDataset.model_validate(known[name].model_dump())
            for name in sorted({c.dataset for c in cases} & known.keys())
        }
        return cls(datasets=datasets, cases=cases)

    def after(self, earlier: "Learnt") -> "Learnt":
        """Return these cases, and what the same weights learnt from before.

        A case that was ever trained on stays one.
        """
        cases: dict[tuple[str, str], LearntCase] = {}
        for case in (*self.cases, *earlier.cases):
            key = case.case_id, case.fingerprint
            if key not in cases or cases[key].part != "train" == case.part:
                cases[key] = case
        datasets = {**earlier.datasets, **self.datasets}
        return Learnt(datasets=datasets, cases=tuple(cases.values()))

    def licences(self) -> dict[str, tuple[str, ...]]:
        """Return the datasets of each licence that binds the network."""
        found: dict[str, set[str]] = {}
        for case in self.cases:
            found.setdefault(case.licence, set()).add(case.dataset)
        return {licence: tuple(sorted(found[licence])) for licence in sorted(found)}

    def to_tensor(self) -> "Tensor":
        """Return it as the bytes of a JSON text, for a checkpoint."""
        import torch

        return torch.from_numpy(np.frombuffer(self.model_dump_json().encode(), np.uint8).copy())

    @classmethod
    def from_tensor(cls, tensor: "Tensor") -> "Learnt":
        """Read what `to_tensor` gave.

        Raises:
            CheckpointError: It is something else, or larger than any list of cases.
        """
        import torch

        if tensor.dtype != torch.uint8 or tensor.ndim != 1 or tensor.numel() > MOST_BYTES:
            msg = (
                f"the checkpoint's list of cases: expected at most {MOST_BYTES:,} bytes, got "
                f"{tensor.dtype} {tuple(tensor.shape)}; use another checkpoint"
            )
            raise CheckpointError(msg)
        return cls.from_json(tensor.numpy().tobytes())

    @classmethod
    def from_json(cls, text: bytes, what: str = "the checkpoint's list of cases") -> "Learnt":
        """Read its JSON text, which messages call `what`.

        Raises:
            CheckpointError: It is something else.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise CheckpointError(explain(error, what)) from error


def labelled_by_model(case: Case, space: LabelSpace) -> tuple[str, ...]:
    """Return the foreground classes that a model told apart in a case."""
    origins = zip(space.names[1:], (case.origin or ())[1:], strict=False)
    return tuple(name for name, origin in origins if origin == "model")


def keeps_fingerprints(manifest: Manifest) -> bool:
    """Return whether a checkpoint keeps the fingerprints of a manifest's cases."""
    has = "fingerprint" in manifest.table.column_names
    return has and manifest.table["fingerprint"].nbytes <= MOST_OF_FINGERPRINTS
