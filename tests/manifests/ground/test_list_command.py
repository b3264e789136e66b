"""Commands whose options take lists: what is said of a word too many."""

import pytest
from typer.testing import CliRunner

import marginalia


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ("train m --out r --set datasets=btcv msd_liver", "--set datasets=btcv,msd_liver"),
        ("split m --test msd_spleen=2 btcv=1", "--test msd_spleen=2,btcv=1"),
        ("prepare --out o --accept-licence btcv --offline msd_liver", None),
        ("split m n", None),
    ],
)
def test_a_word_too_many_behind_a_list_is_told_with_commas(words, hint, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    result = CliRunner().invoke(marginalia.app, words.split())
    assert result.exit_code
    assert ("A list has commas, as in" in result.output) == bool(hint)
    assert not hint or hint in result.output
