"""`rollcall mcp` as the Python SDK's client sees it, over standard input and output."""

import json
import unittest

from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client

from place import NUMBER, PROGRAM, Place

FREE = "+912271264220"


class Mcp(unittest.IsolatedAsyncioTestCase):
    def setUp(self):
        self.place = self.enterContext(Place())

    async def with_session(self, arguments, work):
        server = StdioServerParameters(
            command=PROGRAM, args=["mcp", "--partner", "PA_A", *arguments], env=self.place.environment()
        )
        async with stdio_client(server) as (read, write), ClientSession(read, write) as session:
            await session.initialize()
            await work(session)

    async def call(self, session, tool, refused=False, **arguments):
        result = await session.call_tool(tool, arguments)
        failed = getattr(result, "is_error", getattr(result, "isError", False))
        text = result.content[0].text
        self.assertEqual(bool(failed), refused, f"{tool} {arguments}: {text}")
        return text if refused else json.loads(text)

    async def tools(self, session):
        return {tool.name: tool.model_dump(by_alias=True) for tool in (await session.list_tools()).tools}

    async def test_it_reads_and_cannot_write_by_default(self):
        async def work(session):
            tools = await self.tools(session)
            self.assertTrue(all(tool["annotations"]["readOnlyHint"] for tool in tools.values()))
            self.assertNotIn("number_assign", tools)
            found = await self.call(session, "number_list", search="9122712642", limit=2)
            self.assertIn(NUMBER, str(found))
            found = await self.call(session, "number_routing", number=NUMBER)
            self.assertEqual(found["data"]["cause"], "no_destination")
            found = await self.call(session, "check", check=["unrouted"])
            self.assertIn("+912271264218", str(found))
            said = await self.call(session, "number_show", refused=True, number="+912271264299")
            self.assertIn("+912271264299", said)
            with self.assertRaises(Exception):
                await session.call_tool("number_assign", {"number": FREE, "to": "MA_1", "preview": False})

        await self.with_session([], work)

    async def test_it_previews_before_it_writes(self):
        async def work(session):
            tools = await self.tools(session)
            for name, tool in tools.items():
                writes = not tool["annotations"]["readOnlyHint"]
                self.assertEqual("preview" in tool["inputSchema"]["properties"], writes, name)
            for verb in ("assign", "transfer", "release", "suspend", "resume", "route", "renew", "retire", "cost"):
                self.assertIn(f"number_{verb}", tools)
            await self.call(session, "account_create", auth_id="MA_9", name="Umbrella")
            self.assertNotIn("MA_9", str(await self.call(session, "account_list")))
            await self.call(session, "account_create", auth_id="MA_9", name="Umbrella", preview=False)
            self.assertIn("MA_9", str(await self.call(session, "account_list")))
            # A number is assigned, then routed, and its call goes somewhere.
            await self.call(session, "number_assign", number=FREE, account="Umbrella")
            self.assertEqual((await self.call(session, "number_show", number=FREE))["state"], "available")
            await self.call(session, "number_assign", number=FREE, account="Umbrella", preview=False)
            self.assertEqual((await self.call(session, "number_show", number=FREE))["state"], "active")
            destination = {"id": "app_1", "uri": "sip:pbx.example.net", "preview": False}
            await self.call(session, "application_destination_add", **destination)
            await self.call(session, "number_route", number=FREE, application="app_1", preview=False)
            found = await self.call(session, "number_routing", number=FREE)
            self.assertEqual(found["data"]["cause"], "routed")
            # Many numbers by one job, shown first.
            job = await self.call(session, "job_create", verb="suspend", filter=["account_auth_id=MA_1"])
            self.assertEqual((await self.call(session, "number_show", number=NUMBER))["state"], "active")
            await self.call(session, "job_run", id=job["id"])
            self.assertEqual((await self.call(session, "number_show", number=NUMBER))["state"], "active")
            await self.call(session, "job_run", id=job["id"], preview=False)
            self.assertEqual((await self.call(session, "number_show", number=NUMBER))["state"], "suspended")

        await self.with_session(["--allow-writes"], work)


if __name__ == "__main__":
    unittest.main()
