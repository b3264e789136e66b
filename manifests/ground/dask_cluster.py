"""Dask clusters: one that runs somewhere, or one that is started here and ends with the block."""
# pyright: reportUnknownVariableType=false

import logging
from collections.abc import Generator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING

from manifests.ground.errors import MarginaliaError

if TYPE_CHECKING:
    from distributed import Client  # pyright: ignore[reportMissingImports]

HERE = "local"
CONNECT_SECONDS = 10
# Ctrl-C reaches all processes of a terminal; the one that started the others ends them.
NO_INTERRUPT = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)"


class ClusterError(MarginaliaError):
    """There is no Dask cluster, or its workers cannot do the work."""


def check_cluster(address: str) -> None:
    """Refuse an address without a cluster before the work begins.

    Raises:
        ClusterError: There is none, or Dask is not installed.
    """
    if address == HERE:
        _require_distributed()
        return
    with connected(address):
        pass


@contextmanager
def connected(address: str, *, workers: int = 1) -> "Generator[Client]":
    """Yield a client of a cluster.

    The address is that of a scheduler, as in `tcp://host:8786`; `local` starts a cluster here, of
    so many processes with one thread each.

    Raises:
        ClusterError: There is no cluster at the address, or Dask is not installed.
    """
    _require_distributed()
    from distributed import Client, LocalCluster  # pyright: ignore[reportMissingImports]

    if address == HERE:
        # no limit of memory: Dask's would be an equal share, which one large CT exceeds
        with (
            LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                memory_limit=0,
                dashboard_address=":0",
                silence_logs=logging.CRITICAL,
                preload=[NO_INTERRUPT],
            ) as cluster,
            Client(cluster) as client,
        ):
            yield client
        return
    try:
        client = Client(address, timeout=CONNECT_SECONDS)
    except (OSError, ValueError) as error:
        msg = f"no Dask scheduler at {address}: {error}; give an address as in tcp://host:8786"
        raise ClusterError(msg) from error
    with client:
        yield client


def _require_distributed() -> None:
    if find_spec("distributed") is None:
        msg = "--dask needs the package distributed: install marginalia[dask]"
        raise ClusterError(msg)
