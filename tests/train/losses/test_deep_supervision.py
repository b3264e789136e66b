"""Deep supervision: thin structures at low resolution, and the levels' weights."""

import pytest
import torch

from manifests.ground.errors import TrainingError
from train.losses import MarginalExclusionLoss
from train.losses.deep_supervision import mean_over_levels, pool_target

FULL, LIVER_ONLY = [0, 1, 2, 3], [0, 1, 0, 0]
LOSS = MarginalExclusionLoss()


def thin_tube(size=24):
    """A helix of class 1, one voxel thick, that winds through background."""
    target = torch.zeros(1, size, size, size, dtype=torch.long)
    turns = torch.linspace(0, 4 * torch.pi, 2000)
    z = torch.linspace(0, size - 1, 2000).round().long()
    y, x = (((size / 3) * f(turns) + size / 2).round().long() for f in (torch.sin, torch.cos))
    target[0, z, y, x] = 1
    return target


def components(mask):
    import cc3d

    return int(cc3d.connected_components(mask.numpy(), connectivity=26).max())


@pytest.mark.parametrize("size", [(12, 12, 12), (6, 6, 6), (24, 3, 3), (5, 7, 9)])
def test_a_thin_tube_stays_in_one_piece(size):
    target = thin_tube()
    assert components(target[0]) == 1
    pooled = pool_target(target, 2, size)
    assert pooled.shape == (1, *size)
    assert components(pooled[0]) == 1
    ends = pooled[0].flatten(1).any(1)
    assert ends[0]
    assert ends[-1]


def test_neither_nearest_neighbours_nor_a_majority_keep_the_tube():
    # or else the test above would show nothing
    target = thin_tube()
    nearest = target[0, ::4, ::4, ::4]
    majority = torch.nn.functional.avg_pool3d(target.float(), 4)[0] > 0.5
    assert components(nearest) != 1
    assert not majority.any()


def test_the_rarest_foreground_class_wins_and_background_never():
    target = torch.tensor([[1, 1, 1, 2, 0, 1, 3, 3, 0, 0]])
    assert pool_target(target, 4, (5,)).tolist() == [[1, 2, 1, 3, 0]]
    rarer_background = torch.tensor([[1, 1, 1, 0]])
    assert pool_target(rarer_background, 2, (2,)).tolist() == [[1, 1]]


def test_rarity_is_each_samples_own():
    target = torch.tensor([[1, 2, 2, 2], [1, 2, 1, 1]])
    assert pool_target(target, 3, (2,)).tolist() == [[1, 2], [2, 1]]


def test_full_resolution_and_the_type_of_the_labels_are_kept():
    target = torch.randint(4, (2, 6, 5, 4), dtype=torch.uint8)
    assert torch.equal(pool_target(target, 4, (6, 5, 4)), target)
    assert pool_target(target, 4, (3, 3, 2)).dtype == torch.uint8


@pytest.mark.parametrize("space", [(8,), (8, 6), (8, 6, 4)])
def test_merged_labels_stay_representatives(space):
    merged = torch.tensor([FULL, LIVER_ONLY])
    labels = torch.randint(4, (2, *space))
    target = merged.gather(1, labels.flatten(1)).view_as(labels)
    pooled = pool_target(target, 4, [n // 2 for n in space])
    for labels_of_sample, row in zip(pooled, (FULL, LIVER_ONLY), strict=True):
        assert set(labels_of_sample.unique().tolist()) <= set(row)


@pytest.mark.parametrize("size", [(9, 4), (4,), (0, 4)])
def test_sizes_that_do_not_fit_are_refused(size):
    with pytest.raises(TrainingError, match="cannot pool"):
        pool_target(torch.zeros(1, 8, 8, dtype=torch.long), 2, size)


def levels_of(logits):
    return [logits, logits[..., ::2, ::2, ::2], logits[..., ::4, ::4, ::4]]


def test_levels_weigh_one_a_half_and_a_quarter_over_their_sum():
    merged = torch.tensor([FULL, LIVER_ONLY])
    labels = torch.randint(4, (2, 8, 8, 8))
    target = merged.gather(1, labels.flatten(1)).view_as(labels)
    levels = levels_of(torch.randn(2, 4, 8, 8, 8, dtype=torch.float64))
    exclusion = torch.tensor([0.0, 1.0])
    each = [
        LOSS(
            logits,
            pool_target(target, 4, logits.shape[2:]),
            merged,
            exclusion_of_sample=exclusion,
        )
        for logits in levels
    ]
    actual = mean_over_levels(
        levels,
        target,
        lambda logits, pooled: LOSS(logits, pooled, merged, exclusion_of_sample=exclusion),
    )
    torch.testing.assert_close(actual, (4 * each[0] + 2 * each[1] + each[2]) / 7)


def test_one_level_is_the_loss_itself():
    target, merged = torch.randint(4, (1, 4, 4, 4)), torch.tensor([FULL])
    logits = torch.randn(1, 4, 4, 4, 4)
    loss = mean_over_levels([logits], target, lambda logits, pooled: LOSS(logits, pooled, merged))
    torch.testing.assert_close(loss, LOSS(logits, target, merged))


def test_no_level_is_refused():
    with pytest.raises(TrainingError, match="at least one level"):
        mean_over_levels([], torch.zeros(1, 2).long(), lambda logits, _: logits.sum())
