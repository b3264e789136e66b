"""Every command and every piece of Python in the pages: run here, or marked with why it is not.

The mark is a comment on the line above the block: `<!-- not run: needs 64 GB of archives -->`.
What is not marked is run, page by page, in one folder: first the tutorial, so that the other pages
find what it made. Commands of marked blocks must still be ones that the program has.
"""

import re
import runpy
import shlex
from pathlib import Path
from typing import NamedTuple

import pytest
import typer
from typer.testing import CliRunner

import marginalia
from curate.preparation.prepare import prepare

pytestmark = pytest.mark.xdist_group("documents")

ROOT = Path(__file__).parents[1]
TUTORIAL = "docs/tutorial/three_folders.md"
RUN_ELSEWHERE = {"docs/how_to/recipes.md": "tests/curate/drafts/test_recipes_page.py"}
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "findings/README.md")]
PAGES += sorted((ROOT / "docs").rglob("*.md"))
BLOCK = re.compile(
    r"^(?:<!-- not run: ([^\n]+) -->\n)?```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE
)
# What pages call files and folders that the tutorial makes under other names.
FOLDERS = {
    "/data/abdomen": "prepared",
    "runs/union": "runs/all",
    "runs/f_only": "runs/organs",
    "my_scans": "Task09_spleens/imagesTr",
    "scan.nii.gz": "Task09_spleens/imagesTr/spleen_0.nii.gz",
}
QUICK = [
    *("stage_epochs=0,1", "patches_per_dataset=2", "patch_size_zyx=16,16,16", "filters=4,8,8"),
    *("first_stage_dice=0", "workers=1", "overlap=0"),
]


class Block(NamedTuple):
    page: str
    reason: str
    language: str
    text: str


def blocks_of(page):
    name = str(page.relative_to(ROOT))
    return [Block(name, *found) for found in BLOCK.findall(page.read_text(encoding="utf-8"))]


BLOCKS = [block for page in PAGES for block in blocks_of(page)]
TO_RUN = [b for b in BLOCKS if not b.reason and b.page not in RUN_ELSEWHERE]
PAGES_TO_RUN = list(
    dict.fromkeys([TUTORIAL, *(b.page for b in TO_RUN if b.language in ("sh", "python"))])
)


def commands_in(block):
    """The words of each command line, without comments; lines that end in a backslash go on."""
    lines = block.text.replace("\\\n", " ").splitlines()
    found = [shlex.split(line, comments=True) for line in lines]
    return [words for words in found if words]


@pytest.fixture
def _strangers_folder(tmp_path, monkeypatch):
    """Where the pages are run, without worker processes, whose start takes longer than a case."""

    def run_all(function, jobs, *, workers):  # noqa: ARG001
        return ((job, function(job)) for job in jobs)

    monkeypatch.setitem(prepare.__kwdefaults__, "executor", run_all)
    monkeypatch.chdir(tmp_path)


def run(words, page, done):
    """Run a command, unless it was run before; return what it printed."""
    line = " ".join(words)
    for name, here in FOLDERS.items():
        words = [word.replace(name, here) for word in words]
    if words[0] == "python":
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("sys.argv", words[1:])
            runpy.run_path(str(ROOT / words[1]), run_name="__main__")
        return ""
    assert words[0] == "marginalia", f"{page}: this test does not run {line}; mark the block"
    if words[1] == "train":
        words += [word for setting in QUICK for word in ("--set", setting)]
    if line not in done:
        result = CliRunner(env={"COLUMNS": "300"}).invoke(marginalia.app, words[1:])
        assert result.exit_code == 0, f"{page}: {line}\n{result.output}\n{result.exception!r}"
        done[line] = " ".join(result.output.split())
    return done[line]


@pytest.mark.slow
@pytest.mark.usefixtures("_strangers_folder")
def test_pages_do_what_they_say():
    """One test, since each page needs what the tutorial made."""
    done = {}
    for page in PAGES_TO_RUN:
        run_page(page, done)


def run_page(page, done):
    printed, names = "", {}
    for block in (b for b in TO_RUN if b.page == page):
        if block.language == "sh":
            printed += "".join(run(words, page, done) for words in commands_in(block))
        elif block.language == "python":
            exec(compile(block.text, page, "exec"), names)
        elif block.language == "text" and page == TUTORIAL:
            missing = [x for x in block.text.splitlines() if " ".join(x.split()) not in printed]
            assert not missing, printed


def test_blocks_say_what_they_are_and_marks_say_why():
    assert {b.language for b in BLOCKS} <= {"sh", "python", "text", "toml", "json"}
    assert all(len(b.reason.split()) > 1 for b in BLOCKS if b.reason)
    for page, test in RUN_ELSEWHERE.items():
        assert Path(page).name in (ROOT / test).read_text(encoding="utf-8")


@pytest.mark.parametrize("page", sorted({b.page for b in BLOCKS}))
def test_commands_are_ones_that_the_program_has(page):
    for block in (b for b in BLOCKS if b.page == page and b.language == "sh"):
        for program, *words in commands_in(block):
            if program == "marginalia" and words:
                command, context = typer.main.get_command(marginalia.app), None
                while hasattr(command, "commands"):
                    context = typer.Context(command, parent=context)
                    command = command.commands[words.pop(0)]
                command.make_context(command.name, words, parent=context)
