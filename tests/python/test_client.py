"""A client that is generated from openapi.json compiles, and its most common calls
get what they expect of a real server."""

import compileall
import datetime
import importlib
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest
import uuid

from place import NUMBER, ROOT, Place

FREE = "+912271264220"


class GeneratedClient(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="rollcall-client-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        command = ["openapi-python-client", "generate", "--meta", "none", "--path", str(ROOT / "openapi.json")]
        command += ["--output-path", str(cls.folder / "rollcall_api"), "--fail-on-warning"]
        made = subprocess.run(command, capture_output=True, text=True)
        if made.returncode != 0:
            raise AssertionError(f"no client was generated: {made.stdout}{made.stderr}")
        sys.path.insert(0, str(cls.folder))
        cls.addClassCleanup(sys.path.remove, str(cls.folder))
        cls.place = cls.enterClassContext(Place())
        cls.place.start()
        api = importlib.import_module("rollcall_api")
        cls.client = api.AuthenticatedClient(
            base_url=cls.place.address,
            token=cls.place.token,
            prefix="",
            auth_header_name="X-Auth-Token",
            headers={"X-Auth-ID": "PA_A"},
            raise_on_unexpected_status=True,
        )
        cls.addClassCleanup(cls.close)

    def call(self, name, *place, **named):
        """One call; its answer as the generated client reads it."""
        answer = importlib.import_module(f"rollcall_api.api.{name}").sync_detailed(*place, client=self.client, **named)
        return answer.status_code, answer.parsed

    @classmethod
    def close(cls):
        cls.client.get_httpx_client().close()

    def model(self, name, module, **fields):
        return getattr(importlib.import_module(f"rollcall_api.models.{module}"), name)(**fields)

    def test_every_module_compiles(self):
        self.assertTrue(compileall.compile_dir(self.folder / "rollcall_api", quiet=1))
        for path in (self.folder / "rollcall_api").rglob("*.py"):
            parts = path.relative_to(self.folder).with_suffix("").parts
            importlib.import_module(".".join(part for part in parts if part != "__init__"))

    def test_01_list_numbers(self):
        status, page = self.call("phone_numbers.numbers", per_page=2, status="active", search="9122712642")
        self.assertEqual((status, page.meta.total, page.meta.per_page, len(page.data)), (200, 3, 2, 2))
        first = page.data[0]
        self.assertEqual((first.number, first.account_auth_id, first.application_id), (NUMBER, "MA_1", "app_1"))
        self.assertEqual((float(first.monthly_cost), str(first.currency)), (500.0, "INR"))
        self.assertIsNone(first.expires_at)

    def test_02_list_a_customers_numbers(self):
        status, page = self.call("phone_numbers.customer_numbers", "MA_1")
        self.assertEqual((status, [row.number for row in page.data]), (200, [NUMBER, "+912271264218"]))

    def test_03_one_number(self):
        status, found = self.call("phone_numbers.number", NUMBER)
        self.assertEqual((status, found.data.number, found.data.account_name), (200, NUMBER, "Globex"))

    def test_04_accounts(self):
        status, page = self.call("phone_numbers.accounts", search="glob")
        self.assertEqual((status, page.to_dict()["data"][0]["account_auth_id"]), (200, "MA_1"))

    def test_05_why_a_call_fails(self):
        status, found = self.call("the_past.number_routing", NUMBER)
        self.assertEqual((status, found.to_dict()["data"]["cause"]), (200, "no_destination"))

    def test_06_assign_once_although_it_is_sent_twice(self):
        expires = datetime.datetime(2030, 1, 1, tzinfo=datetime.timezone.utc)
        body = self.model("AssignBody", "assign_body", account_auth_id="MA_2", expires_at=expires)
        key = str(uuid.uuid4())
        for _ in range(2):
            status, found = self.call("management.assign", FREE, body=body, idempotency_key=key)
            self.assertEqual((status, found.data.account_auth_id, found.data.expires_at), (200, "MA_2", expires))
        other = self.model("AssignBody", "assign_body", account_auth_id="MA_1")
        status, error = self.call("management.assign", FREE, body=other)
        self.assertEqual((status, error.to_dict()["error"]["code"]), (409, "CONFLICT"))

    def test_07_route(self):
        body = self.model("RouteBody", "route_body", application_id="app_1")
        status, found = self.call("management.route", FREE, body=body)
        self.assertEqual((status, found.data.application_id), (200, "app_1"))

    def test_08_suspend_and_resume(self):
        status, found = self.call("management.suspend", FREE)
        self.assertEqual((status, str(found.data.status)), (200, "suspended"))
        status, found = self.call("management.resume", FREE)
        self.assertEqual((status, str(found.data.status)), (200, "active"))

    def test_09_history_and_changes(self):
        status, found = self.call("the_past.number_history", FREE)
        self.assertEqual((status, found.to_dict()["data"][-1]["verb"]), (200, "resume"))
        status, found = self.call("the_past.changes", per_page=1)
        self.assertEqual((status, len(found.to_dict()["data"])), (200, 1))

    def test_10_checks_and_an_unknown_number(self):
        check = importlib.import_module("rollcall_api.models.checks_check").ChecksCheck("unrouted")
        status, found = self.call("checks.checks", check=check)
        self.assertEqual(status, 200)
        self.assertIn("+912271264218", str(found.to_dict()))
        status, error = self.call("phone_numbers.number", "+912271264299")
        self.assertEqual((status, error.to_dict()["error"]["code"]), (404, "NOT_FOUND"))


if __name__ == "__main__":
    unittest.main()
