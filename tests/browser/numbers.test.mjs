// A number's life and bulk work, as people do them.
import { after, before } from "node:test";
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { Server, accessible, closeBrowser, open, picture, signedIn, test } from "./harness.mjs";

const BASE = "/console/p/PA_ONE";
let server;
before(async () => { server = await Server.start(); });
after(async () => { await closeBrowser(); await server.stop(); });

/// Opens a verb's form on a number's page, fills it in and sends it.
async function verb(page, name, fields = {}) {
  const details = page.locator("details", { has: page.locator(`form[action$="/${name}"]`) });
  if (!(await details.evaluate((one) => one.open))) await details.locator("summary").click();
  for (const [label, value] of Object.entries(fields)) {
    const field = details.getByLabel(label, { exact: true });
    if (value === true) await field.check();
    else await field.fill(value);
  }
  await details.locator("button").click();
}
const notice = (page, text) => page.locator(".notice", { hasText: text }).waitFor();
const state = (page, text) => page.locator("h1 .mark", { hasText: text }).waitFor();

test("found by three digits, assigned, routed, suspended, resumed, released, and undone", async () => {
  const page = await signedIn(server, "manager");
  await page.goto(`${BASE}/numbers`);
  await picture(page, "numbers");
  await page.locator("#q").pressSequentially("507");
  await page.waitForURL("**/numbers?q=507");
  assert.equal(await page.evaluate(() => document.activeElement.id), "q", "typing goes on");
  await page.getByRole("link", { name: "+91 22 7126 5070" }).click();
  await state(page, "available");
  const number = await page.locator("h1").textContent();
  assert.match(number, /\+91 /);
  await accessible(page, "a number's page");

  await verb(page, "assign", { Customer: "MA_2", "Expires on (00:00 UTC)": "2031-12-31" });
  await notice(page, "assigned to Second Customer");
  await state(page, "active, unrouted");
  await verb(page, "route", { Application: "app_1" });
  await notice(page, "routed to Main IVR");
  await state(page, /^active$/);
  await picture(page, "number");
  await verb(page, "suspend");
  await state(page, "suspended");
  await verb(page, "resume");
  await state(page, /^active$/);
  await verb(page, "release");
  await notice(page, "released");
  await state(page, "quarantined");
  await page.locator(".notice").getByRole("button", { name: "Undo" }).click();
  await state(page, /^active$/);
  assert.match(await page.locator("dl.facts").textContent(), /Main IVR/, "the route came back too");
  const events = await page.locator(".timeline > li").count();
  assert.equal(events, 7, "stock and six changes");
  assert.deepEqual(page.context().troubles, []);
});

test("what is typed wrong is said beside what was typed", async () => {
  const page = await signedIn(server, "manager");
  await page.goto(`${BASE}/numbers/+912271265010`);
  await verb(page, "assign", { Customer: "MA_NONE" });
  await page.getByRole("alert").waitFor();
  assert.match(await page.getByRole("alert").textContent(), /customer|account/i);
  await state(page, "available");
  await page.goto(`${BASE}/numbers?q=owner:me`);
  await page.getByRole("alert").getByText("owner:me").waitFor();
  assert.equal(await page.locator("table.rows").count(), 0, "no rows that nobody asked for");
  await accessible(page, "a filter that is not understood");
});

test("two people at one number: the second is told, and does not overwrite", async () => {
  const one = await signedIn(server, "manager");
  const two = await signedIn(server, "owner");
  for (const page of [one, two]) await page.goto(`${BASE}/numbers/+9122712642021`);
  await verb(one, "suspend");
  await state(one, "suspended");
  await verb(two, "tags", { Add: "late" });
  await two.getByRole("alert").getByText(/This number was changed by manager@example.com/).waitFor();
  await state(two, "suspended");
  assert.doesNotMatch(await two.locator("dl.facts").textContent(), /late/);
  await verb(two, "tags", { Add: "late" });
  await notice(two, "tagged late");
});

test("unrouted numbers are routed in bulk, with a preview, and it is undone", async () => {
  const page = await signedIn(server, "manager");
  await page.goto(`${BASE}/numbers`);
  await page.locator("nav.tabs a", { hasText: "Unrouted" }).click();
  await page.locator("#found", { hasText: "numbers" }).waitFor();
  await page.waitForFunction(() => document.querySelector("#q").value.includes("no:application"));
  const found = Number((await page.locator("#found b").textContent()).split(" ")[0]);
  assert.ok(found >= 200, `${found}`);
  await page.getByLabel(/on every page/).check();
  await page.getByLabel("Action").selectOption("route");
  await page.getByRole("button", { name: "Continue" }).click();
  await accessible(page, "the form of a bulk verb");
  await page.getByLabel("Application", { exact: true }).fill("app_1");
  await page.getByRole("button", { name: "Preview" }).click();
  await page.waitForURL("**/jobs/job_*");
  await page.locator("table.rows tbody tr").first().waitFor();
  await accessible(page, "a job's preview");
  await picture(page, "job-preview");
  assert.match(await page.locator("main").textContent(), new RegExp(`${found}`));
  await page.locator("#run").click();
  await page.locator("h1 .mark", { hasText: /done|cancelled/ }).waitFor({ timeout: 60_000 });
  await picture(page, "job-done");
  await page.goto(`${BASE}/numbers?q=status:active+no:application`);
  await page.getByRole("heading", { name: /No numbers match|Numbers/ }).first().waitFor();
  const left = await page.locator("#found b").textContent();
  assert.match(left, /^0 /);
  await page.goto(`${BASE}/jobs`);
  await accessible(page, "the list of jobs");
  await page.locator("table.rows tbody th a").first().click();
  await page.locator("#undo").click();
  await page.locator("#run").click();
  await page.locator("h1 .mark", { hasText: "done" }).waitFor({ timeout: 60_000 });
  await page.goto(`${BASE}/numbers?q=status:active+no:application`);
  assert.equal(Number((await page.locator("#found b").textContent()).split(" ")[0]), found);
});

test("a long job is watched, stopped half-way, and what it did is undone", async () => {
  const page = await signedIn(server, "manager");
  await page.goto(`${BASE}/numbers?q=no:account+22713`);
  await page.locator("#found b", { hasText: "20,000 numbers" }).waitFor();
  await page.getByLabel(/on every page/).check();
  await page.getByLabel("Action").selectOption("tags");
  await page.getByRole("button", { name: "Continue" }).click();
  await page.getByLabel("Add").fill("campaign");
  await page.getByRole("button", { name: "Preview" }).click();
  await page.locator("#run").click();
  await page.locator("progress").waitFor();
  await page.locator("#progress", { hasText: /[1-9][\d,]* of 20,000|[1-9]/ }).waitFor();
  await picture(page, "job-running");
  await page.reload();
  await page.locator("#cancel").click();
  await page.locator("h1 .mark", { hasText: "cancelled" }).waitFor();
  const tagged = async () => {
    await page.goto(`${BASE}/numbers?q=tag:campaign`);
    return Number((await page.locator("#found b").textContent()).split(" ")[0].replaceAll(",", ""));
  };
  const done = await tagged();
  assert.ok(done > 0 && done < 20_000, `${done}`);
  await page.goto(`${BASE}/jobs`);
  await page.locator("table.rows tbody th a").first().click();
  await page.locator("#undo").click();
  await page.locator("#run").click();
  await page.locator("h1 .mark", { hasText: "done" }).waitFor({ timeout: 90_000 });
  assert.equal(await tagged(), 0);
});

test("rows are selected one by one, from one to another, and all", async () => {
  const page = await signedIn(server, "manager");
  await page.goto(`${BASE}/numbers?q=no:account`);
  const boxes = page.locator("input[name=n]");
  await boxes.nth(1).click();
  await boxes.nth(4).click({ modifiers: ["Shift"] });
  await page.locator("[data-selected]", { hasText: "4 selected" }).waitFor();
  await page.locator("[data-all]").check();
  await page.locator("[data-selected]", { hasText: "50 selected" }).waitFor();
  await page.locator("[data-all]").uncheck();
  await boxes.nth(0).check();
  await page.getByLabel("Action").selectOption("tags");
  await page.getByRole("button", { name: "Continue" }).click();
  await page.getByLabel("Add").fill("picked");
  await page.getByRole("button", { name: "Preview" }).click();
  await page.locator("#cancel").click();
  await page.locator("h1 .mark", { hasText: "cancelled" }).waitFor();
});

test("a new customer gets a number and a route in one form", async () => {
  const page = await signedIn(server, "manager");
  await page.goto(`${BASE}/customers`);
  await accessible(page, "the customers");
  await page.getByRole("link", { name: "New customer" }).click();
  await accessible(page, "the form of a new customer");
  await page.getByLabel("Name").fill("Third <b>Customer</b>");
  await page.getByLabel("Id").fill("MA_3");
  await page.getByLabel("Number", { exact: true }).fill("+912271265055");
  await page.getByLabel("Application").fill("app_1");
  await page.getByRole("button", { name: "Create the customer" }).click();
  await page.waitForURL("**/customers/MA_3*");
  const text = await page.locator("main").textContent();
  assert.match(text, /Third <b>Customer<\/b>/, "a name is text");
  assert.match(text, /\+91 22 7126 5055/);
  await accessible(page, "a customer's page");
  await picture(page, "customer");
});

test("what is shown is exported, and a spreadsheet runs none of it", async () => {
  const page = await signedIn(server, "manager");
  await page.goto(`${BASE}/numbers?q=account:MA_1+2712642001`);
  for (const [name, begin] of [["CSV", "+9122712642001"], ["for a spreadsheet", "'+9122712642001"]]) {
    const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("link", { name, exact: true }).click()]);
    const lines = readFileSync(await download.path(), "utf8").replace(/^\uFEFF/, "").trim().split(/\r?\n/);
    assert.equal(lines.length, 2, `${lines}`);
    assert.ok(lines[1].startsWith(begin), lines[1]);
    assert.match(download.suggestedFilename(), /PA_ONE.*\.csv$/);
  }
});

test("with the keyboard alone", async () => {
  const page = await signedIn(server, "manager");
  await page.goto(`${BASE}/numbers`);
  await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  assert.equal(await page.evaluate(() => document.activeElement.id), "main", "the first key skips the menu");
  await page.keyboard.press("/");
  await page.keyboard.type("no:account 2650");
  await page.locator("#found", { hasText: "100 numbers" }).or(page.locator("#found", { hasText: /numbers/ })).first().waitFor();
  await page.waitForURL("**2650");
  await page.keyboard.press("Escape");
  await page.keyboard.press("j");
  await page.keyboard.press("j");
  await page.keyboard.press("k");
  await page.keyboard.press("x");
  assert.equal(await page.locator("input[name=n]:checked").count(), 1);
  await page.keyboard.press("?");
  await page.locator("details.help[open]").waitFor();
  await page.keyboard.press("Escape");
  await page.keyboard.press("j");
  await page.keyboard.press("e");
  await page.waitForURL("**/numbers/+*");
  // The form of a verb, reached and sent by keys.
  const summary = page.locator("details summary", { hasText: "Reserve" }).first();
  await summary.focus();
  await page.keyboard.press("Enter");
  await page.keyboard.press("Tab");
  await page.keyboard.type("MA_1");
  await page.keyboard.press("Tab");
  await page.keyboard.type("12312030");
  await page.keyboard.press("Enter");
  await state(page, "reserved");
  assert.deepEqual(page.context().troubles, []);
});

test("all of it without a script", async () => {
  const context = await open(server, { javaScriptEnabled: false });
  const page = await context.newPage();
  await page.goto("/console/sign-in");
  await page.getByLabel("Email").fill("manager@example.com");
  await page.getByLabel("Password").fill("seven green umbrellas");
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.goto(`${BASE}/numbers`);
  await page.locator("#q").fill("2712642030");
  await page.getByRole("button", { name: "Apply" }).click();
  await page.locator("table.rows tbody th a").first().click();
  await verb(page, "suspend");
  await state(page, "suspended");
  await page.locator(".notice").getByRole("button", { name: "Undo" }).click();
  await state(page, "active");
  await page.goto(`${BASE}/numbers?q=2712642031`);
  await page.locator("input[name=n]").check();
  await page.getByLabel("Action").selectOption("suspend");
  await page.getByRole("button", { name: "Continue" }).click();
  await page.getByRole("button", { name: "Preview" }).click();
  await page.locator("#run").click();
  await page.waitForTimeout(1_500);
  await page.reload();
  await page.locator("h1 .mark", { hasText: "done" }).waitFor();
});

test("Escape leaves the filter line as it is, and the bar of actions stays in sight on a phone", async () => {
  const page = await signedIn(server, "manager", { viewport: { width: 375, height: 700 } });
  await page.goto(`${BASE}/numbers?q=no:account`);
  const found = await page.locator("#found b").textContent();
  await page.locator("#q").focus();
  await page.keyboard.press("Escape");
  await page.waitForTimeout(400);
  assert.equal(await page.locator("#q").inputValue(), "no:account", "the line says what is shown");
  assert.equal(await page.locator("#found b").textContent(), found);
  await page.evaluate(() => scrollTo(0, 1_000));
  const box = await page.locator(".bulk").boundingBox();
  assert.ok(box.y >= 0 && box.y + box.height < 200, `the bar is at ${box.y}`);
  await page.context().close();
});
