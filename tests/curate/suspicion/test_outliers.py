"""Labels unlike the others of their class: told once a dataset has ten cases."""

from dataclasses import replace

import numpy as np
import pytest

from curate.suspicion.outliers import FEWEST_CASES, robust_z, with_outliers
from manifests.classes.label_space import load_label_space
from tests.curate.duplicates.rows import row

SPACE = load_label_space("abdomen5")
LIVER = 1


def cases(volumes_ml, *, dataset="d", hu=100.0, cut=()):
    """Cases that label the liver only, of these volumes."""
    none = (None,) * 4
    return [
        replace(
            row(f"{dataset}/{n}"),
            dataset=dataset,
            volume_ml=(0.0, volume, 0.0, 0.0, 0.0, 0.0),
            suspicion=(None, 0.1, *none),
            class_hu_mean=(None, hu + n % 3, *none),
            place_in_body=(None, (0.3, 0.4, 0.5), *none),
            cut_by_scan=(None, n in cut, *none),
        )
        for n, volume in enumerate(volumes_ml)
    ]


def test_robust_z_is_that_of_a_normal_distribution():
    values = np.random.default_rng(0).normal(7.0, 2.0, 10_001)
    np.testing.assert_allclose(robust_z(values, 0.0), (values - 7.0) / 2.0, atol=0.15)


def test_a_volume_far_from_the_others_is_named_with_its_numbers():
    usual = [1500.0 * 1.1 ** (n % 4) for n in range(FEWEST_CASES)]
    found = with_outliers(cases([*usual, 15.0]), SPACE)
    odd = [c.case_id for c in found if any(f.code == "volume_outlier" for f in c.findings)]
    assert odd == ["d/10"]
    (finding,) = found[-1].findings
    assert finding.reason.startswith("liver: 15 mL; the median of 11 cases of d is 1650 mL")
    assert found[-1].suspicion[LIVER] > 1
    assert found[-1].robust_z[LIVER] < -8
    assert found[0].suspicion[LIVER] < 1
    assert with_outliers(found, SPACE) == found  # a second time changes nothing


def test_fewer_than_ten_cases_are_not_compared():
    found = with_outliers(cases([1500.0] * (FEWEST_CASES - 2) + [1.0]), SPACE)
    assert not any(c.findings for c in found)
    assert found[-1].robust_z == (None,) * 6


def test_datasets_are_not_compared_with_each_other():
    both = [*cases([1500.0] * 10), *cases([20.0] * 10, dataset="mice")]
    assert not any(c.findings for c in with_outliers(both, SPACE))


def test_a_part_of_an_organ_is_not_too_small():
    found = with_outliers(cases([*[1500.0] * 10, 5.0], cut=[10]), SPACE)
    assert found[-1].findings == ()


def test_an_intensity_far_from_the_others_is_ranked():
    usual = cases([1500.0] * 11)
    odd = replace(usual[-1], class_hu_mean=(None, -400.0, *[None] * 4))
    found = with_outliers([*usual[:-1], odd], SPACE)
    assert found[-1].suspicion[LIVER] == pytest.approx(0.99)
    assert found[-1].findings == ()


def test_an_older_case_without_numbers_stays_as_it_is():
    old = replace(row("d/x"), dataset="d")
    assert with_outliers([old, *cases([1500.0] * 10)], SPACE)[0] == old
