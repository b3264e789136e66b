"""Tables: text of others is shown as it is, whatever the table is written in."""

from rich.console import Console
from rich.text import Text

from manifests.views.table_style import (
    RULED,
    add_row,
    folded,
    latex_table,
    latex_text,
    markdown_table,
    new_table,
    right,
    unbroken,
)


def printed(table):
    console = Console(width=80)
    with console.capture() as capture:
        console.print(table)
    return [line.rstrip() for line in capture.get().splitlines()]


def test_text_of_others_is_neither_markup_nor_a_code_of_the_terminal():
    columns = [*unbroken("[red]case"), *right("n"), *folded("[b]why")]
    table = new_table("[i]title", columns, [("[bold]a", 3, "\x1b[31mred")], caption="[u]note")
    add_row(table, Text("several\nlines"), 4, "")
    assert printed(table) == [
        "[i]title",
        "[red]case  n  [b]why",
        "[bold]a    3  \N{REPLACEMENT CHARACTER}[31mred",
        "several    4",
        "lines",
        "[u]note",
    ]


def test_a_table_may_have_a_rule_below_its_headings():
    assert printed(new_table("", ["a", "b"], [(1, 2)], look=RULED))[1:3] == [" a  b", " ────"]


def test_markdown_keeps_a_bar_within_its_cell():
    assert markdown_table(["a|b", "c"], [("**1**", "|")]) == [
        r"| a\|b | c |",
        "|---|---|",
        r"| **1** | \| |",
    ]


def test_latex_signs_are_escaped_in_plain_text_only():
    cells = [latex_text("5 % & more_"), "", r"\textbf{1}"]
    assert latex_table("lrr", ["", "", "x"], [cells]) == [
        r"\begin{tabular}{lrr}",
        r"\toprule",
        r" & & x \\",
        r"\midrule",
        r"5 \% \& more\_ & & \textbf{1} \\",
        r"\bottomrule",
        r"\end{tabular}",
    ]
