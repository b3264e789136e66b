"""Which structures are meant by a name that somebody gave to a label."""

import re
import tomllib
from collections import Counter
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypeVar

from manifests.classes.structures import vocabulary

FILE = Path(__file__).with_name("structure_names.toml")
WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")

Structures = tuple[str, ...]
Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class _Names:
    """The file's content, by word and by normalised name."""

    words: dict[str, frozenset[str]]
    organs: dict[tuple[str, ...], str]
    short: dict[str, str]


@dataclass(frozen=True)
class _ParsedName:
    """What a name says: words of organs, and what it says beside them."""

    organ: tuple[str, ...]
    sides: frozenset[str]
    tumour: bool


def known_words(*kinds: str) -> frozenset[str]:
    """Return the words of some kinds, as in `image`, `label` or `tumour`."""
    return frozenset[str]().union(*(_names().words[kind] for kind in kinds))


def structures_named(name: str) -> Structures:
    """Return the structures that a name means, as in `Kidney (left)`; none if that is unknown.

    A name without a side means both sides; a name of several organs means all of them.
    """
    if name in vocabulary():
        return (name,)
    if short := _names().short.get(name.lower()):
        return (short,)
    parsed = _parse(name)
    organs = _organs(parsed.organ)
    return tuple(s for organ in organs for s in _structures(organ, parsed))


def meanings_of(names: Mapping[Key, str]) -> dict[Key, Structures]:
    """Return the structures that the names of one dataset mean, as far as they are known.

    A name that only says tumour means that of the dataset's one organ that can have one. No
    structure is given to two names that mean different things.
    """
    found = {key: structures_named(name) for key, name in names.items()}
    grown = {f"{_bare(s)}_tumour" for structures in found.values() for s in structures}
    tumours = {t for t in grown if _structures_of(t)}
    for key, name in names.items():
        parsed = _parse(name)
        if parsed.tumour and not parsed.organ and len(tumours) == 1:
            found[key] = _structures_of(next(iter(tumours)))
    different = {frozenset(structures) for structures in found.values()}
    named = Counter(s for structures in different for s in structures)
    return {k: v for k, v in found.items() if v and all(named[s] == 1 for s in v)}


def structures_touched(name: str) -> frozenset[str]:
    """Return what a name may speak of though its meaning is not known, as in `hepatic vessel`.

    These are the organs that it has a word of, with their tumours, and every tumour if it speaks
    of one and of no organ.
    """
    parsed = _parse(name)
    touched = {organ for word in parsed.organ if (organ := _names().organs.get((word,)))}
    if parsed.tumour and not touched:
        return frozenset(n for n, known in vocabulary().items() if known.part_of)
    return frozenset(n for n in vocabulary() if _bare(n).removesuffix("_tumour") in touched)


def _parse(name: str) -> _ParsedName:
    names = _names()
    words = [w.lower() for w in WORD.findall(name)]
    kinds = names.words
    sides = frozenset(side for side in ("left", "right") if kinds[side] & set(words))
    told = kinds["left"] | kinds["right"] | kinds["tumour"] | kinds["cyst"] | kinds["silent"]
    organ = tuple(w for w in words if w not in told)
    return _ParsedName(organ, sides, bool(kinds["tumour"] & set(words)))


def _organs(words: tuple[str, ...]) -> tuple[str, ...]:
    """Return one organ of these words, or one for each of them."""
    organs = _names().organs
    if words in organs:
        return (organs[words],)
    each = tuple(organs.get((word,), "") for word in words)
    return each if all(each) else ()


def _structures(organ: str, parsed: _ParsedName) -> Structures:
    found = _structures_of(f"{organ}_tumour" if parsed.tumour else organ)
    if not parsed.sides:
        return found
    sides = {name: vocabulary()[name].laterality for name in found}
    # A side of what has none is no structure.
    return () if None in sides.values() else tuple(n for n in found if sides[n] in parsed.sides)


def _structures_of(bare: str) -> Structures:
    return tuple(n for n in vocabulary() if _bare(n) == bare)


def _bare(name: str) -> str:
    """Return a structure's name without its side."""
    laterality = vocabulary()[name].laterality if name in vocabulary() else None
    return name.removeprefix(f"{laterality}_") if laterality else name


@cache
def _names() -> _Names:
    facts = tomllib.loads(FILE.read_text(encoding="utf-8"))
    words = {kind: frozenset(found) for kind, found in facts["words"].items()}
    organs = {
        tuple(w for w in name.split() if w not in words["silent"]): organ
        for organ, names in facts["names"].items()
        for name in (organ.replace("_", " "), *names)
    }
    short = {name: structure for structure, names in facts["short"].items() for name in names}
    return _Names(words, organs, short)
