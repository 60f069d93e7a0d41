// Lists: a renewal counted in clicks, by mouse and by keys alone; a selection that
// stays; a menu that fits a telephone; what stays in sight.
import { after, before } from "node:test";
import assert from "node:assert/strict";
import { Server, accessible, closeBrowser, open, picture, signedIn, test } from "./harness.mjs";

const BASE = "/console/p/PA_ONE";
let server;
before(async () => { server = await Server.start(); });
after(async () => { await closeBrowser(); await server.stop(); });

const done = (page) => page.locator("h1 .mark", { hasText: "done" }).waitFor({ timeout: 60_000 });
const expiring = async (page) => {
  await page.goto(`${BASE}/numbers?q=expiring`);
  return page.locator("table.rows tbody tr").count();
};

test("what expires within 14 days is renewed by a year with four clicks", async () => {
  const page = await signedIn(server, "manager");
  assert.equal(await expiring(page), 6);
  await page.goto(BASE);
  let clicks = 0;
  const click = async (place) => { clicks += 1; await place.click(); };
  await click(page.locator(".figures a", { hasText: "Expiring" }));
  await click(page.getByLabel(/all 6 numbers/));
  await picture(page, "expiring");
  await accessible(page, "the expiring numbers");
  await click(page.getByRole("button", { name: "+1 year" }));
  await page.locator("h1", { hasText: "Renew 6 numbers" }).waitFor();
  await accessible(page, "the preview of a renewal");
  await picture(page, "renewal");
  await click(page.locator("#run"));
  await done(page);
  assert.ok(clicks <= 4, `${clicks} clicks`);
  assert.equal(await expiring(page), 0);
  assert.deepEqual(page.context().troubles, []);
});

test("the same by keys alone, put back first", async () => {
  const page = await signedIn(server, "manager");
  // Six numbers that expire soon, one by one.
  const soon = new Date(Date.now() + 5 * 86_400_000).toISOString().slice(0, 19) + "Z";
  for (let at = 7; at < 260; at += 50) {
    server.run("number", "renew", `+9122712642${String(at).padStart(3, "0")}`, "--partner", "PA_ONE", "--expires-at", soon);
  }
  await page.goto(BASE);
  let presses = 0;
  const press = async (place, key = "Enter") => {
    // Tab leads there; what counts is what is pressed then.
    await place.focus();
    presses += 1;
    await page.keyboard.press(key);
  };
  await press(page.locator(".figures a", { hasText: "Expiring" }));
  await page.locator("h1", { hasText: "Numbers" }).waitFor();
  await press(page.getByLabel(/all 6 numbers/), "Space");
  await press(page.getByRole("button", { name: "+1 year" }));
  await page.locator("h1", { hasText: "Renew 6 numbers" }).waitFor();
  await press(page.locator("#run"));
  await done(page);
  assert.ok(presses <= 4, `${presses} presses`);
  assert.equal(await expiring(page), 0);
});

test("a selection survives pages and orders, and goes with its job", async () => {
  const page = await signedIn(server, "manager");
  await page.goto(`${BASE}/numbers?q=active&per_page=25`);
  const boxes = page.locator("input[type=checkbox][name=n]");
  await boxes.nth(0).check();
  await boxes.nth(1).check();
  await page.locator("[data-selected]", { hasText: "2 selected" }).waitFor();
  await page.getByRole("link", { name: "Next" }).click();
  await page.locator("[data-selected]", { hasText: "2 selected, 2 of them on other pages" }).waitFor();
  await boxes.nth(3).check();
  await page.getByRole("link", { name: "Previous" }).click();
  await page.locator("[data-selected]", { hasText: "3 selected, 1 of them on other pages" }).waitFor();
  assert.equal(await boxes.nth(0).isChecked(), true);
  await page.locator("select[name=verb]").selectOption("suspend");
  await page.getByRole("button", { name: "Continue" }).click();
  await page.locator("h1", { hasText: "Suspend 3 numbers" }).waitFor();
  await page.getByRole("button", { name: "Preview" }).click();
  await page.locator("#run").click();
  await done(page);
  await page.goto(`${BASE}/numbers?q=active`);
  assert.equal(await page.locator("[data-selected]").textContent(), "");
  // The size that was chosen is kept.
  assert.equal(await page.locator("table.rows tbody tr").count(), 25);
});

test("rows stand on one line at 1280, and the heads stay in sight", async () => {
  const page = await signedIn(server, "manager");
  await page.goto(`${BASE}/numbers?per_page=50`);
  const heights = await page.locator("table.rows tbody tr").evaluateAll((rows) => rows.map((row) => row.getBoundingClientRect().height));
  assert.ok(Math.max(...heights) < 45, `${Math.max(...heights)} px`);
  await page.evaluate(() => scrollTo(0, 900));
  for (const place of [page.locator(".bulk"), page.locator("thead th", { hasText: "Number" }).first()]) {
    const box = await place.boundingBox();
    assert.ok(box.y >= 0 && box.y < 120, `${box.y}`);
  }
});

test("at 360 the menu is a drawer, also without a script, and no button is out of sight", async () => {
  const page = await signedIn(server, "owner", { viewport: { width: 360, height: 740 } });
  for (const path of ["", "/numbers", "/checks", "/keys", "/users", "/costs", "/checks/webhooks", "/checks/schedules"]) {
    await page.goto(`${BASE}${path}`);
    assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), 360, path);
    const outside = await page.locator("main button:visible, main a.button:visible").evaluateAll((all) =>
      all.filter((one) => one.getBoundingClientRect().right > 361).map((one) => one.textContent));
    assert.deepEqual(outside, [], path);
    assert.equal(await page.locator("nav.side").isVisible(), false);
  }
  await accessible(page, "a narrow page");
  const plain = await open(server, { viewport: { width: 360, height: 740 }, javaScriptEnabled: false });
  await plain.addCookies(await page.context().cookies());
  const still = await plain.newPage();
  await still.goto(`${BASE}/numbers`);
  await still.locator(".drawer summary").click();
  await still.locator(".drawer").getByRole("link", { name: "Webhooks" }).click();
  await still.waitForURL("**/checks/webhooks");
});

test("the browser's zone is offered, and taken", async () => {
  const page = await signedIn(server, "viewer", { timezoneId: "Asia/Kolkata" });
  await page.goto(BASE);
  await page.locator("#zone-offer").getByRole("button", { name: "Show times in Asia/" }).click();
  await page.waitForURL("**/console/me**");
  assert.match(await page.getByRole("combobox", { name: "Time zone" }).inputValue(), /^Asia\/(Kolkata|Calcutta)$/);
  await page.goto(BASE);
  assert.equal(await page.locator("#zone-offer").count(), 0);
});
