// Events that a receiver refuses: skipped, listed, and sent again.
import { after, before } from "node:test";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import assert from "node:assert/strict";
import { Server, accessible, closeBrowser, signedIn, test } from "./harness.mjs";

const HOOKS = "/console/p/PA_ONE/checks/webhooks";
const NUMBER = "+9122712642000";
let server, receiver, dir;
/// The kinds of events that were taken, and the one that is refused.
const taken = [];
let refused = "suspend";

before(async () => {
  dir = mkdtempSync(join(tmpdir(), "rollcall-receiver-"));
  const [cert, key] = [join(dir, "cert.pem"), join(dir, "key.pem")];
  execFileSync("openssl", [
    "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=receiver",
    "-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE", "-keyout", key, "-out", cert,
  ], { stdio: "ignore" });
  receiver = createServer({ cert: readFileSync(cert), key: readFileSync(key) }, async (request, response) => {
    let text = "";
    for await (const piece of request) text += piece;
    const { type } = JSON.parse(text);
    const ends = new RegExp(`(^|[.])${refused}$`).test(type) ? 500 : 204;
    if (ends === 204) taken.push(type);
    response.writeHead(ends).end();
  });
  await new Promise((done) => receiver.listen(0, "127.0.0.1", done));
  server = await Server.start({ settings: `[webhooks]\nallow_networks = ["127.0.0.0/8"]\nca_file = "${cert}"\n` });
});
after(async () => {
  await closeBrowser();
  await server.stop();
  receiver.closeAllConnections();
  await new Promise((done) => receiver.close(done));
  rmSync(dir, { recursive: true, force: true });
});

/// Loads the page again until it has something.
async function seen(page, locator) {
  const end = Date.now() + 60_000;
  while (!(await locator.count())) {
    assert.ok(Date.now() < end, `${locator} does not appear:\n${await page.locator("main").innerText()}`);
    await page.reload();
  }
}
const got = (kind) => taken.some((type) => type.endsWith(kind));

test("an event that is refused is skipped, and sent again later", async () => {
  const page = await signedIn(server, "owner");
  await page.goto(HOOKS);
  await page.getByLabel("Name").fill("Billing");
  await page.getByLabel("Address").fill(`https://127.0.0.1:${receiver.address().port}/hook`);
  await page.getByRole("button", { name: "Create webhook" }).click();
  await page.locator("#secret").waitFor();
  await page.goto(HOOKS);
  await page.getByRole("link", { name: "Billing" }).click();
  await page.getByText("No event was given up or skipped.").waitFor();

  server.run("number", "suspend", NUMBER, "--partner", "PA_ONE");
  server.run("number", "resume", NUMBER, "--partner", "PA_ONE");
  const blocking = page.locator("section", { has: page.getByRole("heading", { name: "Refused, and tried again" }) });
  await seen(page, blocking);
  await accessible(page, "a webhook with an event that is refused");
  assert.ok(!got("resume"), "events of one number are sent in order");

  await blocking.getByRole("button", { name: /^Skip/ }).click();
  const given = page.locator("section", { has: page.getByRole("heading", { name: "Given up" }) });
  await given.getByRole("rowheader", { name: /suspend/ }).waitFor();
  await given.getByText("skipped", { exact: true }).waitFor();
  await seen(page, page.getByRole("rowheader", { name: /resume/ }));
  const end = Date.now() + 60_000;
  while (!got("resume")) {
    assert.ok(Date.now() < end, "what waited is not sent");
    await page.reload();
  }
  assert.equal(await blocking.count(), 0);

  refused = "nothing";
  await page.reload();
  await accessible(page, "a webhook with an event that was skipped");
  await given.getByRole("button", { name: /^Send again/ }).click();
  await seen(page, page.getByText("No event was given up or skipped."));
  while (!got("suspend")) {
    assert.ok(Date.now() < end, "it is not sent again");
    await page.reload();
  }
  assert.deepEqual(page.context().troubles, []);
});
