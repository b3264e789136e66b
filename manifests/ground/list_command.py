"""A command whose options take lists as people type them."""

from typing import Any

import typer
from typer.core import TyperCommand

from manifests.ground.word_lists import ListForm, spell_lists

# How an option takes a list, by its metavar, which the help shows.
LIST_FORMS = {
    "X,Y,Z": ListForm(count=3, numbers=True),
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
        forms = {
            name: LIST_FORMS[str(parameter.metavar)]
            for parameter in self.params
            if str(parameter.metavar) in LIST_FORMS
            for name in parameter.opts
        }
        try:
            spelled = spell_lists(args, forms)
        except ValueError as error:
            raise typer.BadParameter(str(error), ctx=ctx) from error
        return super().parse_args(ctx, spelled)
