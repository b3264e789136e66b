"""Ways to train nnU-Net itself on partly labelled cases, and what the mirror does to kidneys.

Needs nnunetv2 and a manifest whose test cases are fully labelled, as `marginalia phantom` makes:

    python -m tests.benchmarks.nnunet_partial phantom --work out --seeds 0 1 2

All ways have one plan, one normalisation and one number of iterations, and none mirrors from left
to right unless its name says so. Adam takes the place of nnU-Net's SGD, which learns nothing in a
few hundred iterations.
"""

import argparse
import json
import os
import shutil
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import nibabel as nib
import numpy as np
import torch

from manifests.exports.nnunet.plan import NnunetPlan, NnunetRequest, plan_nnunet
from manifests.exports.nnunet.write import write_cases, write_documents
from manifests.exports.selection import select_for_export
from train.nnunet.first_stage import in_first_stage

OURS = "nnUNetTrainerMarginal"
STAGED = "BalancedFirstStage"
# way: how partly labelled cases are exported, whose trainer, and what of it is nnU-Net's own again
WAYS = {
    "leave-out": ("leave-out", "stock", ()),
    "naive union": ("trainer", "stock", ()),
    "ignore": ("ignore", "stock", ()),
    "marginal": ("trainer", f"{OURS}NoExclusion{STAGED}", ()),
    "marginal + exclusion": ("trainer", f"{OURS}{STAGED}", ()),
    "naive union, staged": ("trainer", f"{OURS}{STAGED}", ("loss",)),
    "marginal, mirrored": ("trainer", f"{OURS}NoExclusion{STAGED}", ("mirror",)),
    "marginal, unstaged": ("trainer", f"{OURS}NoExclusion", ()),
}
NUMBERS = {"trainer": 601, "ignore": 602, "leave-out": 603}
CONFIGURATION = "3d_fullres"
PATCH, FEATURES, SPACING_MM = [16, 32, 32], [8, 16, 32, 64], 8.0
LEARNING_RATE = 1e-2
EPOCHS = 20


def main() -> None:
    """Run the ways that are asked for, and add their scores to `scores.json`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=WAYS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--iterations", type=int, default=300)
    parser.add_argument("--test-cases", type=int, default=3, help="of each dataset")
    parser.add_argument("--speed", action="store_true", help="only compare the steps' speed")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    plans = prepare(asked.manifest, asked.work.resolve())
    if asked.speed:
        compare_speed(plans["trainer"])
        return
    results = asked.work / "scores.json"
    for seed in asked.seeds:
        for way in asked.ways:
            scores = json.loads(results.read_text()) if results.exists() else {}
            key = f"{way}/{seed}/{asked.iterations}"
            if key not in scores:
                scores[key] = run(way, seed, plans, asked)
                results.write_text(json.dumps(scores, indent=1))
    print(table(json.loads(results.read_text()), asked))  # noqa: T201


def prepare(manifest: Path, work: Path) -> dict[str, NnunetPlan]:
    """Export in three forms; plan the first, and preprocess all of them by its plan."""
    for name in ("raw", "preprocessed", "results"):
        (work / name).mkdir(parents=True, exist_ok=True)
        os.environ[f"nnUNet_{name}"] = str(work / name)
    os.environ["nnUNet_def_n_proc"] = os.environ["nnUNet_n_proc_DA"] = "1"  # noqa: SIM112
    from nnunetv2.experiment_planning import plan_and_preprocess_api as api

    plans: dict[str, NnunetPlan] = {}
    for partial, number in NUMBERS.items():
        request = NnunetRequest(work / "raw" / f"Dataset{number}_Phantom", partial)
        plan = plan_nnunet(select_for_export(manifest), request)
        plans[partial] = plan
        folder = work / "preprocessed" / request.folder.name
        if (folder / "done").exists():
            continue
        assert not [w for w in write_cases(plan) if w.problem]
        write_documents(plan, work / "preprocessed")
        api.extract_fingerprints([number], num_processes=1)
        if partial == "trainer":
            _small(folder / f"{api.plan_experiments([number])}.json")
        else:
            first = work / "preprocessed" / "Dataset601_Phantom" / "nnUNetPlans.json"
            document = json.loads(first.read_text()) | {"dataset_name": folder.name}
            (folder / "nnUNetPlans.json").write_text(json.dumps(document))
            shutil.copy(request.folder / "dataset.json", folder)
        api.preprocess([number], "nnUNetPlans", configurations=[CONFIGURATION], num_processes=[1])
        (folder / "done").touch()
    os.environ["nnUNet_n_proc_DA"] = "0"  # noqa: SIM112
    return plans


def _small(path: Path) -> None:
    document = json.loads(path.read_text())
    configuration = document["configurations"][CONFIGURATION]
    configuration["patch_size"] = PATCH
    configuration["batch_size"] = 2
    configuration["spacing"] = [SPACING_MM] * 3
    architecture = configuration["architecture"]["arch_kwargs"]
    levels = len(FEATURES)
    architecture |= {
        "n_stages": levels,
        "features_per_stage": FEATURES,
        "kernel_sizes": [[3, 3, 3]] * levels,
        "strides": [[1, 1, 1]] + [[2, 2, 2]] * (levels - 1),
        "n_conv_per_stage": [2] * levels,
        "n_conv_per_stage_decoder": [2] * (levels - 1),
    }
    path.write_text(json.dumps(document))


def new_trainer(way: str, plan: NnunetPlan, iterations: int, seed: int) -> Any:
    """Return the way's trainer, with Adam and a small number of iterations."""
    from nnunetv2.training.lr_scheduler.polylr import PolyLRScheduler

    class Quick(_trainer_class(way)):
        def configure_optimizers(self) -> Any:
            optimiser = torch.optim.Adam(self.network.parameters(), LEARNING_RATE)
            return optimiser, PolyLRScheduler(optimiser, LEARNING_RATE, self.num_epochs)

        def plot_network_architecture(self) -> None: ...

    Quick.__name__ = f"{''.join(c for c in way if c.isalpha())}Seed{seed}"
    base = Path(os.environ["nnUNet_preprocessed"]) / plan.request.folder.name  # noqa: SIM112
    plans = json.loads((base / "nnUNetPlans.json").read_text()) | {"continue_training": False}
    dataset = json.loads((base / "dataset.json").read_text())
    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002 -- nnU-Net's own generator
    trainer = Quick(plans, CONFIGURATION, 0, dataset, torch.device("cpu"))
    trainer.num_epochs = EPOCHS
    trainer.num_iterations_per_epoch = iterations // EPOCHS
    trainer.num_val_iterations_per_epoch = 4
    trainer.save_every = 10 * EPOCHS
    trainer.logger.plot_progress_png = lambda _: None
    trainer.save_checkpoint = lambda _: None
    return trainer


def _trainer_class(way: str) -> type:
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    from train.nnunet.external import nnunet_trainer_marginal as ours

    _, name, again = WAYS[way]
    mirror = "configure_rotation_dummyDA_mirroring_and_inital_patch_size"

    def no_sides(self: Any) -> Any:
        *rest, _ = getattr(nnUNetTrainer, mirror)(self)
        self.inference_allowed_mirroring_axes = (0, 1)
        return (*rest, (0, 1))

    if name == "stock":
        return type("Stock", (nnUNetTrainer,), {mirror: no_sides})
    theirs = {
        "mirror": (mirror,),
        # its losses know no padding
        "loss": ("_build_loss", "get_training_transforms", "get_validation_transforms"),
    }
    back = {hook: nnUNetTrainer.__dict__[hook] for part in again for hook in theirs[part]}
    return type("Ours", (getattr(ours, name),), back)


def run(
    way: str, seed: int, plans: dict[str, NnunetPlan], asked: argparse.Namespace
) -> dict[str, Any]:
    """Train one network, and score it on fully labelled test cases."""
    plan = plans[WAYS[way][0]]
    start = perf_counter()
    trainer = new_trainer(way, plan, asked.iterations, seed)
    trainer.run_training()
    trained = perf_counter()
    cases = score(trainer, plan, asked.test_cases)
    online = trainer.logger.get_value("dice_per_class_or_region", step=None)
    stage = [in_first_stage(e, EPOCHS, online[:e]) for e in range(EPOCHS)]
    return {
        "train_seconds": trained - start,
        "first_stage": sum(stage) if getattr(trainer, "first_stage", False) else 0,
        "cases": cases,
    }


def table(scores: dict[str, Any], asked: argparse.Namespace) -> str:
    """Return the mean Dice of each way and organ, and intervals over the test cases.

    A case's value is its mean over the seeds, and over the organs.
    """
    lines: list[str] = []
    first: np.ndarray | None = None
    for way in asked.ways:
        keys = [f"{way}/{seed}/{asked.iterations}" for seed in asked.seeds]
        found = [scores[key]["cases"] for key in keys if key in scores]
        if not found:
            continue
        dice = np.array([[list(c.values()) for c in run.values()] for run in found])
        cases = dice.mean((0, 2))
        first = cases if first is None else first
        picked = np.random.default_rng(0).integers(0, len(cases), (10_000, len(cases)))
        shown = []
        for values in (cases, cases - first):
            low, high = np.quantile(values[picked].mean(1), (0.025, 0.975))
            shown.append(f"{values.mean():.2f} [{low:.2f}, {high:.2f}]")
        organs = " | ".join(f"{x:.2f}" for x in dice.mean((0, 1)))
        seeds = ", ".join(f"{x:.2f}" for x in dice.mean((1, 2)))
        stages = [scores[key]["first_stage"] for key in keys if key in scores]
        lines.append(f"| {way} | {organs} | {shown[0]} | {shown[1]} | {seeds} | {stages} |")
    return "\n".join(lines)


def score(trainer: Any, plan: NnunetPlan, number: int) -> dict[str, dict[str, float]]:
    """Return the Dice of each organ of some test cases of every dataset."""
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    trainer.set_deep_supervision_enabled(False)
    trainer.network.eval()
    predictor = nnUNetPredictor(use_mirroring=False, device=torch.device("cpu"), allow_tqdm=False)
    predictor.manual_initialization(
        trainer.network,
        trainer.plans_manager,
        trainer.configuration_manager,
        [trainer.network.state_dict()],
        trainer.dataset_json,
        "nnUNetTrainer",
        trainer.inference_allowed_mirroring_axes,
    )
    names = plan.manifest.label_space.names
    seen: dict[str, int] = {}
    found: dict[str, dict[str, float]] = {}
    reader = trainer.plans_manager.image_reader_writer_class()
    for exported in plan.test:
        dataset = exported.case.dataset
        seen[dataset] = seen.get(dataset, 0) + 1
        if seen[dataset] > number:
            continue
        image, properties = reader.read_images([str(exported.image)])
        predicted = predictor.predict_single_npy_array(image, properties)
        truth = reader.read_seg(str(exported.label))[0][0]
        found[exported.name] = {
            name: _dice(predicted == n, truth == n) for n, name in enumerate(names) if n
        }
        assert nib.load(exported.label).shape == predicted.shape[::-1]
    return found


def _dice(found: np.ndarray, there: np.ndarray) -> float:
    total = int(found.sum() + there.sum())
    return 2 * int((found & there).sum()) / total if there.any() else float("nan")


def compare_speed(plan: NnunetPlan, rounds: int = 31) -> None:
    """Compare the processor time of both trainers' steps on the same batch, in turns."""
    trainers = {w: new_trainer(w, plan, EPOCHS, 0) for w in ("naive union", "marginal + exclusion")}
    for trainer in trainers.values():
        trainer.first_stage = False  # which has no partly labelled batch
        trainer.initialize()
    ours = trainers["marginal + exclusion"]
    loader, _ = ours.get_dataloaders()
    batch = next(loader)
    while ours.annotations.merged[batch["keys"][0]] == tuple(range(len(ours.entries) + 1)):
        batch = next(loader)  # a partly labelled sample has all four losses
    targets = [t.clamp(0) for t in batch["target"]]
    seconds: dict[str, list[float]] = {way: [] for way in trainers}
    for n in range(rounds):
        # whoever comes second finds other things in the cache
        for way in sorted(trainers, reverse=bool(n % 2)):
            start = process_time()
            trainers[way].train_step({**batch, "target": [t.clone() for t in targets]})
            if n:  # the first round warms up
                seconds[way].append(process_time() - start)
    theirs, of_ours = (np.array(values) for values in seconds.values())
    ratio = np.quantile(of_ours / theirs, (0.25, 0.5, 0.75))
    print(f"step: {min(theirs):.4f} s, ours {min(of_ours):.4f} s at best")  # noqa: T201
    print(f"ratio {ratio[1]:.3f}, quartiles {ratio[0]:.3f} and {ratio[2]:.3f}")  # noqa: T201


if __name__ == "__main__":
    main()
