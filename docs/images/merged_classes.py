"""Draw merged_classes.png: one slice of a phantom, as three annotators label it."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.patches import Patch

from curate.phantom.patient import STRUCTURES, draw_patient, render
from manifests.classes.label_space import load_label_space
from manifests.classes.merged import groups_of
from manifests.volumes.grid import Grid

GRID = Grid((190, 150, 1), (2.0, 2.0, 2.0), origin_mm=(-189.0, -185.0, 25.0))
SPACE = load_label_space("abdomen5")
ANNOTATIONS = {
    "every organ is labelled": (0, 1, 2, 3, 4, 5),
    "only the liver is labelled": (0, 1, 0, 0, 0, 0),
    "the kidneys are labelled as one": (0, 0, 0, 0, 4, 4),
}


def main():
    generator = np.random.default_rng(4)
    hu, structures = render(draw_patient(generator), GRID)
    organs = np.array([0, *(SPACE.class_of.get(name, 0) for name in STRUCTURES)])[structures[0]]
    figure, axes = plt.subplots(1, 3, figsize=(11, 4), layout="constrained")
    for axis, (title, merged) in zip(axes, ANNOTATIONS.items(), strict=True):
        axis.imshow(hu[0], cmap="gray", vmin=-160, vmax=240)
        label = np.array(merged)[organs]
        handles = []
        for representative, group in groups_of(merged).items():
            words = " + ".join(SPACE.names[n].replace("_", " ") for n in group)
            if representative:
                colour = to_rgb(SPACE.classes[representative - 1].colour)
                axis.imshow(
                    np.dstack(
                        [np.full(label.shape, c) for c in colour]
                        + [0.75 * (label == representative)]
                    )
                )
                handles.append(Patch(color=colour, label=words))
            else:
                handles.append(Patch(facecolor="0.4", label=words.replace(" + ", " +\n", 2)))
        axis.set_title(f"{title}\nmerged = {', '.join(map(str, merged))}", fontsize=11)
        axis.legend(
            handles=handles, loc="upper center", bbox_to_anchor=(0.5, 0), fontsize=8, ncols=2
        )
        axis.set_axis_off()
    figure.savefig(Path(__file__).with_suffix(".png"), dpi=90)


if __name__ == "__main__":
    main()
