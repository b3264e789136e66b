"""Where the files of a pinned revision of a Hugging Face data set are, with their checksums.

The bytes come over `curate.download.http`: `hf_hub_download` starts over after every kill since
huggingface_hub 1.18, and compares sizes only.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import httpx2
from huggingface_hub import HfApi, get_token, hf_hub_url, is_offline_mode, set_client_factory
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import RepoFile

from curate.download.http_client import certificate_problem, new_client
from curate.download.http_response import transient_error
from curate.download.remote_file import RemoteFile
from curate.download.retry_policy import RetryPolicy, TransientError, with_retries
from curate.recipes.sources import HuggingFaceSource
from manifests.ground.errors import SourceError

BATCH = 500  # the server takes a thousand paths at a time

Wanted = tuple[str, RemoteFile]  # where it lies in the repository, and what is to become of it


def resolve_files(
    source: HuggingFaceSource, wanted: Sequence[Wanted], policy: RetryPolicy
) -> list[RemoteFile]:
    """Return the files with their addresses, sizes and checksums, as the repository lists them.

    `HF_ENDPOINT` and `HF_TOKEN`, or a token that `hf auth login` left, are heeded.

    Raises:
        SourceError: There is no such repository, revision or file, or we may not have it.
    """
    set_client_factory(new_client)  # its own would wait for ever
    endpoint = os.environ.get("HF_ENDPOINT") or None
    paths = [path for path, _ in wanted]
    listed: dict[str, RepoFile] = {}
    for first in range(0, len(paths), BATCH):
        action = partial(_look_up, source, paths[first : first + BATCH], endpoint)
        listed |= with_retries(action, policy, what=f"the files of {source.repository}")
    if missing := [path for path in paths if path not in listed]:
        msg = (
            f"{source.repository} at revision {source.revision[:12]} lacks {len(missing)} of "
            f"{len(paths)} files, the first: {missing[0]}; correct files, first and last in the "
            f"recipe"
        )
        raise SourceError(msg)
    token = get_token()
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    address = partial(
        hf_hub_url,
        source.repository,
        repo_type="dataset",
        revision=source.revision,
        endpoint=endpoint,
    )
    return [
        replace(
            file,
            url=address(path),
            size_bytes=listed[path].size,
            sha256=lfs.sha256 if (lfs := listed[path].lfs) else None,
            headers=headers,
        )
        for path, file in wanted
    ]


def _look_up(
    source: HuggingFaceSource, paths: list[str], endpoint: str | None
) -> dict[str, RepoFile]:
    """Ask once for what there is of these files.

    Raises:
        TransientError: It may go well when it is tried again.
        SourceError: It never will.
    """
    where = f"{source.repository} at revision {source.revision[:12]}"
    if is_offline_mode():
        msg = f"{where} cannot be listed: HF_HUB_OFFLINE is set; unset it, or use --offline"
        raise SourceError(msg)
    try:
        entries = HfApi(endpoint=endpoint).get_paths_info(
            source.repository, paths, revision=source.revision, repo_type="dataset"
        )
        return {e.path: e for e in entries if isinstance(e, RepoFile)}
    except HfHubHTTPError as error:
        raise _refusal(error, source, where) from error
    except json.JSONDecodeError as error:
        reason = "something else than a list came: does this network want a log-in?"
        raise TransientError(reason) from error
    except httpx2.TransportError as error:
        if problem := certificate_problem(error):
            msg = f"{where} cannot be listed: {problem}"
            raise SourceError(msg) from error
        reason = f"{type(error).__name__}: {error}"
        raise TransientError(reason) from error


def _refusal(
    error: HfHubHTTPError, source: HuggingFaceSource, where: str
) -> TransientError | SourceError:
    if isinstance(error, GatedRepoError):
        return SourceError(
            f"{where} wants its terms to be accepted: do so at https://huggingface.co/datasets/"
            f"{source.repository}, then run `hf auth login` or set HF_TOKEN"
        )
    if isinstance(error, RevisionNotFoundError):
        return SourceError(f"there is no {where}: correct the revision in the recipe")
    status = error.response.status_code
    if isinstance(error, RepositoryNotFoundError) or status == 401:
        return SourceError(
            f"there is no data set {source.repository} that you can access: if a token is set, "
            f"see that it is still valid (`hf auth whoami`); if the data set is private, run "
            f"`hf auth login` or set HF_TOKEN; if HF_ENDPOINT is set, check that it has it"
        )
    said = f"{source.repository} cannot be listed: the server answered {status}: {error}"
    return transient_error(error.response) or SourceError(said)
