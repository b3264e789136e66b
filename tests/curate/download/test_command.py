"""The plan, the licences, the options of `marginalia download`; the network behaves, mostly."""

import json
import random
from collections import namedtuple
from io import StringIO

import pytest
from rich.console import Console
from typer.testing import CliRunner

from curate.commands import app
from curate.download.licence import read_acceptance, require_licences
from curate.download.plan import plan_download, plan_missing
from curate.download.remote_file import Transfer
from curate.download.retry_policy import GaveUpError, RetryPolicy
from curate.download.transfers import Options, download
from curate.progress import download_bars
from curate.recipes.schema import load_recipe
from manifests.ground.errors import SourceError
from tests.curate.fetching import download_missing
from tests.curate.loopback import answer, drop_after, stall_after

CONTENT = random.Random(1).randbytes(200_000)
Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def served(server):
    return server.serve("/Task09_Spleen.tar", CONTENT)


def of_server(served, url, name="msd_spleen"):
    """A shipped recipe with its archive on loopback."""
    recipe = load_recipe(name)
    facts = {
        "url": url, "bytes": len(served.content), "md5": served.md5, "sha256": served.sha256,
    }  # fmt: skip
    return recipe.model_copy(update={"sources": (recipe.sources[0].model_copy(update=facts),)})


@pytest.fixture
def recipe(served, server):
    return of_server(served, f"{server.url}/Task09_Spleen.tar")


@pytest.fixture
def command(monkeypatch, recipe):
    """Run the command; the recipe by its name is the one on loopback."""
    shipped = load_recipe
    monkeypatch.setattr(
        "curate.recipes.schema.load_recipe",
        lambda name: recipe if name == recipe.name else shipped(name),
    )
    monkeypatch.setenv("COLUMNS", "120")

    def run(*arguments):
        return CliRunner().invoke(app, ["download", *map(str, arguments)])

    return run


def refusal(result):
    assert isinstance(result.exception, SourceError)
    return str(result.exception)


# The command.


def test_download_fetches_checks_and_says_so(command, tmp_path, served):
    result = command("msd_spleen", "--raw", tmp_path, "--accept-licence", "msd_spleen")
    assert result.exit_code == 0
    assert result.output == "files fetched: 1\n"
    assert (tmp_path / "msd_spleen" / "Task09_Spleen.tar").read_bytes() == CONTENT
    again = command("msd_spleen", "--raw", tmp_path)
    assert (again.exit_code, again.output) == (0, "everything is there\n")
    assert len(served.requests) == 1


def test_dry_run_says_what_would_come_and_touches_nothing(command, tmp_path, served):
    result = command("--raw", tmp_path, "--dry-run")
    assert result.exit_code == 0
    lines = [" ".join(line.split()) for line in result.output.splitlines()]
    assert "kits19 images/* about 20.2 GB 0 of 210 20.2 GB" in lines
    assert "kits19 data/* 65.9 MB 0 of 211 65.9 MB" in lines
    assert "msd_liver Task03_Liver.tar 28.9 GB 0 of 1 28.9 GB" in lines
    assert "msd_spleen Task09_Spleen.tar 200.0 kB 0 of 1 200.0 kB" in lines
    assert "kits19 CC-BY-NC-SA-4.0 no commercial use no" in lines
    assert served.requests == []
    assert list(tmp_path.iterdir()) == []


def test_dry_run_says_what_is_there_already(command, tmp_path, served):
    served.then(drop_after(150_000), answer(404))
    command("msd_spleen", "--raw", tmp_path, "--accept-licence", "all")
    lines = command("msd_spleen", "--raw", tmp_path, "--dry-run").output.splitlines()
    words = [" ".join(line.split()) for line in lines]
    assert "msd_spleen Task09_Spleen.tar 200.0 kB 0 of 1 50.0 kB more" in words
    command("msd_spleen", "--raw", tmp_path)
    lines = command("msd_spleen", "--raw", tmp_path, "--dry-run").output.splitlines()
    words = [" ".join(line.split()) for line in lines]
    assert "msd_spleen Task09_Spleen.tar 200.0 kB 1 of 1" in words
    day = read_acceptance(load_recipe("msd_spleen"), tmp_path).accepted_at.date()
    assert f"msd_spleen CC-BY-SA-4.0 any {day}" in words


def test_dry_run_names_outdated_masks(command, tmp_path):
    for number in range(7):
        mask = tmp_path / f"kits19/data/case_{number:05d}/segmentation.nii.gz"
        mask.parent.mkdir(parents=True)
        mask.write_bytes(b"of 2019-03-15")
    output = " ".join(command("kits19", "--raw", tmp_path, "--dry-run").output.split())
    assert "outdated, to be fetched again: kits19/data/case_00000/segmentation.nii.gz" in output
    assert "and 2 more" in output


def test_offline_fetches_nothing_and_names_what_is_missing(command, tmp_path, served):
    said = refusal(command("msd_spleen", "--raw", tmp_path, "--offline"))
    assert "--offline" in said
    assert str(tmp_path / "msd_spleen" / "Task09_Spleen.tar") in said
    assert served.requests == []
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "Task09_Spleen.tar").touch()
    assert command("msd_spleen", "--raw", tmp_path, "--offline").exit_code == 0


def test_the_progress_counts_only_what_comes_now():
    drawn = StringIO()
    console = Console(file=drawn, force_terminal=True, width=100)
    with download_bars(console, 160_000) as on_progress:
        on_progress(Transfer("a", 20_000, 100_000, checking=True))  # left by an earlier run
        for done in (40_000, 70_000, 0, 100_000):  # the server sent it anew in between
            on_progress(Transfer("a", done, 100_000))
        for done in (0, 100_000):
            on_progress(Transfer("b", done, None if done == 0 else 100_000))
    last = drawn.getvalue().split("all files")[-1]
    assert "160.0/160.0 kB" in last


# Licences.


def test_without_acceptance_nothing_is_fetched(command, tmp_path, served):
    said = refusal(command("msd_spleen", "--raw", tmp_path))
    assert "CC-BY-SA-4.0" in said
    assert "--accept-licence msd_spleen" in said
    assert served.requests == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["msd_spleen", "all"])
def test_acceptance_is_recorded_once_with_its_option(command, tmp_path, name):
    command("msd_spleen", "--raw", tmp_path, "--accept-licence", name)
    path = tmp_path / "msd_spleen" / "licence.json"
    told = json.loads(path.read_text())
    assert told["dataset"] == "msd_spleen"
    assert told["licence"] == "CC-BY-SA-4.0"
    assert told["accepted_by"] == f"--accept-licence {name}"
    command("msd_spleen", "--raw", tmp_path, "--accept-licence", "all")
    assert json.loads(path.read_text()) == told


def test_acceptance_of_one_dataset_is_none_of_another(tmp_path):
    spleen, kits = load_recipe("msd_spleen"), load_recipe("kits19")
    with pytest.raises(SourceError, match=r"kits19: CC-BY-NC-SA-4.0, no commercial use") as error:
        require_licences([spleen, kits], tmp_path, ["msd_spleen"], None)
    assert "msd_spleen" not in str(error.value)


@pytest.mark.parametrize("accepts", [True, False])
def test_a_person_is_asked_once(tmp_path, accepts):
    recipe, asked = load_recipe("msd_spleen"), []

    def ask(recipe):
        asked.append(recipe.name)
        return accepts

    if accepts:
        for _ in range(2):
            require_licences([recipe, recipe], tmp_path, (), ask)
        assert read_acceptance(recipe, tmp_path).accepted_by == "asked on the terminal"
    else:
        with pytest.raises(SourceError, match="not accepted"):
            require_licences([recipe], tmp_path, (), ask)
        assert read_acceptance(recipe, tmp_path) is None
    assert asked == ["msd_spleen"]


def test_another_licence_has_to_be_accepted_anew(tmp_path):
    recipe = load_recipe("msd_spleen")
    require_licences([recipe], tmp_path, ["all"], None)
    changed = recipe.model_copy(update={"licence": "CC-BY-NC-4.0"})
    with pytest.raises(SourceError, match=r"CC-BY-NC-4\.0"):
        require_licences([changed], tmp_path, (), None)


def test_a_misspelt_dataset_is_not_passed_over(tmp_path):
    with pytest.raises(SourceError, match=r"names msd_splen.*msd_spleen"):
        require_licences([load_recipe("msd_spleen")], tmp_path, ["msd_splen"], None)


# What `prepare` calls.


def test_what_is_there_is_left_alone_without_a_licence_or_a_server(recipe, tmp_path, served):
    (tmp_path / "Task09_Spleen.tar").touch()
    assert download_missing([recipe], tmp_path) == []
    assert served.requests == []
    assert [p.name for p in tmp_path.iterdir()] == ["Task09_Spleen.tar"]


def test_what_was_unpacked_is_left_alone(recipe, tmp_path, served):
    unpacked = tmp_path / "out" / "unpacked"
    (unpacked / "msd_spleen").mkdir(parents=True)
    (unpacked / "msd_spleen" / "dataset.json").touch()
    assert download_missing([recipe], tmp_path / "raw", unpacked=unpacked) == []
    assert served.requests == []
    assert len(plan_missing([recipe], tmp_path / "raw")) == 1


def test_a_part_is_never_taken_for_an_archive(recipe, tmp_path, served):
    served.then(drop_after(150_000), answer(404))
    with pytest.raises(SourceError):
        download_missing([recipe], tmp_path, options=Options(accepted=["all"]))
    assert [p.file.part.stat().st_size for p in plan_missing([recipe], tmp_path)[0].files] == [
        150_000
    ]
    fetched = download_missing([recipe], tmp_path)
    assert [f.part_bytes for s in fetched for f in s.files] == [150_000]
    assert served.ranges[-1] == "bytes=150000-"


def test_a_full_disk_is_told_with_numbers_before_the_first_byte(
    recipe, tmp_path, served, monkeypatch
):
    monkeypatch.setattr(
        "curate.download.transfers.shutil.disk_usage", lambda _: Usage(0, 0, 199_999)
    )
    with pytest.raises(SourceError, match=r"needs 200,000 bytes .*msd_spleen.*has 199,999 free"):
        download_missing([recipe], tmp_path, options=Options(accepted=["all"]))
    assert served.requests == []
    monkeypatch.setattr(
        "curate.download.transfers.shutil.disk_usage", lambda _: Usage(0, 0, 200_000)
    )
    assert len(download_missing([recipe], tmp_path)) == 1


def test_bytes_that_are_there_need_no_room(recipe, tmp_path, served, monkeypatch):
    served.then(drop_after(150_000), answer(404))
    with pytest.raises(SourceError):
        download_missing([recipe], tmp_path, options=Options(accepted=["all"]))
    monkeypatch.setattr(
        "curate.download.transfers.shutil.disk_usage", lambda _: Usage(0, 0, 50_000)
    )
    assert len(download_missing([recipe], tmp_path)) == 1


def test_two_downloads_into_one_folder_do_not_mix(recipe, tmp_path, server, served):
    served.then(stall_after(100_000))
    refused = []

    def second(transfer):
        if transfer.done_bytes == 100_000 and not refused:
            with pytest.raises(SourceError, match="another download") as error:
                download_missing([recipe], tmp_path)
            refused.append(error)
            server.stalled.set()

    download_missing([recipe], tmp_path, options=Options(accepted=["all"]), on_progress=second)
    assert len(refused) == 1
    assert (tmp_path / "msd_spleen" / "Task09_Spleen.tar").read_bytes() == CONTENT


def test_files_come_at_the_same_time(tmp_path, server):
    """Two files that each wait for the other's first bytes."""
    recipes = []
    for name in ("msd_spleen", "msd_liver"):
        resource = server.serve(f"/{name}", CONTENT).then(stall_after(1000))
        recipes.append(of_server(resource, f"{server.url}/{name}", name))
    begun, ended_alone = set(), []

    def on_progress(transfer):
        if transfer.done_bytes:
            begun.add(transfer.name)
        if len(begun) < 2 and transfer.done_bytes == transfer.total_bytes:
            ended_alone.append(transfer.name)
        if len(begun) == 2:
            server.stalled.set()

    fetched = download_missing(
        recipes,
        tmp_path,
        options=Options(accepted=["all"], stall_seconds=20),
        on_progress=on_progress,
    )
    assert len(fetched) == 2
    assert ended_alone == []
    assert all(len(r.requests) == 1 for r in server.resources.values())


def test_one_failure_does_not_keep_the_others(tmp_path, server):
    recipes = []
    for name in ("msd_spleen", "msd_liver", "msd_pancreas"):
        resource = server.serve(f"/{name}", CONTENT)
        recipes.append(of_server(resource, f"{server.url}/{name}", name))
    server.resources["/msd_liver"].forever(answer(403))
    with pytest.raises(SourceError, match=r"1 of 3 files could not be fetched.*\n.*msd_liver"):
        download_missing(recipes, tmp_path, options=Options(accepted=["all"], jobs=1))
    assert (tmp_path / "msd_pancreas" / "Task07_Pancreas.tar").exists()


def test_files_given_up_now_and_then_do_not_end_it(tmp_path, server, monkeypatch):
    monkeypatch.setattr("curate.download.transfers.MAX_GIVEN_UP_IN_A_ROW", 2)
    recipes = []
    for number in range(6):
        resource = server.serve(f"/{number}", CONTENT)
        one = of_server(resource, f"{server.url}/{number}")
        recipes.append(one.model_copy(update={"name": f"dataset{number}"}))
        if number % 2 == 0:
            resource.forever(answer(503))
    policy = RetryPolicy(failures=1, sleep=lambda _: None)
    options = Options(accepted=["all"], policy=policy, jobs=1)
    with pytest.raises(SourceError, match="3 of 6 files"):
        download_missing(recipes, tmp_path, options=options)
    assert (tmp_path / "dataset5" / "Task09_Spleen.tar").exists()


def test_a_network_that_is_gone_ends_it_early(tmp_path, server):
    kits = load_recipe("kits19")
    git = next(s for s in kits.sources if s.kind == "git")
    facts = {"url": f"{server.url}/{{revision}}/{{path}}"}
    recipe = kits.model_copy(update={"sources": (git.model_copy(update=facts),)})
    server.server_close()
    policy = RetryPolicy(failures=1, sleep=lambda _: None)
    options = Options(accepted=["all"], policy=policy, jobs=2)
    with pytest.raises(SourceError, match=r"\d of 211 files could not be fetched") as error:
        download_missing([recipe], tmp_path, options=options)
    assert int(str(error.value).split()[0]) < 10
    assert not isinstance(error.value, GaveUpError)


def test_ctrl_c_ends_all_threads_and_keeps_the_parts(recipe, tmp_path, served, monkeypatch):
    from curate.download import transfers as module

    served.forever(drop_after(10))  # a download that would try again for long

    def interrupted(jobs, pool):
        for job in jobs.values():
            pool.submit(job)
        while not served.requests:
            pass
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "_run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        download(plan_download(recipe, tmp_path), tmp_path, options=Options(accepted=["all"]))
    part = tmp_path / "msd_spleen" / "partial" / "Task09_Spleen.tar.part"
    assert part.exists()
