// Every flow with the keyboard alone: nothing is clicked, and nothing is
// focused but by Tab.
import { after, before } from "node:test";
import assert from "node:assert/strict";
import { PASSWORD, Server, closeBrowser, open, signedIn, test } from "./harness.mjs";

const BASE = "/console/p/PA_ONE";
let server;
before(async () => { server = await Server.start(); });
after(async () => { await closeBrowser(); await server.stop(); });

/// Tabs until something is focused; where that is seen, as the focus is.
async function reach(page, selector) {
  for (let presses = 0; presses < 220; presses++) {
    const here = await page.evaluate((selector) => document.activeElement?.matches(selector) ?? false, selector);
    if (here) {
      const seen = await page.evaluate(() => {
        const style = getComputedStyle(document.activeElement);
        return style.outlineStyle !== "none" && Number.parseFloat(style.outlineWidth) >= 2;
      });
      assert.ok(seen, `the focus on ${selector} cannot be seen`);
      return;
    }
    await page.keyboard.press("Tab");
  }
  assert.fail(`${selector} cannot be reached`);
}
const press = async (page, selector) => {
  await reach(page, selector);
  await page.keyboard.press("Enter");
};
const type = async (page, selector, text) => {
  await reach(page, selector);
  await page.keyboard.press("Control+A");
  await page.keyboard.type(text);
};

test("choosing a password, signing out and in", async () => {
  const page = await (await open(server)).newPage();
  await page.goto(server.user("manager", "keys@example.com"));
  await type(page, "input[name=password]", PASSWORD);
  await type(page, "input[name=again]", PASSWORD);
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "Overview" }).waitFor();
  await press(page, "header.top form[action$=sign-out] button");
  await page.waitForURL("**/sign-in");
  await type(page, "input[name=email]", "keys@example.com");
  await type(page, "input[name=password]", PASSWORD);
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "Overview" }).waitFor();
});

test("a number: assigned, routed, released, undone", async () => {
  const page = await signedIn(server, "manager");
  await page.goto(`${BASE}/numbers/+912271265020`);
  const act = async (verb, fields) => {
    const details = page.locator(`details:has(form[action$="/${verb}"])`);
    if (!(await details.evaluate((one) => one.open))) await press(page, `details:has(form[action$="/${verb}"]) > summary`);
    for (const [name, text] of Object.entries(fields)) await type(page, `form[action$="/${verb}"] [name=${name}]`, text);
    await press(page, `form[action$="/${verb}"] button`);
    await page.locator(".notice").waitFor();
  };
  await act("assign", { account_auth_id: "MA_1" });
  await page.locator("h1 .mark", { hasText: "active" }).waitFor();
  await act("route", { application_id: "app_1" });
  await act("release", {});
  await page.locator("h1 .mark", { hasText: "quarantined" }).waitFor();
  await press(page, ".notice button");
  await page.locator("h1 .mark", { hasText: "active" }).waitFor();
});

test("in bulk: selected, previewed, run, undone", async () => {
  const page = await signedIn(server, "manager");
  await page.goto(`${BASE}/numbers?q=no:account+2712650`);
  await reach(page, "input[name=n]");
  await page.keyboard.press("Space");
  await reach(page, "select[name=verb]");
  await page.keyboard.type("Tag");
  await press(page, "fieldset.bulk button");
  await page.waitForURL("**/numbers/bulk");
  await type(page, "input[name=add]", "keyed");
  await page.keyboard.press("Enter");
  await page.waitForURL("**/jobs/job_*");
  // Each change is shown before it is done.
  await page.locator("ul.diff li", { hasText: "keyed" }).first().waitFor();
  await press(page, "#run");
  await page.locator("h1 .mark", { hasText: "done" }).waitFor();
  const job = page.url();
  await press(page, "#undo");
  await page.waitForURL((url) => url.href !== job);
  await press(page, "#run");
  await page.locator("h1 .mark", { hasText: "done" }).waitFor();
});

test("a customer, an import and an acknowledged finding", async () => {
  const page = await signedIn(server, "manager");
  await page.goto(`${BASE}/customers?new`);
  await type(page, "input[name=name]", "Keyboard Customer");
  await type(page, "input[name=id]", "MA_KEYS");
  await page.keyboard.press("Enter");
  await page.waitForURL("**/customers/MA_KEYS*");

  await page.goto(`${BASE}/import`);
  await type(page, "textarea", "number,account_auth_id,monthly_cost,currency\n+442079460009,MA_KEYS,1.00,GBP\n");
  await press(page, "form[action*=import] button.main");
  await page.waitForURL("**/import/*");
  await press(page, "#run");
  await page.getByRole("button", { name: "Undo the import" }).waitFor();

  await page.goto(`${BASE}/checks?check=unrouted`);
  const before = await page.locator(".found b").textContent();
  await press(page, "table summary");
  await press(page, "details[open] button.main");
  await page.locator(".notice").waitFor();
  await page.goto(`${BASE}/checks?check=unrouted`);
  assert.notEqual(await page.locator(".found b").textContent(), before);
});

test("a key, a second factor, and whoever is new", async () => {
  const page = await signedIn(server, "owner");
  await page.goto(`${BASE}/keys`);
  await type(page, "input[name=name]", "by keyboard");
  await page.keyboard.press("Enter");
  await page.locator("#token").waitFor();
  await page.goto(`${BASE}/users`);
  await type(page, "input[name=email]", "third@example.com");
  await page.keyboard.press("Enter");
  await page.locator("#link").waitFor();
  await page.goto("/console/me");
  await press(page, "form[action$='/totp/begin'] button");
  await page.locator("#secret").waitFor();
});
