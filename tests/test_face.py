"""What users of Python import from marginalia."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import marginalia

ROOT = Path(__file__).parents[1]
IMPORTS = "from marginalia import read_manifest\nprint('imported')\n"


def python(*arguments, folder):
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def test_every_name_is_there_and_is_told():
    assert set(marginalia.__all__) == {*marginalia.FACE, "MarginaliaError"}
    assert set(marginalia.__all__) <= set(dir(marginalia))
    for name, module in marginalia.FACE.items():
        found = getattr(marginalia, name)
        assert (found.__name__, found.__doc__ is not None) == (name, True)
        assert found.__module__ == module
    with pytest.raises(AttributeError, match=r"no attribute 'read_manifests'; it has .*read_man"):
        _ = marginalia.read_manifests


def test_the_import_alone_does_not_wait_for_pytorch(tmp_path):
    told = python("-c", "import sys, marginalia; print('torch' in sys.modules)", folder=tmp_path)
    assert told.stdout == "False\n", told.stderr


def test_a_program_called_train_is_not_taken_for_our_package(tmp_path):
    program = tmp_path / "train.py"
    program.write_text(f"print('run as', __name__)\n{IMPORTS}")
    done = python(program.name, folder=tmp_path)
    assert done.stdout == "run as __main__\n"  # once, and not again as a module
    said = done.stderr.splitlines()[-1]
    assert said.startswith("ImportError: marginalia has a package called 'train', and Python")
    assert str(program) in said
    done = python("-P", program.name, folder=tmp_path)
    assert done.stdout == "run as __main__\nimported\n", done.stderr


def test_another_module_that_was_imported_before_is_told_too(tmp_path):
    (tmp_path / "manifests.py").write_text("")
    program = f"import sys; sys.path.append({str(ROOT)!r}); import manifests; import marginalia"
    done = python("-c", program, folder=tmp_path)
    assert f"Python finds {tmp_path / 'manifests.py'} first" in done.stderr
