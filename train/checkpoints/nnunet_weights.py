"""Weights of nnU-Net, and ours for it: the same U-Net under other names.

`PlainConvUNet` with two convolutions at each level is our network, layer by layer, with two
differences. Its convolutions have biases, which the instance norm behind them takes away again. Its
transposed convolutions have biases that stay; ours have them with `upsampling_bias`.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from torch import Tensor

from manifests.classes.label_space import BACKGROUND, LabelClass, LabelSpace
from manifests.classes.structure_names import structures_named
from manifests.classes.structures import Structure, vocabulary
from manifests.ground.errors import CheckpointError, MarginaliaError
from train.checkpoints.checkpoint import NETWORK, Checkpoint, CheckpointHeader
from train.model import Normalisation
from train.networks.network import plan_levels
from train.settings import resolve

SCHEME = "nnunet:"  # as in `nnunet:FOLDER` or `nnunet:FOLDER:FOLD`
FINAL = "checkpoint_final.pth"
PLAIN = "PlainConvUNet"
READER = "NibabelIOWithReorient"  # turns scans to RAS, while our cases are LPS
GREY = "#808080"

# What an nnU-Net checkpoint holds beside tensors and plain values, all of it data: NumPy's scalars.
_SCALAR: Any = np.float64(0).__reduce__()[0]  # the function that makes one
_NUMPY_TYPES = (
    np.dtype,
    _SCALAR,
    *(type(np.dtype(name)) for name in ("float64", "float32", "int64", "int32", "bool")),
)


@dataclass(frozen=True)
class NnunetModel:
    """A folder that nnU-Net trained, `TRAINER__PLANS__CONFIGURATION`.

    Attributes:
        path: Of the checkpoint.
        weights: nnU-Net's tensors by its own names.
        plans: Of the dataset.
        configuration: Of the network.
        dataset: `dataset.json`.
    """

    path: Path
    weights: dict[str, Tensor]
    plans: dict[str, Any]
    configuration: dict[str, Any]
    dataset: dict[str, Any]


def load_nnunet(reference: str) -> Checkpoint:
    """Return a checkpoint of nnU-Net as one of ours, to begin a training with.

    Args:
        reference: `nnunet:FOLDER` or `nnunet:FOLDER:FOLD`; the fold is 0 unless it is named.

    Raises:
        CheckpointError: It cannot be read, or its network is none of ours.
    """
    folder, _, fold = reference.removeprefix(SCHEME).rpartition(":")
    if not folder:
        folder, fold = fold, "0"
    return as_checkpoint(read_nnunet(Path(folder), fold))


def read_nnunet(folder: Path, fold: str = "0") -> NnunetModel:
    """Read what nnU-Net trained; no code in it is run.

    `torch.load` with `weights_only` refuses nnU-Net's checkpoints for the NumPy scalars in their
    log; just those types are allowed beside tensors.

    Raises:
        CheckpointError: A file is missing, damaged or holds anything else.
    """
    path = folder / f"fold_{fold}" / FINAL
    try:
        plans = json.loads((folder / "plans.json").read_text(encoding="utf-8"))
        dataset = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
        with torch.serialization.safe_globals([*_NUMPY_TYPES]):
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        configuration = _configuration(plans, checkpoint["init_args"]["configuration"])
        weights = {str(name): tensor for name, tensor in checkpoint["network_weights"].items()}
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, UnpicklingError) as error:
        first = str(error).strip().splitlines()[:1]
        msg = (
            f"{path} cannot be read as nnU-Net's: expected a folder TRAINER__PLANS__CONFIGURATION "
            f"with plans.json, dataset.json and fold_{fold}/{FINAL}; got {first}"
        )
        raise CheckpointError(msg) from error
    return NnunetModel(path, weights, plans, configuration, dataset)


def as_checkpoint(model: NnunetModel) -> Checkpoint:
    """Return nnU-Net's weights under our names, with what our header says.

    A network that saw its scans in RAS is turned: its kernels are mirrored along x and y, which is
    exact but for the strided convolutions, that see their input one voxel further.

    Raises:
        CheckpointError: The network is none of ours.
    """
    _refuse_other_networks(model)
    architecture = model.configuration["architecture"]["arch_kwargs"]
    spacing = model.configuration["spacing"]
    overrides = {
        "patch_size_zyx": list(model.configuration["patch_size"]),
        "filters": list(architecture["features_per_stage"]),
        "deep_supervision": True,
        "upsampling_bias": True,
    }
    try:
        header = CheckpointHeader(
            label_space=label_space_of(model.dataset),
            settings=resolve("default", [f"{k}={json.dumps(v)}" for k, v in overrides.items()]),
            normalisation=_normalisation(model.plans),
            spacing_mm=(spacing[2], spacing[1], spacing[0]),
            manifest_sha256="",
            losses=(),
            step=0,
            best_score=None,
        )
        _refuse_other_levels(model, header)
    except (ValueError, KeyError, TypeError, IndexError, MarginaliaError) as error:
        msg = f"{model.path}: its plan or its labels are none of ours: {error}"
        raise CheckpointError(msg) from error
    turned = model.plans.get("image_reader_writer") == READER
    tensors = {
        NETWORK + ours: _turned(model.weights[theirs], turned=turned)
        for ours, theirs in names_of_tensors(header.settings.filters)
        if theirs in model.weights
    }
    return Checkpoint(model.path, header, tensors)


def names_of_tensors(filters: Sequence[int]) -> Iterator[tuple[str, str]]:
    """Yield our name and nnU-Net's of each tensor of a network with that many levels."""
    levels = len(filters)
    ups = levels - 1
    blocks = {
        "unet.input_block": "encoder.stages.0.0",
        **{f"unet.downsamples.{n}": f"encoder.stages.{n + 1}.0" for n in range(levels - 2)},
        "unet.bottleneck": f"encoder.stages.{levels - 1}.0",
        **{f"unet.upsamples.{n}.conv_block": f"decoder.stages.{n}" for n in range(ups)},
    }
    for ours, theirs in blocks.items():
        for n in (0, 1):
            yield f"{ours}.conv{n + 1}.conv.weight", f"{theirs}.convs.{n}.conv.weight"
            for what in ("weight", "bias"):
                yield f"{ours}.norm{n + 1}.{what}", f"{theirs}.convs.{n}.norm.{what}"
    heads = {"unet.output_block.conv.conv": f"decoder.seg_layers.{ups - 1}"}
    for n in range(max(1, levels - 3)):  # from the finest on, as the network has them
        heads[f"unet.deep_supervision_heads.{n}.conv.conv"] = f"decoder.seg_layers.{ups - 2 - n}"
    for n in range(ups):
        heads[f"unet.upsamples.{n}.transp_conv.conv"] = f"decoder.transpconvs.{n}"
    for ours, theirs in heads.items():
        for what in ("weight", "bias"):
            yield f"{ours}.{what}", f"{theirs}.{what}"


def label_space_of(dataset: Mapping[str, Any]) -> LabelSpace:
    """Return the classes of a `dataset.json`, by our names where a name is understood.

    Raises:
        ValueError: A label is a region, or the values do not count from 0.
    """
    labels = {name: n for name, n in dataset["labels"].items() if name != "ignore"}
    if sorted(map(str, labels.values())) != sorted(map(str, range(len(labels)))):
        msg = f"expected one value for each class, from 0 on, got {labels}"
        raise ValueError(msg)
    names = [_our_name(name) for name, n in sorted(labels.items(), key=lambda kv: kv[1]) if n]
    return LabelSpace(
        name="nnunet",
        structures={name: Structure() for name in names if name not in vocabulary()},
        classes=tuple(LabelClass(name=n, structures=(n,), colour=GREY) for n in names),
    )


def _our_name(name: str) -> str:
    found = structures_named(name)
    if len(found) == 1:
        return found[0]
    plain = "_".join("".join(c if c.isalnum() else " " for c in name.lower()).split())
    return plain if plain and plain[0].isalpha() and plain != BACKGROUND else f"label_{plain}"


def _configuration(plans: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return a configuration with what it inherits."""
    own = plans["configurations"][name]
    if "inherits_from" not in own:
        return own
    return {**_configuration(plans, own["inherits_from"]), **own}


def _normalisation(plans: Mapping[str, Any]) -> Normalisation:
    found = plans["foreground_intensity_properties_per_channel"]["0"]
    names = ("percentile_00_5", "percentile_99_5", "mean", "std")
    return Normalisation(*(float(found[name]) for name in names))


def _refuse_other_networks(model: NnunetModel) -> None:
    architecture = model.configuration.get("architecture", {})
    name = str(architecture.get("network_class_name", "none")).rpartition(".")[2]
    arguments = architecture.get("arch_kwargs", {})
    convolutions = [
        *_listed(arguments.get("n_conv_per_stage")),
        *_listed(arguments.get("n_conv_per_stage_decoder")),
    ]
    schemes = model.configuration.get("normalization_schemes")
    problems = [
        *([f"the network {name}, expected {PLAIN}"] if name != PLAIN else []),
        *([f"{convolutions} convolutions, expected 2 a level"] if {*convolutions} != {2} else []),
        *([f"the input {schemes}, expected one CT"] if schemes != ["CTNormalization"] else []),
        *(["permuted axes"] if model.plans.get("transpose_forward") != [0, 1, 2] else []),
    ]
    if problems:
        msg = f"{model.path}: its network is none of ours: it has {'; '.join(problems)}"
        raise CheckpointError(msg)


def _refuse_other_levels(model: NnunetModel, header: CheckpointHeader) -> None:
    architecture = model.configuration["architecture"]["arch_kwargs"]
    levels = plan_levels(header.network)
    ours = [[*level.kernel_zyx] for level in levels], [[*level.stride_zyx] for level in levels]
    theirs = tuple([[*row] for row in architecture[name]] for name in ("kernel_sizes", "strides"))
    if ours != theirs:
        msg = (
            f"kernels and strides {theirs}, where our rule gives {ours} for this patch and spacing"
        )
        raise CheckpointError(msg)


def _listed(value: Any) -> list[int]:  # noqa: ANN401
    return [*value] if isinstance(value, list | tuple) else [value]


def _turned(weights: Tensor, *, turned: bool) -> Tensor:
    """Return kernels mirrored along y and x, if asked for."""
    return weights.flip(-1, -2).contiguous() if turned and weights.ndim > 2 else weights
