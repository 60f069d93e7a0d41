"""A PostgreSQL that Patroni keeps, below a server that writes all the time: the
settings of packaging/patroni, two nodes and an etcd on this machine. After a
switchover and after the loss of the primary, every acknowledged write is there."""

import glob
import json
import os
import pathlib
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import unittest
import urllib.error
import urllib.request
import uuid

import yaml

from place import PROGRAM, ROOT, Place

BIN = next(iter(sorted(glob.glob("/usr/lib/postgresql/*/bin"))), "")
MISSING = [name for name in ("patroni", "patronictl", "etcd") if not shutil.which(name)]
if (MISSING or not BIN) and "ROLLCALL_TEST_SKIPS" in os.environ:
    with open(os.environ["ROLLCALL_TEST_SKIPS"], "a") as skips:
        skips.write("a PostgreSQL that Patroni keeps: Patroni, etcd or PostgreSQL is missing\n")
LIST = "/api/v1/partner/accounts"


def ports(count):
    """Ports that are free now."""
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    found = [one.getsockname()[1] for one in held]
    for one in held:
        one.close()
    return found


class Cluster:
    """One etcd and two nodes of Patroni, as the user postgres where this is root."""

    def __init__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="rollcall-patroni-"))
        self.user = pwd.getpwnam("postgres") if os.getuid() == 0 else None
        if self.user:
            os.chown(self.folder, self.user.pw_uid, self.user.pw_gid)
        self.processes = {}
        self.etcd, peer, *rest = ports(6)
        self.databases, self.apis = rest[:2], rest[2:]
        self.settings = [self.node(at) for at in range(2)]
        etcd = f"http://127.0.0.1:{self.etcd}"
        self.begin(
            "etcd",
            *("etcd", "--data-dir", str(self.folder / "etcd"), "--name", "etcd", "--listen-client-urls", etcd),
            *("--advertise-client-urls", etcd, "--listen-peer-urls", f"http://127.0.0.1:{peer}"),
            *("--initial-advertise-peer-urls", f"http://127.0.0.1:{peer}"),
            *("--initial-cluster", f"etcd=http://127.0.0.1:{peer}", "--unsafe-no-fsync"),
        )
        self.wait("etcd answers", lambda: self.answers(etcd + "/health"))
        self.start(0)
        self.wait("a first primary", lambda: self.primary() == 0)
        self.start(1)
        self.wait("a synchronous standby", lambda: self.roles().get("db-2") == "sync_standby")

    def node(self, at):
        """The settings of packaging/, for a node on this machine."""
        settings = yaml.safe_load((ROOT / "packaging/patroni/patroni.yml").read_text())
        name, database, api = f"db-{at + 1}", self.databases[at], self.apis[at]
        settings["name"] = name
        settings["restapi"] = {"listen": f"127.0.0.1:{api}", "connect_address": f"127.0.0.1:{api}"}
        settings["etcd3"] = {"hosts": [f"127.0.0.1:{self.etcd}"]}
        # The shortest that Patroni takes, so that the test is short.
        settings["bootstrap"]["dcs"].update(ttl=20, loop_wait=1, retry_timeout=3)
        postgres = settings["postgresql"]
        postgres["listen"] = postgres["connect_address"] = f"127.0.0.1:{database}"
        postgres.update(data_dir=str(self.folder / name), bin_dir=BIN, pgpass=str(self.folder / f"{name}.pgpass"))
        postgres["parameters"] = {"unix_socket_directories": str(self.folder)}
        for who in postgres["authentication"].values():
            who["password"] = "trial"
        postgres["pg_hba"] = ["host all all 127.0.0.1/32 scram-sha-256", "host replication replicator 127.0.0.1/32 scram-sha-256"]
        file = self.folder / f"{name}.yml"
        file.write_text(yaml.safe_dump(settings))
        return file

    def begin(self, name, *command):
        log = open(self.folder / f"{name}.log", "a")
        named = {"user": self.user.pw_uid, "group": self.user.pw_gid, "extra_groups": []} if self.user else {}
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.folder), "LC_ALL": "C.UTF-8"}
        self.processes[name] = subprocess.Popen(
            command, stdout=log, stderr=log, cwd=self.folder, env=environment, start_new_session=True, **named
        )
        log.close()

    def start(self, at):
        # By its path: the environment of the tests has another Python.
        self.begin(f"db-{at + 1}", "/usr/bin/python3", shutil.which("patroni"), str(self.settings[at]))

    def answers(self, url):
        try:
            with urllib.request.urlopen(url, timeout=2) as answer:
                return answer.read() or b"{}"
        except OSError:
            return None

    def members(self):
        for api in self.apis:
            if text := self.answers(f"http://127.0.0.1:{api}/cluster"):
                return json.loads(text)["members"]
        return []

    def roles(self):
        return {one["name"]: one["role"] for one in self.members() if one["state"] in ("running", "streaming")}

    def primary(self):
        """The node whose own answer says that it is the primary."""
        for at, api in enumerate(self.apis):
            if self.answers(f"http://127.0.0.1:{api}/primary"):
                return at
        return None

    def wait(self, what, holds, seconds=120):
        until = time.monotonic() + seconds
        while not holds():
            if time.monotonic() > until:
                logs = {file.name: file.read_text()[-2000:] for file in self.folder.glob("*.log")}
                raise AssertionError(f"no {what}: {self.members()} {logs}")
            time.sleep(0.1)

    def switch_over(self, to):
        leader = f"db-{2 - to}"
        command = ["/usr/bin/python3", shutil.which("patronictl"), "-c", str(self.settings[to]), "switchover", "rollcall"]
        command += ["--leader", leader, "--candidate", f"db-{to + 1}", "--force"]
        environment = {"PATH": "/usr/bin:/bin", "HOME": str(self.folder), "LC_ALL": "C.UTF-8"}
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        if done.returncode != 0:
            raise AssertionError(f"no switchover: {done.stdout}{done.stderr}")

    def lose(self, at):
        """The machine is gone: Patroni and every process of its PostgreSQL at once."""
        first = int((self.folder / f"db-{at + 1}" / "postmaster.pid").read_text().split()[0])
        patroni = self.processes.pop(f"db-{at + 1}")
        children = subprocess.run(["pgrep", "-P", str(first)], capture_output=True, text=True).stdout.split()
        patroni.kill()
        for process in [first, *map(int, children)]:
            try:
                os.kill(process, signal.SIGKILL)
            except ProcessLookupError:
                pass
        patroni.wait()

    def sql(self, text, database="postgres"):
        at = self.primary()
        environment = {"PATH": os.environ["PATH"], "PGPASSWORD": "trial"}
        address = ["-h", "127.0.0.1", "-p", str(self.databases[at]), "-U", "postgres", "-d", database]
        done = subprocess.run([f"{BIN}/psql", "-v", "ON_ERROR_STOP=1", *address, "-c", text], env=environment, capture_output=True, text=True)
        if done.returncode != 0:
            raise AssertionError(f"psql: {done.stderr}")

    def close(self):
        for name, process in sorted(self.processes.items()):
            if name != "etcd":
                process.terminate()
        for name, process in sorted(self.processes.items(), reverse=True):
            if name == "etcd":
                continue
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if "etcd" in self.processes:
            self.processes["etcd"].terminate()
            self.processes["etcd"].wait()
        shutil.rmtree(self.folder, ignore_errors=True)


class Writer:
    """Creates customers one after the other, each until it is acknowledged."""

    def __init__(self, place):
        self.place, self.acknowledged, self.refused, self.stop = place, [], 0, threading.Event()
        self.longest, self.failure, self.thread = 0.0, None, threading.Thread(target=self.guarded)
        self.thread.start()

    def guarded(self):
        try:
            self.work()
        except AssertionError as failure:
            self.failure = failure

    def count(self):
        if self.failure:
            raise self.failure
        return len(self.acknowledged)

    def work(self):
        number = 0
        while not self.stop.is_set():
            number += 1
            name, key, began = f"MA_W{number}", str(uuid.uuid4()), time.monotonic()
            while not self.create(name, key):
                self.refused += 1
                if self.stop.is_set():
                    return
                time.sleep(0.05)
            self.longest = max(self.longest, time.monotonic() - began)
            self.acknowledged.append(name)

    def create(self, name, key):
        body = json.dumps({"account_auth_id": name, "name": name}).encode()
        headers = {"X-Auth-ID": "PA_A", "X-Auth-Token": self.place.token, "Content-Type": "application/json"}
        request = urllib.request.Request(
            self.place.address + "/api/v1/manage/accounts", data=body, headers={**headers, "Idempotency-Key": key}
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status in (200, 201)
        except urllib.error.HTTPError as error:
            if error.code != 503:
                raise AssertionError(f"{name}: {error.code} {error.read()}") from error
            return False

    def end(self):
        self.stop.set()
        self.thread.join()


@unittest.skipIf(MISSING or not BIN, f"missing: {', '.join(MISSING) or 'PostgreSQL'}")
class Patroni(unittest.TestCase):
    def test_writes_survive_a_switchover_and_the_loss_of_the_primary(self):
        cluster = Cluster()
        self.addCleanup(cluster.close)
        cluster.sql("CREATE ROLE rollcall LOGIN PASSWORD 'trial'")
        cluster.sql("CREATE DATABASE rollcall OWNER rollcall")
        password = cluster.folder / "password"
        password.write_text("trial")
        password.chmod(0o600)
        hosts = ",".join(f"127.0.0.1:{port}" for port in cluster.databases)
        place = Postgres(f"postgres://rollcall@{hosts}/rollcall?sslmode=disable", password)
        self.enterContext(place)
        place.start(f'[postgres]\npassword_file = "{password}"\n')
        writer = Writer(place)
        self.addCleanup(writer.end)

        cluster.wait("writes", lambda: writer.count() >= 20)
        cluster.switch_over(1)
        cluster.wait("a new primary", lambda: cluster.primary() == 1)
        after = len(writer.acknowledged)
        cluster.wait("writes after the switchover", lambda: writer.count() >= after + 20)
        switchover = writer.longest
        cluster.wait("the former primary as a standby", lambda: cluster.roles().get("db-1") == "sync_standby")

        writer.longest = 0.0
        after = len(writer.acknowledged)
        cluster.lose(1)
        cluster.wait("a promoted standby", lambda: cluster.primary() == 0)
        cluster.wait("writes after the loss", lambda: writer.count() >= after + 20)
        loss = writer.longest
        writer.end()

        listed, page = set(), 1
        while rows := place.accounts(page):
            listed |= {row["account_auth_id"] for row in rows}
            page += 1
        self.assertEqual([name for name in writer.acknowledged if name not in listed], [])
        place.run("verify", "--config", str(place.folder / "rollcall.toml"))
        place.stop()
        print(f"{len(writer.acknowledged)} writes; the longest waited {switchover:.1f} s for the switchover and {loss:.1f} s for the loss")
        self.assertLess(loss, 90)


class Postgres(Place):
    def __init__(self, database, password):
        super().__init__()
        self.uri, self.password = database, password

    def environment(self):
        passfile = self.folder / "pgpass"
        passfile.write_text("*:*:*:rollcall:trial\n")
        passfile.chmod(0o600)
        return {**super().environment(), "ROLLCALL_DATABASE": self.uri, "PGPASSFILE": str(passfile)}

    def accounts(self, page):
        headers = {"X-Auth-ID": "PA_A", "X-Auth-Token": self.token}
        request = urllib.request.Request(f"{self.address}{LIST}?per_page=100&page={page}", headers=headers)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)["data"]


if __name__ == "__main__":
    unittest.main()
