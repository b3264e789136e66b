"""The case in the name of a file: what is left beside the words that say image or label."""

import re
from collections.abc import Collection

from manifests.classes.structure_names import known_words

BIDS_CASE = re.compile(r"sub-[^_]+(?:_ses-[^_]+)?")
CHANNEL = "_0000"  # nnU-Net numbers channels behind the name
PIECE = re.compile(r"[A-Za-z]+|\d+|[^A-Za-z\d]+")


def around_case(name: str, labelled: Collection[str] = ()) -> tuple[str, str, str]:
    """Split a name in three: the case, and around it the words that say image or label.

    A channel at the end is none of the case's, behind a number or the name of a labelled case.
    The case is empty if no word is left for it.

    Args:
        name: Of a file without its suffix, or of a folder.
        labelled: Cases whose labels are known.
    """
    if found := BIDS_CASE.match(name):
        return "", found[0], name[found.end() :]
    bare = name.removesuffix(CHANNEL)
    channel = bare[-1:].isdigit() or (bare != name and around_case(bare)[1] in labelled)
    pieces: list[str] = PIECE.findall(bare if channel else name)
    silent = known_words("image", "label")
    told = [n for n, p in enumerate(pieces) if p.isalnum() and p.lower() not in silent]
    if not told:
        return name, "", ""
    before = "".join(pieces[: told[0]])
    case = "".join(pieces[told[0] : told[-1] + 1])
    return before, case, name[len(before) + len(case) :]
