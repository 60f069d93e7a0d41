// What people do every day, from the Overview, by mouse with the clicks counted
// and by keyboard alone; names are typed and chosen, ids never.
import { after, before } from "node:test";
import assert from "node:assert/strict";
import { Server, accessible, closeBrowser, picture, signedIn, test } from "./harness.mjs";

const BASE = "/console/p/PA_ONE";
let server;
before(async () => { server = await Server.start(); });
after(async () => { await closeBrowser(); await server.stop(); });

/// A page whose clicks are counted.
async function counted(page) {
  await page.goto(BASE);
  let clicks = 0;
  const click = async (target) => {
    clicks += 1;
    await target.click();
  };
  return { click, clicks: () => clicks };
}
const first = (page) => page.locator("table.rows tbody th a").first();
const options = (page) => page.locator("#options [role=option]");
const notice = (page, text) => page.locator(".notice", { hasText: text }).waitFor();

/// Types a part of a name into the field that has the focus, and chooses what is
/// suggested first.
async function choose(page, text, expected) {
  await page.keyboard.type(text);
  await options(page).first().filter({ hasText: expected }).waitFor();
  await page.keyboard.press("Enter");
  await page.locator("#options").waitFor({ state: "hidden" });
}
/// Tabs until something is focused.
async function reach(page, selector) {
  for (let presses = 0; presses < 200; presses++) {
    if (await page.evaluate((selector) => document.activeElement?.matches(selector) ?? false, selector)) return;
    await page.keyboard.press("Tab");
  }
  assert.fail(`${selector} cannot be reached`);
}
/// Goes somewhere by Ctrl-K.
async function go(page, text, expected) {
  await page.keyboard.press("Control+k");
  await page.locator("#finder[open] input").waitFor();
  await choose(page, text, expected);
}

test("an available number is assigned by its customer's name in four clicks", async () => {
  const page = await signedIn(server, "manager");
  const { click, clicks } = await counted(page);
  await click(page.locator("ul.figures a, nav.side a", { hasText: /Available/ }).first());
  await click(first(page));
  await page.locator("#do-assign[open]").waitFor();
  await click(page.locator("#do-assign").getByLabel("Customer"));
  await picture(page, "chooser");
  await accessible(page, "an open chooser");
  await choose(page, "umbr", "Umbrella & <Sons>");
  assert.equal(await page.locator("#do-assign").getByLabel("Customer").inputValue(), "Umbrella & <Sons> (MA_1)");
  await click(page.locator("#do-assign button"));
  await notice(page, "assigned to Umbrella & <Sons>");
  assert.ok(clicks() <= 4, `${clicks()} clicks`);
  assert.deepEqual(page.context().troubles, []);
});

test("an unrouted number is routed by its application's name in three clicks", async () => {
  const page = await signedIn(server, "manager");
  const { click, clicks } = await counted(page);
  await click(page.locator("ul.figures a", { hasText: "Unrouted" }));
  await click(first(page));
  await page.locator("#do-route[open]").waitFor();
  await click(page.locator("#do-route").getByLabel("Application"));
  await choose(page, "main", "Main IVR");
  await page.keyboard.press("Enter");
  await notice(page, "routed to Main IVR");
  assert.ok(clicks() <= 3, `${clicks()} clicks`);
});

test("all unrouted numbers are previewed in five clicks, by customer, before and after", async () => {
  const page = await signedIn(server, "manager");
  const { click, clicks } = await counted(page);
  await click(page.locator("ul.figures a", { hasText: "Unrouted" }));
  await click(page.getByLabel(/all \d/));
  await click(page.getByRole("button", { name: "Continue" }));
  await page.waitForURL("**/numbers/bulk");
  assert.match(await page.locator("h1").textContent(), /^Route/);
  await click(page.getByLabel("Application", { exact: true }));
  await choose(page, "main", "Main IVR");
  await click(page.getByRole("button", { name: "Preview" }));
  await page.waitForURL("**/jobs/job_*");
  assert.ok(clicks() <= 5, `${clicks()} clicks`);
  await page.getByRole("heading", { name: "By customer" }).waitFor();
  assert.match(await page.locator("ul.diff").first().textContent(), /application unrouted → Main IVR/);
  await accessible(page, "a preview with before and after");
  await picture(page, "preview-diff");
});

test("what changed last week for one customer takes two pages", async () => {
  const page = await signedIn(server, "manager");
  await page.goto(BASE);
  let pages = 0;
  page.on("framenavigated", (frame) => { if (frame === page.mainFrame()) pages += 1; });
  await page.locator("nav.side a", { hasText: "Changes" }).first().click();
  await page.getByLabel("From", { exact: true }).fill(new Date(Date.now() - 7 * 86_400_000).toISOString().slice(0, 10));
  await page.getByLabel("Customer").click();
  await choose(page, "umbr", "Umbrella & <Sons>");
  await page.waitForURL("**/changes?*account=*");
  await page.locator("table.rows tbody tr").first().waitFor();
  assert.match(await page.locator("table.rows").textContent(), /assigned to Umbrella & <Sons>/);
  assert.ok(pages <= 2, `${pages} pages`);
  await accessible(page, "the changes of a customer");
  await picture(page, "changes-of-customer");
});

test("the same by keyboard alone, with Ctrl-K", async () => {
  const page = await signedIn(server, "manager");
  await page.goto(BASE);
  await page.keyboard.press("Control+k");
  await page.locator("#finder[open] input").waitFor();
  await options(page).first().waitFor();
  await picture(page, "ctrl-k");
  await accessible(page, "the search of Ctrl-K");
  await page.keyboard.press("Escape");
  await page.locator("#finder[open]").waitFor({ state: "detached" }).catch(() => {});
  assert.equal(await page.locator("#finder").evaluate((one) => one.open), false);

  await go(page, "022 7126 5042", "+91 22 7126 5042");
  await page.waitForURL("**/numbers/+912271265042");
  await reach(page, "#do-assign input[name=account_auth_id]");
  await choose(page, "second", "Second Customer");
  await page.keyboard.press("Enter");
  await notice(page, "assigned to Second Customer");
  await reach(page, "#do-route input[name=application_id]");
  await choose(page, "main", "Main IVR");
  await page.keyboard.press("Enter");
  await notice(page, "routed to Main IVR");

  await go(page, "umbr", "Umbrella & <Sons>");
  await page.waitForURL("**/customers/MA_1");
  await go(page, "unrouted", "Route unrouted numbers");
  await page.waitForURL("**/numbers?q=status*");
  await go(page, "changes", "Changes");
  await page.waitForURL("**/changes");
  await reach(page, "#account");
  await choose(page, "second", "Second Customer");
  await page.waitForURL("**/changes?*account=*");
  assert.match(await page.locator("table.rows").textContent(), /routed to Main IVR/);
  assert.deepEqual(page.context().troubles, []);
});

test("arrow keys, Escape and a pasted list", async () => {
  const page = await signedIn(server, "manager");
  await page.goto(`${BASE}/applications?new`);
  const field = page.getByLabel("Only for this customer");
  await field.click();
  await options(page).nth(1).waitFor();
  await page.keyboard.press("ArrowDown");
  await page.keyboard.press("ArrowDown");
  assert.equal(await options(page).nth(1).getAttribute("aria-selected"), "true");
  assert.equal(await field.getAttribute("aria-activedescendant"), "option-1");
  await page.keyboard.press("ArrowUp");
  await page.keyboard.press("Enter");
  assert.match(await field.inputValue(), /\(MA_\d\)$/);
  await field.fill("umb");
  await options(page).first().waitFor();
  await page.keyboard.press("Escape");
  await page.locator("#options").waitFor({ state: "hidden" });
  assert.equal(await field.inputValue(), "umb");

  await page.goto(`${BASE}/numbers?q=${encodeURIComponent("+912271264200, 022 7126 5001;+912271265002\n")}`);
  await page.locator("#found b", { hasText: /^2 numbers$/ }).waitFor();
  await page.getByText("not in the inventory").waitFor();
  await page.goto(`${BASE}/numbers?q=umbrela`);
  await page.getByRole("alert").getByRole("link", { name: "Umbrella & <Sons>" }).click();
  await page.waitForURL("**/numbers?q=account*");
  await page.locator("#found b").waitFor();
});

test("without a script, a name is typed and a wrong one answered", async () => {
  await (await signedIn(server, "owner")).context().close();
  const page = await signedIn(server, "owner", { javaScriptEnabled: false });
  await page.goto(`${BASE}/search?q=umbr`);
  await page.getByRole("link", { name: /Umbrella/ }).click();
  await page.getByRole("heading", { name: /Umbrella/ }).waitFor();
  await page.goto(`${BASE}/numbers/+912271265060`);
  const form = page.locator("#do-assign");
  await form.getByLabel("Customer").fill("Second");
  await form.locator("button").click();
  await page.getByRole("alert").getByText("Did you mean Second Customer (MA_2)?").waitFor();
  await form.getByLabel("Customer").fill("second customer");
  await form.locator("button").click();
  await notice(page, "assigned to Second Customer");
});

test("pages of names, wide and narrow, light and dark", async () => {
  const page = await signedIn(server, "manager");
  for (const [width, scheme] of [[1280, "light"], [360, "light"], [1280, "dark"], [360, "dark"]]) {
    await page.setViewportSize({ width, height: 800 });
    await page.emulateMedia({ colorScheme: scheme });
    for (const [name, path] of [["search", "/search?q=71264"], ["problems", "/numbers?q=umbrela"], ["changes", "/changes"], ["assign", "/numbers/+912271265070"]]) {
      await page.goto(`${BASE}${path}`);
      await page.locator("h1").waitFor();
      assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), `${name} is wider than ${width}`);
      await accessible(page, `${name} at ${width}, ${scheme}`);
      await picture(page, `names-${name}-${width}-${scheme}`);
    }
  }
});
