"""Start our commands from a process that has imported ESPnet already.

Importing ESPnet takes ten seconds of a processor, half of them for its type checks, and
most commands of the tests have less to do. A server imports it once and forks for each
command, which then runs as by ``python -m``, with imports of our modules of its own.

    python("-m", "espnet_a2m.bin.score", ...)    # words for subprocess.run
    process = Process(["espnet_a2m.bin.score", ...], files=...)    # to be killed
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import json
import os
import resource
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO

LIMIT = 1 << 17  # bytes of a request: words and environment


class Process:
    """``python -m WORDS`` as a fork of the server, in a process group of its own.

    Args:
        words: Module and arguments.
        address: Socket of the server; None: of this process's own.
        cwd: Working directory.
        env: The environment.
        files: Standard input, output and error.
    """

    def __init__(
        self,
        words: Sequence[str],
        address: str | None = None,
        *,
        cwd: str | Path | None = None,
        env: dict[str, str] | None = None,
        files: Sequence[IO | int] = (0, 1, 2),
    ) -> None:
        request = {
            "words": list(words),
            "cwd": str(cwd or Path.cwd()),
            "env": dict(os.environ) if env is None else env,
            "fsize": resource.getrlimit(resource.RLIMIT_FSIZE),
        }
        self.connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.connection.connect(address or str(server() / "socket"))
        numbers = [f if isinstance(f, int) else f.fileno() for f in files]
        socket.send_fds(self.connection, [json.dumps(request).encode()], numbers)
        self.pid = int(self.connection.recv(LIMIT))
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """The exit status, negative for a signal; None while it runs."""
        if self.returncode is None and select.select([self.connection], [], [], 0)[0]:
            self.wait()
        return self.returncode

    def wait(self) -> int:
        """Wait for its end; returns the exit status."""
        if self.returncode is None:
            self.returncode = int(self.connection.recv(LIMIT))
            self.connection.close()
        return self.returncode


@functools.cache
def server() -> Path:
    """A folder with the socket of this process's server and, in ``bin``, a ``python3``
    that lets it run modules and all else by the interpreter of the tests."""
    folder = tempfile.TemporaryDirectory(prefix="a2m_fork_")  # a short path
    address, program = Path(folder.name) / "socket", Path(folder.name) / "bin/python3"
    program.parent.mkdir()
    program.write_text(
        "#!/bin/sh\n"
        f'[ "$1" = -m ] || exec \'{sys.executable}\' "$@"\n'
        f"shift; exec '{sys.executable}' -S '{__file__}' run '{address}' \"$@\"\n"
    )
    program.chmod(0o755)
    extras = Path(__file__).with_name("default_install")
    process = subprocess.Popen(
        [sys.executable, "-u", __file__, "serve", str(address)],
        env={**os.environ, "PYTHONPATH": str(extras), "OMP_NUM_THREADS": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )

    def stop() -> None:
        process.communicate()
        folder.cleanup()

    atexit.register(stop)
    assert process.stdout
    said = []  # by ESPnet, of optional packages
    while not said or said[-1] != b"ready\n":
        said.append(process.stdout.readline())
        assert said[-1], b"".join(said).decode()
    return Path(folder.name)


def python(*words: object) -> list[str]:
    """A command line of the server's ``python3``."""
    return [str(server() / "bin" / "python3"), *map(str, words)]


# --- The server ------------------------------------------------------------------


def serve(address: str) -> None:
    """Fork for each request; returns in the fork, where the command is to be run.

    Ends with the process that started it, which closes the standard input.
    """
    # Not redirected: functions of ESPnet have sys.stdout as a default
    import espnet2.bin.asr_inference  # noqa: F401
    import espnet2.tasks.asr  # noqa: F401

    ours = {str(Path(__file__).parent), *os.environ["PYTHONPATH"].split(os.pathsep)}
    sys.path[:] = [path for path in sys.path if path not in ours]
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(address)
        listener.listen(64)
        gc.freeze()  # no fork need copy what all share, to look for garbage
        print("ready")
        while sys.stdin not in select.select([listener, sys.stdin], [], [])[0]:
            connection, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                return watch(connection)
            connection.close()
            with contextlib.suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
    sys.exit()


def watch(connection: socket.socket) -> None:
    """Fork once more and report the status; where the client ends, end the command."""
    message, files, _, _ = socket.recv_fds(connection, LIMIT, 3)
    pid = os.fork()
    with contextlib.suppress(PermissionError, ProcessLookupError):
        os.setpgid(pid, pid)
    if pid == 0:
        connection.close()
        become(json.loads(message), files)
        return
    for number in files:
        os.close(number)
    connection.send(str(pid).encode())
    if connection in select.select([os.pidfd_open(pid), connection], [], [])[0]:
        os.killpg(pid, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    with contextlib.suppress(OSError):
        connection.send(str(status).encode())
    os._exit(0)


def become(request: dict, files: Sequence[int]) -> None:
    """Take the files, folder, environment, limit and words of a request."""
    resource.setrlimit(resource.RLIMIT_FSIZE, request["fsize"])
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    sys.path[:0] = [request["cwd"], *filter(None, paths)]
    sys.argv = request["words"]
    # as in the foreground: what tests start in the background ignores it
    signal.signal(signal.SIGINT, signal.default_int_handler)


if __name__ == "__main__":
    role, socket_path, *command = sys.argv[1:]
    if role == "serve":
        serve(socket_path)
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    else:
        process = Process(command, socket_path)
        for number in (signal.SIGINT, signal.SIGTERM):  # for it and its group
            signal.signal(number, lambda n, _: os.killpg(process.pid, n))
        code = process.wait()
        sys.exit(code if code >= 0 else 128 - code)
