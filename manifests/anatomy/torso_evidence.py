"""What a CT alone says of its header's axes: spine, table, the liver's bulk and the lungs.

The thresholds here and in `torso` are round numbers of anatomy and of Hounsfield units. Real
scans of two patients, and slabs, turns, noise and offsets of them, were used to see that none lies
near its limit. Two were set by phantoms that were accused wrongly: how dense a spine may be, by gut
full of contrast medium, and how much lung a section may hold, by the heart.
"""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportMissingTypeStubs=false

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from manifests.anatomy.anatomy import Evidence, anatomy
from manifests.anatomy.torso import STEP_MM, Spine, Torso

SOLID_HU = (20.0, 250.0)
SOLID_MM = 28.0  # a neighbourhood of this size lies in an organ, not in gut or muscle
SOLID_SHARE = 0.85
CHEST_SHARE = 0.2  # of lung in the body's section; among more lung the heart is the largest organ
ENOUGH_REACH_MM = 100.0
MOST_REACH_MM = 180.0
TABLE_HU = -700.0
CENTRAL_MM = 100.0
LUNG_CM2 = 15.0
FREE_MM = 12.0
SAME_BULK = 0.7  # the neck is thinner than the chest, the abdomen is not

CM2 = (STEP_MM / 10) ** 2


def torso_evidence(torso: Torso) -> list[Evidence]:
    """All that the image shows."""
    return [*_front_and_back(torso), *_left_and_right(torso), *_head_and_foot(torso)]


def _front_and_back(torso: Torso) -> Iterator[Evidence]:
    """The spine is behind the body's middle, and so is the table, unless the patient lies prone."""
    scales = anatomy().signs
    if torso.spine and torso.spine.behind_middle is not None:
        share = torso.spine.behind_middle
        way = "behind" if share > 0 else "in front of"
        description = f"spine {abs(share):.0%} of the body's depth {way} its middle"
        yield Evidence("back_front", scales.spine_behind_middle.score(share), description)
    share = _table_share(torso)
    if share:
        way = "behind" if share > 0 else "in front of"
        description = f"table under {abs(share):.0%} of the body, {way} it"
        yield Evidence("back_front", scales.table_behind_body.score(share), description)


def _table_share(torso: Torso) -> float:
    """Share of the body's middle columns with something behind it, less that in front of it."""
    body = torso.body
    columns = np.asarray(body.any(axis=1))
    middle = np.median(np.nonzero(columns)[1])
    columns[:, STEP_MM * abs(np.arange(columns.shape[1]) - middle) > CENTRAL_MM] = False
    rows = np.arange(body.shape[1])[None, :, None]
    first, last = body.argmax(axis=1), body.shape[1] - 1 - body[:, ::-1].argmax(axis=1)
    dense = (torso.hu > TABLE_HU) & ~body
    # the skin's edge is blurred into the next voxel
    front = (dense & (rows < first[:, None] - 1)).any(axis=1) & columns
    back = (dense & (rows > last[:, None] + 1)).any(axis=1) & columns
    return float((np.count_nonzero(back) - np.count_nonzero(front)) / columns.sum())


def _left_and_right(torso: Torso) -> Iterator[Evidence]:
    """The largest solid organ, the liver, is on the right."""
    if torso.spine is None:
        return
    more_cm2 = _more_on_the_right_cm2(torso, torso.spine)
    if more_cm2 is None:
        return
    scale = anatomy().signs.bulk_on_the_right
    side = "right" if more_cm2 > 0 else "left"
    description = f"{abs(more_cm2):.0f} cm2 more of solid organs {side} of the spine"
    yield Evidence("left_right", scale.score(more_cm2), description)


def _more_on_the_right_cm2(torso: Torso, spine: Spine) -> float | None:
    """How much more solid section lies right of the spine, where the sides differ most.

    Where some windows have more on the right and others on the left, the one is set off against
    the other. The sides are compared as far as the image reaches on both.
    """
    offset_mm = STEP_MM * (np.arange(torso.hu.shape[2]) - spine.column)
    reach_mm = min(-offset_mm[0], offset_mm[-1], MOST_REACH_MM)
    if reach_mm < ENOUGH_REACH_MM:
        return None
    columns_cm2 = CM2 * _deep_in_solid(torso).sum(axis=1)
    side = np.sign(offset_mm) * (abs(offset_mm) <= reach_mm)
    abdomen = [w for w in torso.windows if torso.lungs[w].sum() < CHEST_SHARE * torso.body[w].sum()]
    more_cm2 = [0.0, *(float((columns_cm2[w] @ -side).mean()) for w in abdomen)]
    return max(more_cm2) + min(more_cm2)


def _deep_in_solid(torso: Torso) -> NDArray[np.bool_]:
    """Mark what is surrounded by solid tissue."""
    smooth = ndimage.uniform_filter(torso.hu.astype(np.float32), 3, axes=(1, 2))
    solid = (smooth > SOLID_HU[0]) & (smooth < SOLID_HU[1]) & torso.body
    size = round(SOLID_MM / STEP_MM)
    return ndimage.uniform_filter(solid.astype(np.float32), size) > SOLID_SHARE


def _head_and_foot(torso: Torso) -> Iterator[Evidence]:
    """An image that ends in lungs at one end, and in a body as thick without lungs at the other."""
    lung_cm2 = CM2 * torso.lungs.sum(axis=(1, 2))
    body_cm2 = CM2 * torso.body.sum(axis=(1, 2))
    ends = round(FREE_MM / STEP_MM)
    holds = lung_cm2 > LUNG_CM2
    foot, head = holds[:ends].all(), holds[-ends:].all()
    thick = SAME_BULK * max(body_cm2[:ends].mean(), body_cm2[-ends:].mean())
    if foot == head or min(body_cm2[:ends].mean(), body_cm2[-ends:].mean()) < thick:
        return
    where = np.flatnonzero(lung_cm2 > 0)
    free_mm = STEP_MM * float(where[0] if head else len(holds) - 1 - where[-1])
    description = (
        f"lungs at the image's {'head' if head else 'foot'}, none in the other {free_mm:.0f} mm"
    )
    score = anatomy().signs.lungs_at_the_head.score(free_mm if head else -free_mm)
    yield Evidence("head_foot", score, description)
