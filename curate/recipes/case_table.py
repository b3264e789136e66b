"""Case tables: a file that comes with a dataset and says more of its cases or patients."""

from pathlib import PurePath
from typing import Annotated, Self

from pydantic import Field, field_validator, model_validator

from manifests.ground.toml_file import StrictModel
from manifests.table.case import SPLITS, Split

ColumnName = Annotated[str, Field(min_length=1)]
# What publishers call the three splits, in small letters.
SPLIT_WORDS: dict[str, Split] = {
    **{split: split for split in ("train", "validation", "test")},
    **{"training": "train", "tr": "train", "val": "validation", "valid": "validation"},
    **{"va": "validation", "dev": "validation", "testing": "test", "ts": "test"},
}


class CaseTable(StrictModel):
    """A CSV or TSV file, or a JSON list of records, with a row for each case or each patient.

    Attributes:
        files: Where it may lie below the dataset's folder, or the folder above, with `*` for a part
            of a name; the first that exists is taken.
        case: The column that names the case. Without it a row is of the patient whom `subject`
            names, as the layout's `subject` finds it in the name of the case.
        subject: The column that names the patient.
        split: The column that names the publisher's split.
        annotated: The column that lists what was annotated in the case, as in `liver + spleen`;
            `none` if nothing was. A value that covers more was not annotated there.
        splits: What words of that column mean, beside those of `SPLIT_WORDS`.
        columns: Further columns to take; all of them if none is named.
        optional: Whether the dataset is prepared without the table if it is not there.
    """

    files: Annotated[tuple[str, ...], Field(min_length=1)]
    case: ColumnName | None = None
    subject: ColumnName | None = None
    split: ColumnName | None = None
    annotated: ColumnName | None = None
    splits: dict[str, Split] = Field(default_factory=dict)
    columns: tuple[ColumnName, ...] = ()
    optional: bool = False

    @field_validator("files")
    @classmethod
    def _lie_below(cls, files: tuple[str, ...]) -> tuple[str, ...]:
        for file in files:
            path = PurePath(file)
            stars = any("**" in part for part in path.parts)
            if not path.parts or path.is_absolute() or ".." in path.parts or stars or "\0" in file:
                msg = f"{file!r}: expected a path below the folder of the dataset"
                raise ValueError(msg)
        return files

    @model_validator(mode="after")
    def _names_its_rows(self) -> Self:
        if self.case is None and self.subject is None:
            msg = "expected `case` or `subject`: the column that says of whom a row is"
            raise ValueError(msg)
        return self

    def meant_split(self, word: str) -> Split | None:
        """Return the split that a word of the column means; None if it means none."""
        return self.splits.get(word) or SPLIT_WORDS.get(word.lower())

    def split_words(self) -> str:
        """List the words that mean a split."""
        return ", ".join(dict.fromkeys([*self.splits, *SPLITS, "val"]))
