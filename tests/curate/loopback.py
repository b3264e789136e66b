"""A real HTTP server on loopback that misbehaves on demand."""

import hashlib
import re
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

CHUNK_BYTES = 16 << 10


@dataclass
class Resource:
    """One path. Every request takes the next fault off the queue; none is left: all goes well."""

    content: bytes
    etag: str | None = '"one"'
    last_modified: str | None = None
    faults: deque = field(default_factory=deque)
    always: "Callable | None" = None
    requests: list = field(default_factory=list)  # headers, by lower-case names
    sent_bytes: int = 0

    def then(self, *faults):
        self.faults.extend(faults)
        return self

    def forever(self, fault):
        self.always = fault
        return self

    @property
    def ranges(self):
        return [r.get("range") for r in self.requests]

    @property
    def md5(self):
        return hashlib.md5(self.content).hexdigest()

    @property
    def sha256(self):
        return hashlib.sha256(self.content).hexdigest()


@dataclass
class Reply:
    """What is about to be sent; a fault changes it."""

    status: int
    headers: dict
    body: bytes
    break_after: int | None = None
    reset: bool = False
    stall_after: int | None = None


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        path = re.sub(r"^http://[^/]*", "", self.path)  # a proxy is sent the whole URL
        if path != self.path:
            self.server.proxied.append(self.path)
        if path in self.server.routes:
            self.server.routes[path](self)
            return
        resource = self.server.resources.get(path)
        if resource is None:
            self.send(Reply(404, {"content-length": "0"}, b""))
            return
        headers = {k.lower(): v for k, v in self.headers.items()}
        resource.requests.append(headers)
        fault = resource.faults.popleft() if resource.faults else resource.always
        reply = honest(resource, headers)
        if fault:
            reply = fault(resource, headers, reply) or reply
        self.send(reply, resource)

    do_POST = do_GET  # noqa: N815

    def send(self, reply, resource=None):
        self.send_response_only(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.end_headers()
        sent = 0
        while sent < len(reply.body) and sent != reply.break_after:
            if sent == reply.stall_after:
                self.server.stalled.wait(30)
            marks = [m for m in (reply.break_after, reply.stall_after) if m and m > sent]
            stop = min(len(reply.body), sent + CHUNK_BYTES, *marks)
            if resource:
                resource.sent_bytes += stop - sent  # before the client can have all of it
            self.wfile.write(reply.body[sent:stop])
            sent = stop
        if reply.break_after is not None:
            self.end(reply)
        if "content-length" not in reply.headers:
            self.close_connection = True

    def end(self, reply):
        """Close in the middle; with a reset, what is under way to the client is lost."""
        self.close_connection = True
        if reply.reset:
            linger = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

    def log_message(self, *_args):
        pass

    def handle(self):
        with suppress(BrokenPipeError, ConnectionResetError):
            super().handle()


def honest(resource, headers):
    """What a good server answers, `If-Range` and all."""
    content, common = resource.content, {"accept-ranges": "bytes"}
    if resource.etag:
        common["etag"] = resource.etag
    if resource.last_modified:
        common["last-modified"] = resource.last_modified
    span = re.fullmatch(r"bytes=(\d+)-", headers.get("range", ""))
    current = headers.get("if-range") in (None, resource.etag, resource.last_modified)
    if not (span and current):
        return Reply(200, {**common, "content-length": str(len(content))}, content)
    first = int(span[1])
    if first >= len(content):
        common |= {"content-range": f"bytes */{len(content)}", "content-length": "0"}
        return Reply(416, common, b"")
    rest = content[first:]
    common["content-range"] = f"bytes {first}-{len(content) - 1}/{len(content)}"
    return Reply(206, {**common, "content-length": str(len(rest))}, rest)


# Faults.


def fine(_resource, _headers, reply):
    return reply


def drop_after(count):
    """Close the connection after so many bytes of the body."""

    def fault(_resource, _headers, reply):
        reply.break_after = min(count, len(reply.body))
        return reply

    return fault


def reset_after(count):
    """Reset the connection after so many bytes of the body; some may never arrive."""

    def fault(_resource, _headers, reply):
        reply.break_after, reply.reset = min(count, len(reply.body)), True
        return reply

    return fault


def stall_after(count):
    """Send nothing more after so many bytes, and keep the connection open."""

    def fault(_resource, _headers, reply):
        reply.stall_after = count
        return reply

    return fault


def answer(status, **headers):
    """Another status, without the file."""

    def fault(_resource, _headers, _reply):
        named = {k.replace("_", "-"): v for k, v in headers.items()}
        return Reply(status, {"content-length": "0", **named}, b"")

    return fault


def ignore_range(resource, _headers, _reply):
    return honest(resource, {})


def ignore_if_range(resource, headers, _reply):
    return honest(resource, {"range": headers["range"]} if "range" in headers else {})


def and_then(*faults):
    """Several faults in one answer."""

    def fault(resource, headers, reply):
        for each in faults:
            reply = each(resource, headers, reply) or reply
        return reply

    return fault


def change_to(content, etag):
    """From now on the path holds another file."""

    def fault(resource, headers, _reply):
        resource.content, resource.etag = content, etag
        return honest(resource, headers)

    return fault


def say_length(count):
    """Lie about the length, then close."""

    def fault(_resource, _headers, reply):
        reply.headers["content-length"] = str(count)
        if count > len(reply.body):
            reply.break_after = len(reply.body)
        else:
            reply.body = reply.body[:count]
        return reply

    return fault


def say_no_length(_resource, _headers, reply):
    del reply.headers["content-length"]
    reply.headers["connection"] = "close"
    return reply


def say_range(text):
    def fault(_resource, _headers, reply):
        reply.headers["content-range"] = text
        return reply

    return fault


def send_instead(body, **headers):
    """Status 200 with something else."""

    def fault(_resource, _headers, _reply):
        named = {k.replace("_", "-"): v for k, v in headers.items()}
        return Reply(200, {"content-length": str(len(body)), **named}, body)

    return fault


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.resources = {}
        self.routes = {}
        self.proxied = []
        self.stalled = threading.Event()

    @property
    def url(self):
        scheme = "https" if hasattr(self.socket, "context") else "http"
        return f"{scheme}://127.0.0.1:{self.server_port}"

    def serve(self, path, content, **facts):
        self.resources[path] = Resource(content, **facts)
        return self.resources[path]

    def handle_error(self, _request, _client_address):
        pass


@contextmanager
def serving():
    """A server that runs while the block does."""
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.stalled.set()
            server.shutdown()
            thread.join()
