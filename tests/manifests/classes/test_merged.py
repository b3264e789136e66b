"""Merged classes: the join of two partitions, against brute force and by its properties."""

from collections.abc import Iterator, Sequence
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifests.classes.label_space import LabelSpace, load_label_space
from manifests.classes.merged import (
    annotated_classes,
    as_blocks,
    describe,
    groups_of,
    is_merged,
    merge_groups,
    merged_classes,
    representative_of,
)

ABDOMEN5, ABDOMEN13 = load_label_space("abdomen5"), load_label_space("abdomen13")
PANCREAS_TUMOUR = load_label_space("pancreas_tumour")
FULL = as_blocks(c.structures for c in ABDOMEN13.classes)
NAMES = ("a", "b", "c", "d")


# Enumeration: a block number for each structure, 0 for the background.


def partitions(size: int) -> Iterator[tuple[int, ...]]:
    """Every partition of `size` structures and the background: block numbers, 0 the background."""
    for numbers in product(range(size + 1), repeat=size):
        fresh = [n for i, n in enumerate(numbers) if n and n not in numbers[:i]]
        if fresh == list(range(1, len(fresh) + 1)):
            yield numbers


def blocks_of(numbers: Sequence[int]) -> list[list[str]]:
    """The blocks beside the background."""
    return [
        [name for name, n in zip(NAMES, numbers, strict=False) if n == block]
        for block in range(1, max(numbers) + 1)
    ]


def space_of(numbers: Sequence[int]) -> LabelSpace:
    classes = [
        {"name": f"class_{i}", "structures": block, "colour": "#000000"}
        for i, block in enumerate(blocks_of(numbers))
    ]
    declared = {name: {} for name in NAMES}
    return LabelSpace.model_validate({"name": "x", "structures": declared, "classes": classes})


def join(first: Sequence[int], second: Sequence[int]) -> dict[int, set[int]]:
    """Classes of `second` that hang together with each class, by walking over the structures.

    Two structures hang together where either partition puts them in one block; the background is
    a structure like another.
    """
    points = list(zip((0, *first), (0, *second), strict=True))
    reach = {}
    for start in points:
        seen, todo = set(), [start]
        while todo:
            here = todo.pop()
            seen.add(here)
            todo += [p for p in points if p not in seen and (p[0] == here[0] or p[1] == here[1])]
        reach.setdefault(start[1], set()).update(p[1] for p in seen)
    return reach


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_join_is_that_of_brute_force(size):
    pairs = [(a, c) for a, c in product(partitions(size), repeat=2) if max(c)]
    for annotation, classes in pairs:
        merged = merged_classes(as_blocks(blocks_of(annotation)), space_of(classes))
        reach = join(annotation, classes)
        assert merged == tuple(min(reach[n]) for n in range(max(classes) + 1))
    assert len(pairs) == {1: 2, 2: 20, 3: 210, 4: 2652}[size]


@pytest.mark.parametrize("size", [1, 2, 3])
def test_join_is_the_finest_common_coarsening(size):
    for annotation, classes in product(partitions(size), repeat=2):
        if not max(classes):
            continue
        space, n = space_of(classes), max(classes) + 1
        merged = merged_classes(as_blocks(blocks_of(annotation)), space)
        coarsenings = [
            v
            for v in product(range(n), repeat=n)
            if is_merged(v) and holds_blocks_together(v, annotation, classes)
        ]
        assert merged in coarsenings
        assert all(is_coarsening(v, merged) for v in coarsenings)


def is_coarsening(coarse, fine) -> bool:
    """Whether merging the groups of `fine` in `coarse` changes nothing."""
    return merge_groups(coarse, groups_of(fine).values()) == coarse


def holds_blocks_together(merged, annotation, classes) -> bool:
    """Whether each block of the annotation, the background's too, lies in one group of classes."""
    groups: dict[int, set[int]] = {0: {0}}
    for block, class_id in zip(annotation, classes, strict=True):
        groups.setdefault(block, set()).add(merged[class_id])
    return all(len(group) == 1 for group in groups.values())


# Properties, on BTCV's thirteen classes.

structures = st.sampled_from(sorted({*ABDOMEN13.class_of, "liver", "something_else"}))


@st.composite
def annotations(draw: st.DrawFn) -> tuple[frozenset[str], ...]:
    """Disjoint blocks of structures; not all are covered."""
    numbers = draw(st.dictionaries(structures, st.integers(0, 6), max_size=16))
    return as_blocks([s for s, n in numbers.items() if n == block] for block in range(1, 7))


@given(annotations())
def test_merged_sends_each_class_to_the_smallest_of_its_group(blocks):
    merged = merged_classes(blocks, ABDOMEN13)
    assert is_merged(merged)
    assert all(merged[merged[n]] == merged[n] <= n for n in range(len(ABDOMEN13)))


@given(annotations())
def test_join_is_idempotent(blocks):
    merged = merged_classes(blocks, ABDOMEN13)
    groups = [group for r, group in groups_of(merged).items() if r > 0]
    labelled_so = as_blocks(
        [s for n in group for s in ABDOMEN13.classes[n - 1].structures] for group in groups
    )
    assert merged_classes(labelled_so, ABDOMEN13) == merged


@pytest.mark.parametrize("space", [ABDOMEN5, ABDOMEN13, PANCREAS_TUMOUR], ids=lambda s: s.name)
def test_full_annotation_gives_the_identity(space):
    blocks = as_blocks(c.structures for c in space.classes)
    assert merged_classes(blocks, space) == tuple(range(len(space)))
    assert annotated_classes(range(len(space))) == tuple(range(1, len(space)))


@pytest.mark.parametrize("space", [ABDOMEN5, ABDOMEN13, PANCREAS_TUMOUR], ids=lambda s: s.name)
def test_finer_annotation_than_the_classes_gives_the_identity_too(space):
    blocks = as_blocks([s] for s in (*space.class_of, "something_else"))
    assert merged_classes(blocks, space) == tuple(range(len(space)))


@given(annotations(), st.data())
def test_dropping_a_block_only_coarsens(blocks, data):
    kept = data.draw(st.sets(st.sampled_from(blocks)) if blocks else st.just(set()))
    assert is_coarsening(merged_classes(kept, ABDOMEN13), merged_classes(blocks, ABDOMEN13))


@given(annotations(), st.data())
def test_labelling_blocks_as_one_only_coarsens(blocks, data):
    ones = data.draw(st.sets(st.sampled_from(blocks)) if blocks else st.just(set()))
    rest = [b for b in blocks if b not in ones]
    one = frozenset[str]().union(*ones)
    coarse = merged_classes(as_blocks([*rest, one]), ABDOMEN13)
    assert is_coarsening(coarse, merged_classes(blocks, ABDOMEN13))


@given(annotations(), st.randoms())
def test_order_of_blocks_is_no_matter(blocks, random):
    shuffled = list(blocks)
    random.shuffle(shuffled)
    assert merged_classes(shuffled, ABDOMEN13) == merged_classes(blocks, ABDOMEN13)


@given(annotations())
def test_every_structure_of_a_block_has_the_same_representative(blocks):
    merged = merged_classes(blocks, ABDOMEN13)
    for block in blocks:
        by_structure = {merged[ABDOMEN13.class_of.get(s, 0)] for s in block}
        assert by_structure == {representative_of(block, ABDOMEN13, merged)}


# Vectors.


@pytest.mark.parametrize("length", [1, 2, 3, 4])
def test_is_merged_by_definition(length):
    for vector in product(range(-1, length + 1), repeat=length):
        smallest = tuple(vector.index(r) for r in vector)
        assert is_merged(vector) == (vector == smallest)


@given(st.lists(st.sets(st.integers(0, 7), max_size=4), max_size=5), st.randoms())
def test_merging_groups_is_the_same_in_any_order(groups, random):
    merged = merge_groups(range(8), groups)
    shuffled = list(groups)
    random.shuffle(shuffled)
    assert merge_groups(range(8), shuffled) == merged
    assert is_merged(merged)
    assert all(len({merged[n] for n in group}) <= 1 for group in groups)


def test_coarser_is_a_partial_order():
    vectors = [v for v in product(range(4), repeat=4) if is_merged(v)]
    assert len(vectors) == 15  # Bell's number
    for a, b in product(vectors, repeat=2):
        finer_pairs = {(i, j) for i in range(4) for j in range(4) if b[i] == b[j]}
        coarser_pairs = {(i, j) for i in range(4) for j in range(4) if a[i] == a[j]}
        assert is_coarsening(a, b) == (finer_pairs <= coarser_pairs)


# Examples, by hand.


@pytest.mark.parametrize(
    ("space", "blocks", "merged", "words"),
    [
        pytest.param(
            *(ABDOMEN5, [["liver", "liver_tumour"]], (0, 1, 0, 0, 0, 0)),
            "liver | background + spleen + pancreas + left_kidney + right_kidney",
            id="one organ",
        ),
        pytest.param(
            *(ABDOMEN5, [["liver"], ["liver_tumour"]], (0, 1, 0, 0, 0, 0)),
            "liver | background + spleen + pancreas + left_kidney + right_kidney",
            id="organ and tumour, one class",
        ),
        pytest.param(
            *(ABDOMEN5, [["liver"]], (0, 0, 0, 0, 0, 0)),
            "background + liver + spleen + pancreas + left_kidney + right_kidney",
            id="tumours left out of the organ",
        ),
        pytest.param(
            *(ABDOMEN5, [["spleen"], ["left_kidney", "left_kidney_tumour", "right_kidney"]]),
            (0, 0, 2, 0, 0, 0),
            "spleen | background + liver + pancreas + left_kidney + right_kidney",
            id="one kidney's tumour unlabelled",
        ),
        pytest.param(
            ABDOMEN5,
            [["left_kidney", "right_kidney", "left_kidney_tumour", "right_kidney_tumour"]],
            (0, 0, 0, 0, 4, 4),
            "left_kidney + right_kidney | background + liver + spleen + pancreas",
            id="kidneys of no side",
        ),
        pytest.param(
            *(PANCREAS_TUMOUR, [["pancreas", "pancreas_tumour"]], (0, 1, 1)),
            "pancreas + pancreas_tumour | background",
            id="organ and tumour as one",
        ),
        pytest.param(
            *(PANCREAS_TUMOUR, [["pancreas_tumour"]], (0, 0, 2)),
            "pancreas_tumour | background + pancreas",
            id="lesions only",
        ),
        pytest.param(
            *(PANCREAS_TUMOUR, [["pancreas", "duct"], ["pancreas_tumour"]], (0, 0, 2)),
            "pancreas_tumour | background + pancreas",
            id="labelled with something of no class",
        ),
    ],
)
def test_example(space, blocks, merged, words):
    assert merged_classes(as_blocks(blocks), space) == merged
    assert describe(merged, space) == words


def test_blocks_in_canonical_form():
    assert as_blocks([["b", "a"], [], ["a2"]]) == (frozenset({"a", "b"}), frozenset({"a2"}))
    with pytest.raises(ValueError, match="'a' is in two blocks"):
        as_blocks([["a", "b"], ["a"]])


def test_only_lone_foreground_classes_are_annotated():
    assert annotated_classes((0, 1, 0, 3, 3, 5)) == (1, 5)
