"""Several labels of one case: `recipe new` says that there are, which it takes, and the others."""

import pytest
from typer.testing import CliRunner

import curate.commands
from curate.drafts.folder_survey import survey
from curate.recipes.schema import load_recipe
from tests.curate.defects import ct, label, write_nifti


def write(root, *labels, cases=2):
    for n in range(cases):
        folder = root / f"case_0000{n}"
        for name in labels:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            write_nifti(folder / name, label())
        write_nifti(folder / "imaging.nii.gz", ct())
    return root


def kits21(root):
    """The folders of KiTS21: three ways to join three drawings, and the drawings."""
    drawn = [f"{what}_instance-1_annotation-{n}" for what in ("kidney", "tumor") for n in (1, 2, 3)]
    joined = [f"aggregated_{how}_seg.nii.gz" for how in ("AND", "MAJ", "OR")]
    return write(root / "data", *joined, *(f"segmentations/{name}.nii.gz" for name in drawn)).parent


def test_of_kits21s_labels_the_majority_is_taken_and_the_others_are_named(tmp_path):
    out = tmp_path / "mine.toml"
    told = ["--value", "1=kidney", "--value", "2=kidney_tumor", "--out", str(out)]
    words = ["recipe", "new", str(kits21(tmp_path / "kits21")), *told]
    result = CliRunner(env={"COLUMNS": "9999"}).invoke(curate.commands.app, words)
    assert result.exit_code == 0, result.output
    (said,) = [line for line in result.output.splitlines() if "several labels" in line]
    assert "data/{case}/aggregated_MAJ_seg.nii.gz is taken" in said
    _, _, others = said.partition("[layout]: ")
    assert others.startswith(
        "data/{case}/aggregated_AND_seg.nii.gz, data/{case}/aggregated_OR_seg.nii.gz, "
    )
    assert "kidney_instance-1_annotation-2" in others  # a long line is cut
    assert load_recipe(out).layout.labels == ("data/{case}/aggregated_MAJ_seg.nii.gz",)
    assert "# also there: data/{case}/aggregated_OR_seg.nii.gz" in out.read_text()


@pytest.mark.parametrize(
    ("labels", "taken"),
    [
        (("seg_reader1.nii.gz", "seg_reader2.nii.gz", "seg_staple.nii.gz"), "seg_staple.nii.gz"),
        (("label_a.nii.gz", "label_consensus.nii.gz"), "label_consensus.nii.gz"),
        (("seg_AND.nii.gz", "seg_OR.nii.gz"), "seg_OR.nii.gz"),
    ],
)
def test_what_annotators_were_joined_to_is_taken(tmp_path, labels, taken):
    found = survey(write(tmp_path / "mine", *labels))
    assert found.layout.labels == (f"{{case}}/{taken}",)
    assert {*found.other_labels} == {f"{{case}}/{name}" for name in labels} - {f"{{case}}/{taken}"}


def test_one_label_of_each_case_is_not_several(tmp_path):
    root = write(tmp_path / "mine", "seg.nii.gz")
    (root / "case_00001" / "seg.nii.gz").rename(root / "case_00001" / "label.nii.gz")
    found = survey(root)
    assert found.several == ""
    assert len(found.cases) == 2
