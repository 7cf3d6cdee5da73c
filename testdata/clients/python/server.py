"""Starts one Caddy with a separate data directory for a test."""

import os
import pathlib
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

# The longest time in seconds that a test waits for anything.
PATIENCE = 30

CADDYFILE = pathlib.Path(__file__).resolve().parent.parent / "Caddyfile"


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def eventually(what, ask):
    """Repeats ask until it returns a true value, and returns that value.

    Only asking reveals what another process has done, so this is the one place that polls.
    """
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        answer = ask()
        if answer:
            return answer
        time.sleep(0.02)
    raise AssertionError(f"not true after {PATIENCE} s: {what}")


class Server:
    """A running Caddy. address is host and port; dir is for the files of the test."""

    def __init__(self):
        self.address = f"127.0.0.1:{free_port()}"
        self.dir = tempfile.mkdtemp(prefix="buildtoken-")
        self._log = open(os.path.join(self.dir, "log"), "wb")
        env = dict(
            os.environ,
            BUILDTOKEN_ADDRESS=self.address,
            HOME=self.dir,
            XDG_DATA_HOME=os.path.join(self.dir, "data"),
            XDG_CONFIG_HOME=os.path.join(self.dir, "config"),
        )
        self._caddy = subprocess.Popen(
            [os.environ["BUILDTOKEN_BINARY"], "run", "--config", str(CADDYFILE), "--adapter", "caddyfile"],
            cwd=self.dir, env=env, stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log,
        )
        try:
            eventually("Caddy answers", self._answers)
        except BaseException:
            self.stop()
            raise

    def _answers(self):
        if self._caddy.poll() is not None:
            raise AssertionError("Caddy has exited")
        try:
            urllib.request.urlopen(f"http://{self.address}/", timeout=PATIENCE).close()
        except urllib.error.HTTPError:
            return True
        except OSError:
            return False
        return True

    def stop(self):
        self._caddy.terminate()  # not kill, so that Caddy ends its builds too
        try:
            status = self._caddy.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._caddy.kill()
            status = self._caddy.wait()
        self._log.close()
        log = pathlib.Path(self._log.name).read_text(errors="replace")
        shutil.rmtree(self.dir, ignore_errors=True)
        if status != 0:
            raise AssertionError(f"Caddy exited with {status}:\n{log[-4000:]}")
