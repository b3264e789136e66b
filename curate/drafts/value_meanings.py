"""What the label values of a user's own dataset cover: guessed by name, given, or unknown."""

import re
from collections.abc import Collection, Iterable, Mapping

from curate.drafts.file_patterns import SUFFIX, structure_words
from curate.drafts.folder_survey import INDEX, Survey
from curate.drafts.label_values import LabelValues
from curate.recipes.schema import IGNORED
from manifests.classes.structure_names import meanings_of, structures_named
from manifests.classes.structures import vocabulary
from manifests.ground.errors import RecipeError
from manifests.ground.near_names import did_you_mean

NAME = re.compile(r"[a-z][a-z0-9_]*")

Structures = tuple[str, ...]
Meanings = Mapping[int | str, Structures]
Meant = dict[int | str, Structures]


def parse_structures(text: str, declared: Collection[str]) -> Structures:
    """Return the structures that a user names, as in `left_kidney + Right Kidney, mine`.

    `ignored` says that nobody looked there.

    Raises:
        RecipeError: A name is neither known nor declared.
    """
    if _says_ignored(text):
        return (IGNORED,)
    found: list[str] = []
    for name in (part.strip() for part in re.split(r"[+,]", text)):
        known = (name,) if name in declared else structures_named(name)
        if not known:
            raise RecipeError(_unknown(name, declared))
        found += known
    return tuple(dict.fromkeys(found))


def parse_values(given: Iterable[str], survey: Survey, declared: Collection[str]) -> Meant:
    """Return what a user says of values, as in `1=liver` or `spleen.nii.gz=spleen`.

    Raises:
        RecipeError: A text is not like these, or a structure is neither known nor declared.
    """
    if bad := [name for name in declared if not NAME.fullmatch(name)]:
        msg = f"--declare {bad[0]!r}: expected small letters, digits and _, a letter first"
        raise RecipeError(msg)
    found: Meant = {}
    masks = {SUFFIX.sub("", mask): mask for mask in survey.masks}  # the suffix may be left out
    for text in given:
        key, equals, structures = text.partition("=")
        key = masks.get(key.strip(), key.strip())
        if not equals or not (key in survey.masks if survey.masks else key.isdigit()):
            near = did_you_mean(key, masks)
            expected = f"one of {', '.join(survey.masks)}" if survey.masks else "a label value"
            msg = f"--value {text!r}{near}: expected {expected}, =, and structures, as in 1=liver"
            raise RecipeError(msg)
        found[key if survey.masks else int(key)] = parse_structures(structures, declared)
    return found


def guess_meanings(survey: Survey) -> Meant:
    """Return what values and masks seem to cover, by their names."""
    if survey.masks:
        return {**meanings_of({mask: _words_of(mask, survey) for mask in survey.masks})}
    ignored = {value: (IGNORED,) for value, name in survey.names.items() if _says_ignored(name)}
    return {**meanings_of({v: n for v, n in survey.names.items() if v not in ignored}), **ignored}


def _words_of(mask: str, survey: Survey) -> str:
    """Return the name in the name of a mask file, or in an expression of a segment's name."""
    return re.sub(r"\\(.)", r"\1", mask) if survey.counts else structure_words(mask)


def _says_ignored(name: str) -> bool:
    """Return whether a name is nnU-Net's for voxels that nobody looked at."""
    return name.strip().lower() in ("ignore", IGNORED)


def require_meanings(survey: Survey, values: LabelValues, said: Meant) -> Meant:
    """Return what every value covers; masks of which nothing is known are not read.

    Raises:
        RecipeError: Of a value, or of every mask, it is not known what it covers.
    """
    if survey.masks:
        if said:
            return said
        msg = f"{survey.folder}: no mask's name is known: say --value {survey.masks[0]}=STRUCTURE"
        raise RecipeError(msg)
    if unknown := [v for v in values_found(survey, values) if v not in said]:
        lines = [f"  value {v}{name_in_index(survey, v)}, {values.describe(v)}" for v in unknown]
        flags = " ".join(f"--value {v}=STRUCTURE" for v in unknown)
        first = f"{survey.folder}: it is not known what these label values cover:"
        raise RecipeError("\n".join([first, *lines, f"say {flags}"]))
    return dict(sorted(said.items(), key=lambda item: int(item[0])))


def values_found(survey: Survey, values: LabelValues) -> list[int]:
    """Return the values that labels hold, or that `dataset.json` names, in their order."""
    return sorted(v for v in {*values.volumes_ml, *survey.names} if isinstance(v, int))


def unread_masks(survey: Survey, meanings: Meanings) -> str:
    """Say which masks of a folder are not read, and how to use one; nothing if all are."""
    rest = [mask for mask in survey.masks if mask not in meanings]
    if not rest:
        return ""
    example = f"--value {SUFFIX.sub('', rest[0])}=STRUCTURE"
    return (
        f"not read, as their names are no known structures: {', '.join(rest)}; to use one, say "
        f"{example}"
    )


def name_in_index(survey: Survey, key: int | str) -> str:
    """Return what `dataset.json` calls a value, in brackets; nothing if it does not."""
    name = survey.names.get(key) if isinstance(key, int) else None
    return f" ({name!r} in {INDEX})" if name else ""


def _unknown(name: str, declared: Collection[str]) -> str:
    near = did_you_mean(name, [*vocabulary(), *declared])
    return (
        f"unknown structure {name!r}{near}: expected one of {', '.join(vocabulary())}; if it is "
        f"none of them, declare it: --declare NAME, of small letters, digits and _"
    )


def with_parts(meanings: Meanings) -> dict[int | str, Structures]:
    """Add parts that nothing covers, as a liver's tumour, to what covers the whole."""
    used = {s for structures in meanings.values() for s in structures}
    loose = {p: s.part_of for p, s in vocabulary().items() if s.part_of in used and p not in used}
    return {
        key: (*structures, *(p for p, whole in loose.items() if whole in structures))
        for key, structures in meanings.items()
    }
