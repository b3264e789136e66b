"""A command whose options take lists as people type them."""

from collections.abc import Mapping, Sequence
from typing import Any

import typer
from typer.core import TyperCommand

from manifests.ground.word_lists import ListForm, spell_lists

# How an option takes a list, by its metavar, which the help shows.
LIST_FORMS = {
    "X,Y,Z": ListForm(count=3, numbers=True),
    "X,Y,Z|native": ListForm(count=3, numbers=True, joined=True),
    "N,...": ListForm(numbers=True),
    "NAME,...": ListForm(),
    "CASES,...": ListForm(),
    "KEY=VALUE": ListForm(numbers=True, joined=True),
    "[PRESET]": ListForm(optional=True),
    "[binary|labelmap]": ListForm(optional=True, words=("binary", "labelmap")),
}


class ListCommand(TyperCommand):
    """A command whose lists may be typed with commas, with spaces, or with both."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401
        """Spell the lists as the parser wants them."""
        typed = list(args)
        forms = {
            name: LIST_FORMS[str(parameter.metavar)]
            for parameter in self.params
            if str(parameter.metavar) in LIST_FORMS
            for name in parameter.opts
        }
        try:
            spelled = spell_lists(typed, forms)
        except ValueError as error:
            raise typer.BadParameter(str(error), ctx=ctx) from error
        try:
            return super().parse_args(ctx, spelled)
        except Exception as error:
            # a UsageError of Click, or of the copy that Typer has
            told = str(getattr(error, "message", ""))
            if "unexpected extra argument" in told:
                vars(error)["message"] = told + _list_hint(typed, forms)
            raise


def _list_hint(args: Sequence[str], forms: Mapping[str, ListForm]) -> str:
    """Return how a list that ends in a word too many is spelt, or nothing if there is none."""
    for option, value, word in zip(args, args[1:], args[2:], strict=False):
        if option in forms and not word.startswith("-"):
            return f". A list has commas, as in {option} {value},{word}"
    return ""
