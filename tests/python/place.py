"""A folder with a database, and a server on it: the real program, over real sockets."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = os.environ["ROLLCALL"]
NUMBER = "+912271264217"
NUMBERS = (
    "number,account_auth_id,account_name,application_id,application_name,monthly_cost,currency\n"
    "+912271264217,MA_1,Globex,app_1,IVR,500.00,INR\n"
    "+912271264218,MA_1,Globex,,,500.00,INR\n"
    "+912271264219,MA_2,Initech,app_1,IVR,750.00,INR\n"
    "+912271264220,,,,,500.00,INR\n"
)


class Place:
    def __init__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="rollcall-"))
        self.database = self.folder / "rollcall.db"
        self.server = None

    def __enter__(self):
        self.run("partner", "create", "--auth-id", "PA_A", "--name", "Example")
        file = self.folder / "numbers.csv"
        file.write_text(NUMBERS)
        self.run("import", str(file), "--partner", "PA_A")
        made = self.run("key", "create", "--partner", "PA_A", "--name", "tests", "--scope", "manage", "--json")
        self.token = json.loads(made)["auth_token"]
        return self

    def __exit__(self, *_):
        if self.server is not None:
            self.stop()
        shutil.rmtree(self.folder)

    def environment(self):
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("ROLLCALL_", "OTEL_"))}
        return {**kept, "ROLLCALL_DATABASE": f"sqlite:{self.database}", "NO_COLOR": "1"}

    def run(self, *words):
        done = subprocess.run([PROGRAM, *words], env=self.environment(), cwd=self.folder, capture_output=True, text=True)
        if done.returncode != 0:
            raise AssertionError(f"rollcall {' '.join(words)}: {done.stdout}{done.stderr}")
        return done.stdout

    def start(self, settings="", environment=None):
        """Starts a server; returns its address."""
        file = self.folder / "rollcall.toml"
        file.write_text(settings)
        log = self.folder / "log"
        command = [PROGRAM, "serve", "--listen", "127.0.0.1:0", "--create", "--config", str(file)]
        environment = {**self.environment(), **(environment or {})}
        with open(log, "w") as file:
            self.server = subprocess.Popen(command, env=environment, cwd=self.folder, stderr=file)
        self.address = self.logged(r"listening on (http://127\.0\.0\.1:\d+)(?:\s|$)")
        return self.address

    def logged(self, pattern, seconds=60):
        """Waits until the log has a line; returns its first group, or the line."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            text = (self.folder / "log").read_text()
            if found := re.search(pattern, text):
                return found.group(1) if found.groups() else found.group(0)
            if self.server.poll() is not None:
                break
            time.sleep(0.02)
        raise AssertionError(f"the log lacks {pattern}: {text}")

    def stop(self):
        self.server.terminate()
        ended = self.server.wait(60)
        self.server = None
        if ended != 0:
            raise AssertionError(f"the server ended with {ended}: {(self.folder / 'log').read_text()}")
