// Import, keys, users, and all of it over TLS.
import { after, before } from "node:test";
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Server, accessible, closeBrowser, open, picture, signedIn, test } from "./harness.mjs";

const BASE = "/console/p/PA_ONE";
let server;
before(async () => { server = await Server.start(); });
after(async () => { await closeBrowser(); await server.stop(); });

test("a file with bad rows is previewed, corrected and imported; then undone", async () => {
  const page = await signedIn(server, "manager");
  await page.goto(`${BASE}/import`);
  const rows = "number,account_auth_id,monthly_cost,currency\n+442079460001,MA_1,2.50,GBP\n+442079460002,MA_1,2.50,GBP\n02079460003,MA_1,2.50,GBP\n+442079460004,MA_1,dear,GBP\n";
  await page.locator("input[type=file]").setInputFiles({ name: "london.csv", mimeType: "text/csv", buffer: Buffer.from(rows) });
  await page.getByRole("button", { name: "Preview" }).click();
  await page.waitForURL("**/import/*");
  await page.getByRole("heading", { name: "Rejected" }).waitFor();
  await accessible(page, "the preview of an import");
  await picture(page, "import-preview");
  const text = await page.locator("main").textContent();
  assert.match(text, /02079460003/);
  assert.match(text, /dear/);
  const [rejects] = await Promise.all([page.waitForEvent("download"), page.getByRole("link", { name: /rejected rows/i }).first().click()]);
  const lines = readFileSync(await rejects.path(), "utf8").trim().split(/\r?\n/);
  assert.equal(lines.length, 3, `${lines}`);
  // Corrected, as somebody would in an editor.
  await page.goto(`${BASE}/import`);
  const mended = rows.replace("\n02079460003", "\n+442079460003").replace("dear", "2.50");
  await page.getByLabel("Or paste").fill(mended);
  await page.getByRole("button", { name: "Preview" }).click();
  await page.waitForURL("**/import/*");
  await page.locator("#run").click();
  await page.getByText(/4 numbers were imported|imported/).first().waitFor();
  await page.reload();
  await page.getByRole("button", { name: "Undo the import" }).waitFor();
  await picture(page, "import-done");
  await page.goto(`${BASE}/numbers?q=4420794600`);
  await page.locator("#found b", { hasText: "4 numbers" }).waitFor();
  await page.goBack();
  await page.getByRole("button", { name: "Undo the import" }).click();
  await page.goto(`${BASE}/numbers?q=4420794600`);
  await page.locator("#found b", { hasText: "0 numbers" }).waitFor();
  assert.deepEqual(page.context().troubles, []);
});

test("a double click on Import imports once, and its page goes on", async () => {
  const page = await signedIn(server, "manager");
  await page.goto(`${BASE}/import`);
  const rows = ["number,monthly_cost,currency", "+912271400000-+912271419999,1.00,INR"].join("\n");
  await page.getByLabel("Or paste").fill(rows);
  await page.getByRole("button", { name: "Preview" }).click();
  await page.waitForURL("**/import/*");
  const run = page.locator("#run");
  await run.waitFor();
  await run.dblclick({ delay: 20 });
  await page.getByRole("button", { name: "Undo the import" }).waitFor({ timeout: 60_000 });
  assert.ok(!(await page.content()).includes("role=\"alert\""), "the second click was refused");
  assert.deepEqual(page.context().troubles, []);
  await page.context().close();
});

test("a form that was refused can be loaded again, and keeps what was typed", async () => {
  const page = await signedIn(server, "owner");
  await page.goto(`${BASE}/users`);
  const form = page.locator("section:has(#new) form");
  await form.getByLabel("Email").fill("owner@example.com");
  await form.getByLabel("Name").fill("Somebody Kept");
  await form.getByLabel("Role").selectOption("manager");
  await form.getByRole("button").click();
  await page.getByRole("alert").waitFor();
  const kept = async () => {
    assert.equal(await form.getByLabel("Email").inputValue(), "owner@example.com");
    assert.equal(await form.getByLabel("Email").getAttribute("aria-invalid"), "true");
    assert.equal(await form.getByLabel("Name").inputValue(), "Somebody Kept");
    assert.equal(await form.getByLabel("Role").inputValue(), "manager");
  };
  await kept();
  await accessible(page, "a refused form");
  await picture(page, "users-refused");
  const again = await page.reload();
  assert.equal(again.status(), 200);
  await page.getByRole("alert").waitFor();
  await kept();
  // A page that is gone keeps the way to everything else.
  await page.goto(`${BASE}/numbers/nothing`);
  await page.getByRole("navigation", { name: "Sections" }).getByRole("link", { name: "Numbers" }).waitFor();
  await accessible(page, "trouble with the menu");
  await picture(page, "trouble");
  assert.deepEqual(page.context().troubles, []);
  await page.context().close();
});

test("a key is created, used, rotated and revoked", async () => {
  const page = await signedIn(server, "owner");
  await page.goto(`${BASE}/keys`);
  await page.getByLabel("What it is for").fill("billing");
  await page.getByRole("button", { name: "Create key" }).click();
  const token = await page.locator("#token").textContent();
  await accessible(page, "a key that was made");
  const ask = (token) => fetch(`${server.base}/api/v1/partner/numbers?per_page=1`, { headers: { "X-Auth-ID": "PA_ONE", "X-Auth-Token": token } });
  assert.equal((await ask(token)).status, 200);
  await page.goto(`${BASE}/keys`);
  assert.equal(await page.locator("#token").count(), 0, "shown once");
  await page.getByRole("button", { name: "Rotate billing" }).click();
  const next = await page.locator("#token").textContent();
  assert.equal((await ask(token)).status, 200, "the old one goes on");
  assert.equal((await ask(next)).status, 200);
  page.on("dialog", (dialog) => dialog.accept());
  await page.getByRole("button", { name: "Revoke billing" }).first().click();
  await page.getByRole("button", { name: "Revoke billing" }).first().click();
  await page.waitForFunction(() => !document.querySelector("button.danger"));
  assert.equal((await ask(token)).status, 401);
  assert.equal((await ask(next)).status, 401);
});

test("somebody new gets a link, a role, and is locked out", async () => {
  const page = await signedIn(server, "owner");
  await page.goto(`${BASE}/users`);
  await page.getByLabel("Email").fill("new@example.com");
  await page.getByLabel("Role").last().selectOption("manager");
  await page.getByRole("button", { name: /Create invitation link/ }).click();
  const link = new URL(await page.locator("#link").textContent());
  const other = await (await open(server)).newPage();
  await other.goto(link.pathname);
  await other.getByLabel("New password").fill("a quiet river at night");
  await other.getByLabel("The same again").fill("a quiet river at night");
  await other.getByRole("button", { name: /Set the password/ }).click();
  await other.getByRole("heading", { name: "Overview" }).waitFor();
  await page.goto(`${BASE}/users`);
  const row = page.locator("tr", { hasText: "new@example.com" }).first();
  await row.locator("summary").click();
  page.on("dialog", (dialog) => dialog.accept());
  await row.getByRole("button", { name: "Lock out" }).click();
  await page.locator("tr", { hasText: "new@example.com" }).first().getByText("locked out").waitFor();
  await other.goto(`${BASE}/numbers`);
  assert.match(other.url(), /sign-in/, "out at once");
});

test("over TLS, with the cookie that nobody else can set", async () => {
  const dir = mkdtempSync(join(tmpdir(), "rollcall-tls-"));
  const tls = { cert: join(dir, "cert.pem"), key: join(dir, "key.pem") };
  execFileSync("openssl", [
    "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=localhost",
    "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", tls.key, "-out", tls.cert,
  ], { stdio: "ignore" });
  const secure = await Server.start({ tls });
  try {
    assert.match(secure.base, /^https:/);
    const page = await signedIn(secure, "manager");
    const cookies = await page.context().cookies();
    assert.deepEqual(cookies.map((one) => [one.name, one.secure, one.httpOnly, one.path]), [["__Host-rollcall", true, true, "/"]]);
    await page.goto(`${BASE}/numbers/+9122712642001`);
    await page.locator("details", { hasText: "Suspend" }).first().locator("summary").click();
    await page.getByRole("button", { name: "Suspend" }).click();
    await page.locator("h1 .mark", { hasText: "suspended" }).waitFor();
    await page.locator(".notice").getByRole("button", { name: "Undo" }).click();
    await page.locator("h1 .mark", { hasText: "active" }).waitFor();
    assert.deepEqual(page.context().troubles, []);
    await page.context().close();
  } finally {
    await secure.stop();
  }
});

test("a finding is set aside from the first page", async () => {
  const page = await signedIn(server, "manager");
  await page.goto(BASE);
  const cell = page.locator("tr", { hasText: "Unrouted" }).locator("td.number").first();
  const count = async () => Number.parseInt(await cell.textContent(), 10);
  const before = await count();
  await page.getByRole("button", { name: /Snooze 1 day.*Unrouted/ }).first().click();
  await page.waitForURL("**/checks?seen=*");
  await page.goto(BASE);
  assert.equal(await count(), before - 1);
  assert.match(await cell.textContent(), /1 acknowledged/);
});
