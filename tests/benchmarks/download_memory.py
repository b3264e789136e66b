"""Measure memory and speed of a download.

Run `python tests/benchmarks/download_memory.py [GIGABYTES]`. A server in a process of its own
sends a sparse file over loopback and drops the connection every half gigabyte; this process
fetches it with both checksums, as `marginalia download` would. Peak resident memory is taken
before the download, after a small file, and after the large one: the last two should be the same.
"""

import hashlib
import multiprocessing
import resource
import shutil
import sys
import tempfile
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from pathlib import Path

from rich.console import Console
from rich.table import Table

from curate.download.http import Session, fetch
from curate.download.http_client import new_client
from curate.download.remote_file import RemoteFile
from curate.download.retry_policy import RetryPolicy

SMALL_BYTES = 64 << 20
DROP_BYTES = 512 << 20
ZEROS = bytes(1 << 20)


class Handler(BaseHTTPRequestHandler):
    """Sends zeros: as many as the path says, from where the Range header says."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        size = int(self.path[1:])
        first = int(self.headers.get("range", "bytes=0-")[6:-1])
        self.send_response_only(206 if first else 200)
        self.send_header("etag", '"zeros"')
        self.send_header("content-length", str(size - first))
        if first:
            self.send_header("content-range", f"bytes {first}-{size - 1}/{size}")
        self.end_headers()
        left = min(size - first, DROP_BYTES)
        while left:
            left -= self.connection.send(memoryview(ZEROS)[: min(left, len(ZEROS))])
        self.close_connection = True


def serve(channel: Connection) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    channel.send(server.server_port)
    server.serve_forever()


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def checksums(size: int) -> tuple[str, str]:
    """MD5 and SHA-256 of zeros; the time it takes is the least that a download can take."""
    hashes = hashlib.md5(), hashlib.sha256()
    for _ in range(size // len(ZEROS)):
        for each in hashes:
            each.update(ZEROS)
    return hashes[0].hexdigest(), hashes[1].hexdigest()


def measure(url: str, size: int, folder: Path) -> tuple[int, float, float]:
    """Failures on the way, seconds for the checksums alone, seconds for the download."""
    started = time.perf_counter()
    md5, sha256 = checksums(size)
    hashing = time.perf_counter() - started
    target = folder / str(size)
    file = RemoteFile(str(size), f"{url}/{size}", target, folder / "part", size, md5, sha256)
    waits: list[float] = []
    with new_client() as client:
        started = time.perf_counter()
        fetch(file, Session(client, RetryPolicy(sleep=waits.append)))
        seconds = time.perf_counter() - started
    assert target.stat().st_size == size
    target.unlink()
    return len(waits), hashing, seconds


def main() -> None:
    large = int(float(sys.argv[1] if len(sys.argv) > 1 else 3) * 1024) << 20
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs,), daemon=True)
    server.start()
    url = f"http://127.0.0.1:{ours.recv()}"
    table = Table(title="Download over loopback")
    for name in ("size, MiB", "drops", "checksums alone, s", "download, s", "MiB/s", "peak, MiB"):
        table.add_column(name, justify="right")
    table.add_row("0", "", "", "", "", f"{peak_mib():.1f}")
    folder = Path(tempfile.mkdtemp())
    try:
        for size in (SMALL_BYTES, large):
            drops, hashing, seconds = measure(url, size, folder)
            speed = (size >> 20) / seconds
            cells = (str(size >> 20), str(drops), f"{hashing:.1f}", f"{seconds:.1f}")
            table.add_row(*cells, f"{speed:.0f}", f"{peak_mib():.1f}")
    finally:
        shutil.rmtree(folder)
        server.terminate()
    Console().print(table)


if __name__ == "__main__":
    main()
