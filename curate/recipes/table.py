"""What `recipe list` shows of the recipes."""

from collections.abc import Sequence

from rich.table import Table

from curate.recipes.schema import Recipe


def recipe_table(recipes: Sequence[Recipe]) -> Table:
    """One line per recipe: cases, licence, and the structures that its values cover."""
    table = Table(title="Recipes", title_justify="left")
    table.add_column("recipe", no_wrap=True)
    table.add_column("labelled cases", justify="right")
    table.add_column("licence", overflow="fold")
    table.add_column("structures", overflow="fold")
    for r in recipes:
        structures = "; ".join(" + ".join(values) for values in r.values.values())
        table.add_row(r.name, str(r.labelled_cases or "?"), r.licence, structures)
    return table
