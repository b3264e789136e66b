"""Names of files of cases in one folder."""

import hashlib

from manifests.table.flat_names import flat_names


def test_an_id_is_its_own_flat_name():
    assert flat_names(["btcv/0001", "msd/liver/2"]) == {
        "btcv/0001": "btcv_0001",
        "msd/liver/2": "msd_liver_2",
    }


def test_ids_that_one_name_would_do_for_get_a_hash():
    digits = hashlib.sha256(b"a/b_c").hexdigest()[:8]
    found = flat_names(["a/b_c", "a_b/c", "a/c"])
    assert found["a/b_c"] == f"a_b_c_{digits}"
    assert found["a_b/c"].startswith("a_b_c_")
    assert found["a/c"] == "a_c"
    assert len(set(found.values())) == 3


def test_so_do_names_that_differ_in_case_alone_and_in_the_form_of_a_letter():
    acute = ["\N{LATIN SMALL LETTER E WITH ACUTE}", "e\N{COMBINING ACUTE ACCENT}"]
    ids = ["a/B", "a/b", *(f"set/caf{letter}" for letter in acute)]
    assert len({name.casefold()[-8:] for name in flat_names(ids).values()}) == len(ids)
