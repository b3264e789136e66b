"""`marginalia prepare` downloads what is missing; the phantom's archives come from loopback."""

import json

import pytest
from typer.testing import CliRunner

import manifests.commands
from curate.commands import app
from curate.phantom.archives import write_phantom_archives
from curate.recipes.schema import load_recipe
from manifests.ground.errors import MarginaliaError, SourceError
from manifests.table.dataset_facts import facts_of
from manifests.table.manifest import read_manifest
from tests.curate.loopback import answer

pytestmark = pytest.mark.usefixtures("_in_this_process")
FILES = {"msd_spleen": "Task09_Spleen.tar", "msd_liver": "Task03_Liver.tar"}


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    folder = tmp_path_factory.mktemp("archives")
    cases = dict.fromkeys(FILES, 1)
    write_phantom_archives(folder, seed=6, cases=cases, spacing_mm=(10.0, 10.0))
    return {name: (folder / file).read_bytes() for name, file in FILES.items()}


@pytest.fixture
def served(server, archives, monkeypatch):
    """The recipes by their names have their archives on loopback."""
    recipes, shipped = {}, load_recipe
    for name, content in archives.items():
        resource = server.serve(f"/{FILES[name]}", content)
        facts = {
            "url": f"{server.url}/{FILES[name]}", "bytes": len(content),
            "md5": resource.md5, "sha256": resource.sha256,
        }  # fmt: skip
        source = shipped(name).sources[0].model_copy(update=facts)
        recipes[name] = shipped(name).model_copy(update={"sources": (source,)})
    monkeypatch.setattr("curate.recipes.schema.load_recipe", lambda n: recipes.get(n) or shipped(n))
    return {name: server.resources[f"/{file}"] for name, file in FILES.items()}


@pytest.fixture
def command(tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "150")

    def run(*arguments, names=tuple(FILES)):
        folders = ["--raw", tmp_path / "raw", "--out", tmp_path / "out", "--jobs", "1"]
        words = ["prepare", *names, *folders, "--spacing", 10, 10, 10, *arguments]
        return CliRunner().invoke(app, [str(word) for word in words])

    return run


def lines(result):
    return [" ".join(line.split()) for line in result.output.splitlines()]


def test_one_command_from_nothing_to_a_manifest(command, served, tmp_path):
    result = command("--accept-licence", "all")
    assert result.exit_code == 0, result.output
    manifest = read_manifest(tmp_path / "out")
    assert manifest.datasets() == ("msd_liver", "msd_spleen")
    acceptance = facts_of(manifest.settings)["msd_liver"].acceptance
    assert acceptance.licence == "CC-BY-SA-4.0"
    assert acceptance.accepted_by == "--accept-licence all"
    assert command().exit_code == 0
    assert all(len(r.requests) == 1 for r in served.values())


@pytest.mark.usefixtures("served")
def test_an_acceptance_stays_on_record_when_the_download_is_gone(command, tmp_path):
    command("--accept-licence", "msd_liver", names=("msd_liver",))
    content = (tmp_path / "out" / "manifest.parquet").read_bytes()
    (tmp_path / "raw" / "msd_liver" / "licence.json").unlink()
    assert command(names=("msd_liver",)).exit_code == 0
    assert (tmp_path / "out" / "manifest.parquet").read_bytes() == content


@pytest.mark.usefixtures("served")
def test_inspect_shows_terms_and_acceptance(command, tmp_path):
    command("--accept-licence", "msd_spleen", names=("msd_spleen",))
    shown = CliRunner().invoke(manifests.commands.app, ["inspect", str(tmp_path / "out"), "--json"])
    dataset = json.loads(shown.output)["datasets"][0]
    assert dataset["commercial_use"] is True
    assert dataset["accepted"].endswith(", --accept-licence msd_spleen")


def test_a_download_that_fails_does_not_keep_the_others(command, served, tmp_path):
    served["msd_liver"].forever(answer(403))
    result = command("--accept-licence", "all")
    assert result.exit_code == 1
    assert isinstance(result.exception, MarginaliaError)
    assert "msd_liver was not prepared: msd_liver/Task03_Liver.tar: " in str(result.exception)
    assert "msd_spleen" not in str(result.exception)
    assert read_manifest(tmp_path / "out").datasets() == ("msd_spleen",)
    served["msd_liver"].forever(None)
    assert command().exit_code == 0
    assert read_manifest(tmp_path / "out").datasets() == ("msd_liver", "msd_spleen")
    assert len(served["msd_spleen"].requests) == 1


def test_archives_that_are_there_need_no_licence_and_no_server(command, served, archives, tmp_path):
    (tmp_path / "raw").mkdir()
    for name, content in archives.items():
        (tmp_path / "raw" / FILES[name]).write_bytes(content)
    assert command("--offline").exit_code == 0
    assert all(r.requests == [] for r in served.values())
    facts = facts_of(read_manifest(tmp_path / "out").settings)
    assert {f.acceptance for f in facts.values()} == {None}


def test_without_acceptance_nothing_is_begun(command, served, tmp_path):
    result = command()
    assert isinstance(result.exception, SourceError)
    assert "--accept-licence msd_liver" in str(result.exception)
    assert all(r.requests == [] for r in served.values())
    assert not (tmp_path / "raw").exists()


def test_offline_says_where_to_get_what_is_missing(command, served, server):
    result = command("--offline")
    assert isinstance(result.exception, SourceError)
    for file in FILES.values():
        assert f"Get it at {server.url}/{file}" in str(result.exception)
    assert all(r.requests == [] for r in served.values())


def test_dry_run_says_what_would_be_done_and_writes_nothing(command, served, archives, tmp_path):
    size = f"{len(archives['msd_liver']) / 1000:.1f} kB"
    shown = lines(command("--dry-run"))
    assert any(x.startswith(f"msd_liver {size} to download {tmp_path}") for x in shown)
    assert f"msd_liver Task03_Liver.tar {size} 0 of 1 {size}" in shown
    assert "msd_liver CC-BY-SA-4.0 any no" in shown
    assert list(tmp_path.iterdir()) == []
    assert all(r.requests == [] for r in served.values())
    command("--accept-licence", "all", names=("msd_liver",))
    shown = lines(command("--dry-run"))
    assert any(x.startswith("msd_liver folder") and x.endswith(" 1 0") for x in shown)
    assert any(x.startswith("msd_spleen") and "to download" in x for x in shown)
