// What the checks find, who is told of it, and what a month costs.
import { after, before } from "node:test";
import assert from "node:assert/strict";
import { Server, accessible, closeBrowser, open, picture, signedIn, test } from "./harness.mjs";

const BASE = "/console/p/PA_ONE";
let server;
before(async () => { server = await Server.start(); });
after(async () => { await closeBrowser(); await server.stop(); });

/// Sound for those who see little, in light and in dark, and on a telephone.
async function fit(page, path, name) {
  for (const [colorScheme, width] of [["light", 1280], ["dark", 1280], ["light", 360]]) {
    await page.emulateMedia({ colorScheme });
    await page.setViewportSize({ width, height: 900 });
    await page.goto(path);
    await accessible(page, `${path} in ${colorScheme}, ${width} wide`);
    const wide = await page.evaluate(() => document.documentElement.scrollWidth);
    assert.ok(wide <= width, `${path} is ${wide} wide on ${width}`);
    await picture(page, `${name}-${colorScheme}-${width}`);
  }
  await page.emulateMedia({ colorScheme: "light" });
  await page.setViewportSize({ width: 1280, height: 900 });
}

/// A form as another site, or a program, would send it.
const forge = (page, path, form = {}) => page.context().request.post(path, {
  headers: { "Sec-Fetch-Site": "same-origin", Origin: server.base }, form, maxRedirects: 0,
});

test("every count of a check is that of the list behind it", async () => {
  const page = await signedIn(server, "manager");
  await page.goto(`${BASE}/checks`);
  const tabs = page.getByRole("navigation", { name: "Findings by check" }).getByRole("link");
  assert.ok(await tabs.count() >= 4);
  const hrefs = await tabs.evaluateAll((all) => all.map((one) => [one.getAttribute("href"), one.querySelector(".count").textContent]));
  for (const [href, count] of hrefs) {
    await page.goto(href);
    await page.getByRole("status").getByText(`${count} finding`).waitFor();
  }
  await page.goto(`${BASE}/checks?check=unrouted`);
  await page.getByRole("status").getByText("210 findings, page 1 of 5").waitFor();
  assert.equal(await page.locator("table.findings tbody tr").count(), 50);
  await page.getByRole("link", { name: "As a list of numbers" }).click();
  await page.getByText("210 numbers").first().waitFor();
  await page.goto(`${BASE}/checks?check=unrouted&account=MA_1`);
  await page.getByRole("status").getByText("105 findings of Umbrella & <Sons>").waitFor();
  await page.getByRole("link", { name: "Route +91 22712 642001" }).or(page.locator("a[href*='do=route']")).first().click();
  assert.ok(await page.locator("#do-route").evaluate((one) => one.open), "the verb that mends it is open");
  await fit(page, `${BASE}/checks?check=expiring`, "checks");
  assert.deepEqual(page.context().troubles, []);
});

test("a finding is set aside with a note, and taken back", async () => {
  const page = await signedIn(server, "manager");
  const list = `${BASE}/checks?check=expiring`;
  await page.goto(list);
  const found = Number(/(\d+) finding/.exec(await page.locator("p.found").textContent())[1]);
  const row = page.locator("table.findings tbody tr").first();
  const number = (await row.locator("th").textContent()).trim();
  await row.locator("summary").click();
  await row.getByLabel("For how long").selectOption("day");
  await row.getByLabel("Note").fill("the customer leaves <b>anyway</b>");
  await row.getByRole("button", { name: /Acknowledge/ }).click();
  await page.getByRole("alert").getByText("Choose a day such as").waitFor();
  assert.equal(await row.getByLabel("Note").inputValue(), "the customer leaves <b>anyway</b>", "what was typed stays");
  const day = new Date(Date.now() + 3 * 86_400_000).toISOString().slice(0, 10);
  await row.getByLabel(/^Until \(/).fill(day);
  await row.getByRole("button", { name: /Acknowledge/ }).click();
  await page.getByRole("status").getByText("Acknowledged. It comes back on").waitFor();
  await page.getByRole("status").getByText(`${found - 1} finding`).waitFor();
  assert.match(page.url(), /check=expiring/, "the list is the same");
  await page.getByRole("link", { name: /^Acknowledged/ }).click();
  const aside = page.locator("table.findings tbody tr", { hasText: number });
  await aside.getByText("the customer leaves <b>anyway</b>").waitFor();
  await aside.getByText("by you").waitFor();
  await fit(page, `${BASE}/checks?acknowledged=true`, "acknowledged");
  await aside.getByRole("button", { name: /Open again/ }).click();
  await page.getByRole("status").getByText("It is open again").waitFor();
  await page.goto(list);
  await page.getByRole("status").getByText(`${found} finding`).waitFor();

  // Without a script the same forms do the same.
  const plain = await signedIn(server, "manager", { javaScriptEnabled: false });
  await plain.goto(list);
  await plain.locator("table.findings summary").first().click();
  await plain.locator("table.findings tbody tr").first().getByRole("button", { name: /Acknowledge/ }).click();
  await plain.getByText("Acknowledged. It comes back on").waitFor();
  await plain.context().close();
  assert.equal((await forge(page, `${BASE}/checks/fi_00000000000000000000/acknowledge`, { until: "good" })).status(), 404);
  const looked = await page.context().request.get(`${BASE}/checks/fi_00000000000000000000/acknowledge`, { maxRedirects: 0 });
  assert.deepEqual([looked.status(), looked.headers().location], [303, `${BASE}/checks`]);
  assert.deepEqual(page.context().troubles, []);
});

test("a schedule is made, previewed, changed, run and removed", async () => {
  const page = await signedIn(server, "owner");
  await page.goto(`${BASE}/checks/schedules`);
  await page.getByText("No alerts are set up yet").waitFor();
  await page.getByText("no mail server").waitFor();
  await fit(page, `${BASE}/checks/schedules`, "schedules-none");
  await page.getByRole("link", { name: "Create schedule" }).click();
  await page.getByLabel("Name").fill("Weekly");
  await page.getByLabel("Zone").fill("Europe/Nowhere");
  await page.getByLabel("Recipients").fill("desk@example.net\n\nnonsense");
  await page.getByRole("button", { name: "Create schedule" }).click();
  await page.getByRole("alert").getByText("Nothing was saved").waitFor();
  assert.match(await page.locator("#zone-wrong").textContent(), /IANA name/);
  assert.match(await page.locator("#recipients-wrong").textContent(), /^nonsense /);
  await accessible(page, "a schedule's form with errors");
  await picture(page, "schedule-errors");
  await page.getByLabel("Zone").fill("Europe/Berlin");
  await page.getByRole("button", { name: "Show the next runs" }).click();
  await page.getByText("Next runs:").waitFor();
  await page.getByLabel("Recipients").fill("desk@example.net");
  await page.getByRole("button", { name: "Create schedule" }).click();
  const row = page.locator("table tbody tr");
  await row.getByText("Every Monday at 09:00").waitFor();
  assert.equal(await row.locator("td").nth(1).locator("time").count(), 3);
  await fit(page, `${BASE}/checks/schedules`, "schedules");
  await row.getByRole("link", { name: "Weekly" }).click();
  await page.getByText("Change it").click();
  await page.getByLabel("Day").selectOption("workdays");
  await page.getByLabel("Time").fill("08:30");
  await page.getByLabel("Expiring").check();
  await page.getByRole("button", { name: "Save" }).click();
  await page.getByText("Monday to Friday at 08:30").waitFor();
  await page.getByRole("button", { name: "Send a report now" }).click();
  // The page looks again by itself until the report is made.
  await page.locator("ol.timeline").getByText("desk@example.net").waitFor({ timeout: 15_000 });
  const path = new URL(page.url()).pathname;
  await fit(page, path, "schedule");
  await fit(page, `${BASE}/checks/schedules?new`, "schedule-new");
  await page.goto(path);
  await page.getByRole("button", { name: "Switch off" }).click();
  await page.getByRole("button", { name: "Switch on" }).waitFor();

  const viewer = await signedIn(server, "viewer");
  await viewer.goto(path);
  await viewer.getByText("desk@example.net").first().waitFor();
  assert.equal(await viewer.locator("main form").count(), 0, "a viewer is offered nothing");
  assert.equal((await viewer.goto(`${BASE}/checks/schedules?new`)).status(), 403);
  assert.equal((await forge(viewer, `${path}/remove`)).status(), 403);
  await viewer.context().close();

  await page.getByText("Remove it").click();
  await page.getByRole("button", { name: "Remove Weekly" }).click();
  await page.getByText("No alerts are set up yet").waitFor();
  assert.equal((await page.goto(path)).status(), 404);
  assert.deepEqual(page.context().troubles, []);
});

test("a webhook's secret is shown once, and a test says how it went", async () => {
  const page = await signedIn(server, "owner");
  await page.goto(`${BASE}/checks/webhooks`);
  await fit(page, `${BASE}/checks/webhooks`, "webhooks-none");
  await page.getByLabel("Name").fill("Billing & <Co>");
  await page.getByLabel("Address").fill("https://127.0.0.1:9/hook");
  await page.getByText("Only some kinds of events").click();
  await page.getByLabel("assign", { exact: true }).check();
  await page.getByRole("button", { name: "Create webhook" }).click();
  // Only an operator may have receivers inside.
  if (await page.getByRole("alert").count()) {
    assert.ok(await page.locator("#url-wrong").textContent());
    await accessible(page, "a webhook's form with an error");
    await page.getByLabel("Address").fill("https://closed.invalid/hook");
    await page.getByRole("button", { name: "Create webhook" }).click();
  }
  const secret = await page.locator("#secret").textContent();
  assert.match(secret, /^whsec_/);
  await accessible(page, "a webhook that was made");
  await picture(page, "webhook-made");
  await page.goto(`${BASE}/checks/webhooks`);
  assert.ok(!(await page.content()).includes(secret), "once");
  await page.getByRole("link", { name: "Billing & <Co>" }).click();
  assert.ok(!(await page.content()).includes(secret), "once");
  await page.getByRole("button", { name: "Send a test" }).click();
  await page.getByRole("alert").getByText("It was not taken").waitFor({ timeout: 20_000 });
  await page.getByRole("rowheader", { name: /^webhook.test/ }).waitFor();
  const path = new URL(page.url()).pathname;
  await page.getByRole("button", { name: /Send again/ }).click();
  // It may have been refused again by now, and then stands among those that hold up others too.
  const deliveries = page.getByRole("group", { name: "List of deliveries" });
  await deliveries.locator("th small", { hasText: "again" }).waitFor();
  await fit(page, path, "webhook");
  await page.goto(path);
  await page.getByText("Replace the secret").click();
  await page.getByRole("button", { name: "Rotate secret" }).click();
  const next = await page.locator("#secret").textContent();
  assert.match(next, /^whsec_/);
  assert.notEqual(next, secret);
  await page.goto(path);
  await page.getByText("Change it").click();
  await page.getByLabel("Name").fill("Renamed");
  await page.getByRole("button", { name: "Save" }).click();
  await page.getByRole("heading", { name: "Renamed" }).waitFor();
  await page.getByRole("button", { name: "Switch off" }).click();
  await page.getByRole("button", { name: "Switch on" }).waitFor();
  await fit(page, `${BASE}/checks/webhooks`, "webhooks");

  const manager = await signedIn(server, "manager");
  assert.equal((await manager.goto(path)).status(), 403, "addresses are for owners");
  assert.equal((await manager.goto(`${BASE}/checks/webhooks`)).status(), 403);
  assert.equal((await forge(manager, `${path}/test`)).status(), 403);
  await manager.context().close();
  assert.equal((await page.goto(path.replace("PA_ONE", "PA_TWO"))).status(), 404);

  await page.goto(path);
  await page.getByText("Remove it").click();
  await page.getByRole("button", { name: "Remove Renamed" }).click();
  await page.getByText("No webhooks are set up yet").waitFor();
  assert.deepEqual(page.context().troubles, []);
});

test("a month's costs have totals, lines, a file and an invoice", async () => {
  const page = await signedIn(server, "viewer");
  await page.goto(`${BASE}/costs`);
  await page.getByRole("list", { name: /Totals/ }).getByText("130,000.00 INR").waitFor();
  await fit(page, `${BASE}/costs`, "costs");
  await page.goto(`${BASE}/costs`);
  await page.getByRole("link", { name: "Umbrella & <Sons>", exact: true }).click();
  await page.getByRole("heading", { name: "In INR: 130 lines" }).waitFor();
  // A page stays below 100 kB; the file has all lines.
  assert.equal(await page.locator("table.rows tbody tr").count(), 90);
  await page.getByText("The first 90 are here").waitFor();
  const address = new URL(page.url());
  const path = address.pathname + address.search;
  await fit(page, path, "costs-customer");
  const csv = await page.context().request.get(path.replace("/costs?", "/costs.csv?"));
  assert.equal(csv.headers()["content-type"], "text/csv; charset=utf-8");
  assert.match(csv.headers()["content-disposition"], /attachment; filename="costs-\d{4}-\d{2}\.csv"/);
  assert.equal((await csv.text()).trim().split("\r\n").length, 131);
  await page.getByRole("link", { name: "Invoice to print" }).click();
  await page.getByRole("heading", { name: /^Draft invoice \d{4}-\d{2}$/ }).waitFor();
  // The totals stand before the lines.
  const totals = page.locator("table").first();
  await totals.getByText("65,000.00 INR").waitFor();
  const lines = page.getByRole("region", { name: "Number rental" });
  assert.equal(await lines.locator("tbody tr").count(), 130);
  await lines.locator("tfoot").getByText("65,000.00 INR").waitFor();
  const invoice = new URL(page.url());
  await fit(page, invoice.pathname + invoice.search, "invoice");
  await page.emulateMedia({ media: "print" });
  assert.ok(!(await page.getByText("Back to the costs").isVisible()), "not on paper");
  // A PDF by printing: A4, several pages, and small.
  const pdf = await page.pdf({ preferCSSPageSize: true, printBackground: true });
  const sheets = pdf.toString("latin1").match(/\/Type\s*\/Page\b/g)?.length ?? 0;
  assert.ok(pdf.subarray(0, 5).equals(Buffer.from("%PDF-")) && sheets >= 3 && sheets <= 6, `${sheets} sheets`);
  assert.match(pdf.toString("latin1"), /MediaBox \[0 0 59[45][.\d]* 84[12]/);
  await page.emulateMedia({ media: "screen" });

  const foreign = await page.context().request.get(`${BASE}/costs/invoice?account=MA_X`);
  const unknown = await page.context().request.get(`${BASE}/costs/invoice?account=MA_Y`);
  assert.deepEqual([foreign.status(), unknown.status()], [422, 422]);
  // Another partner's customer is as unknown as one that nobody has.
  assert.equal((await foreign.text()).replaceAll("MA_X", "MA_Y"), await unknown.text());
  assert.equal((await page.context().request.get(`${BASE}/costs.csv?month=2999-01`)).status(), 422);
  assert.equal((await page.context().request.get(`${BASE}/costs/invoice`)).status(), 422);
  await page.goto(`${BASE}/costs?month=2999-01`);
  await page.getByRole("heading", { name: "January 2999 has not begun" }).waitFor();
  await fit(page, `${BASE}/costs?month=2999-01`, "costs-future");
  await page.getByRole("link", { name: "This month so far" }).click();
  await page.getByRole("list", { name: /Totals/ }).waitFor();
  await page.goto(`${BASE}/costs?month=1999-12`);
  await page.getByRole("heading", { name: "No customer held a number in December 1999" }).waitFor();
  assert.equal((await page.goto(`${BASE}/costs?month=tomorrow`)).status(), 422);
  await page.getByRole("alert").getByText("“tomorrow” is not a month").waitFor();
  assert.deepEqual(page.context().troubles, []);
});

test("who looks is offered no change, and where nothing is wrong the way on", async () => {
  const page = await signedIn(server, "viewer");
  await page.goto(`${BASE}/checks`);
  assert.equal(await page.locator("main form[method=post]").count(), 0);
  assert.equal(await page.getByRole("link", { name: "Webhooks" }).count(), 0);
  const some = await page.locator("table.findings th a").first().getAttribute("href");
  assert.ok(some);
  assert.equal((await forge(page, `${BASE}/checks/fi_00000000000000000000/acknowledge`, { until: "good" })).status(), 403);
  const unknown = await page.context().request.get(`${BASE}/checks?account=MA_NONE`);
  assert.equal(unknown.status(), 422);
  assert.match(await unknown.text(), /Customer MA_NONE not found/);
  await page.goto(`${BASE}/checks?check=archived_route`);
  await page.getByRole("heading", { name: "No open findings" }).waitFor();
  assert.deepEqual(page.context().troubles, []);
  const stranger = await open(server);
  assert.equal((await stranger.request.get(`${BASE}/costs.csv`, { maxRedirects: 0 })).status(), 303);
  await stranger.close();
});
