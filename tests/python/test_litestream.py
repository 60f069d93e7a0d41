"""Litestream beside a server on SQLite: what was written is restored after both were
killed, and the restored database passes the integrity check and is served."""

import json
import pathlib
import subprocess
import time
import unittest
import urllib.request

import yaml

from place import NUMBER, ROOT, Place

FREE = "+912271264220"


class Litestream(unittest.TestCase):
    def settings(self, place):
        """Those of packaging/, for this folder and with a folder as the replica."""
        settings = yaml.safe_load((ROOT / "packaging/litestream.yml").read_text())
        [database] = settings["dbs"]
        database["path"] = str(place.database)
        database["replica"] = {"type": "file", "path": str(place.folder / "replica"), "sync-interval": "100ms"}
        file = place.folder / "litestream.yml"
        file.write_text(yaml.safe_dump(settings))
        return file

    def replicate(self, place, settings):
        log = open(place.folder / "litestream.log", "a")
        self.addCleanup(log.close)
        process = subprocess.Popen(["litestream", "replicate", "-config", str(settings)], stdout=log, stderr=log)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    def restored(self, place, settings, accepted):
        """Restores until the copy has a number, as an operator would who waits for
        the last write; returns the copy's path."""
        until = time.monotonic() + 60
        while True:
            copy = place.folder / "restored.db"
            for old in place.folder.glob("restored.db*"):
                old.unlink()
            done = subprocess.run(
                ["litestream", "restore", "-config", str(settings), "-o", str(copy), str(place.database)],
                capture_output=True,
                text=True,
            )
            if done.returncode == 0 and accepted(copy):
                return copy
            if time.monotonic() > until:
                log = (place.folder / "litestream.log").read_text()
                raise AssertionError(f"no restore has the write: {done.stderr}{log[-3000:]}")
            time.sleep(0.2)

    def state(self, place, database, number):
        return json.loads(
            place.run("number", "show", number, "--partner", "PA_A", "--json", "--database", f"sqlite:{database}")
        )["state"]

    def test_a_killed_server_is_restored_elsewhere(self):
        with Place() as place:
            settings = self.settings(place)
            replica = self.replicate(place, settings)
            place.start()
            self.verb(place, NUMBER, "suspend")
            self.restored(place, settings, lambda copy: self.state(place, copy, NUMBER) == "suspended")
            # Many writes, so that the write-ahead log is checkpointed meanwhile.
            for turn in range(300):
                self.verb(place, NUMBER, "resume" if turn % 2 == 0 else "suspend")
            self.verb(place, FREE, "reserve", {"account_auth_id": "MA_1", "until": "2099-01-01T00:00:00Z"})
            # A second Litestream is what runs after the machine is back.
            self.restored(place, settings, lambda copy: self.state(place, copy, FREE) == "reserved")
            replica.kill()
            place.server.kill()
            place.server.wait()
            copy = self.restored(place, settings, lambda copy: self.state(place, copy, FREE) == "reserved")
            self.assertEqual(self.state(place, copy, NUMBER), "suspended")
            place.run("verify", "--database", f"sqlite:{copy}")
            place.database = copy
            place.start()
            self.verb(place, FREE, "unreserve")
            place.stop()

    def test_a_server_that_starts_again_goes_on_in_the_same_replica(self):
        with Place() as place:
            settings = self.settings(place)
            self.replicate(place, settings)
            for verb, state in (("suspend", "suspended"), ("resume", "active")):
                place.start()
                self.verb(place, NUMBER, verb)
                place.stop()
                self.restored(place, settings, lambda copy: self.state(place, copy, NUMBER) == state)

    def verb(self, place, number, verb, body=None):
        path = f"/api/v1/manage/numbers/{number.replace('+', '%2B')}/{verb}"
        headers = {"X-Auth-ID": "PA_A", "X-Auth-Token": place.token, "Content-Type": "application/json"}
        request = urllib.request.Request(place.address + path, data=json.dumps(body or {}).encode(), headers=headers)
        with urllib.request.urlopen(request, timeout=30) as answer:
            self.assertEqual(answer.status, 200)


if __name__ == "__main__":
    unittest.main()
