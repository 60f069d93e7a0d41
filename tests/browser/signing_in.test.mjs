// Who gets in, how, and what they are offered.
import { after, before } from "node:test";
import assert from "node:assert/strict";
import { PASSWORD, Server, accessible, closeBrowser, open, picture, signedIn, test, totp } from "./harness.mjs";

let server;
before(async () => { server = await Server.start(); });
after(async () => { await closeBrowser(); await server.stop(); });

test("the first address leads to the form, and a wrong password nowhere", async () => {
  const context = await open(server);
  const page = await context.newPage();
  const response = await page.goto("/");
  assert.equal(new URL(page.url()).pathname, "/console/sign-in");
  assert.equal(response.request().redirectedFrom()?.redirectedFrom() ?? null, null, "one redirect at most");
  await accessible(page, "the sign-in form");
  await picture(page, "sign-in");
  await page.getByLabel("Email").fill("nobody@example.com");
  await page.getByLabel("Password").fill("something or other");
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByRole("alert").getByText("the email address or the password is wrong").waitFor();
  assert.equal(await page.getByLabel("Email").inputValue(), "nobody@example.com", "what was typed stays");
  assert.deepEqual(context.troubles, []);
  await context.close();
});

test("a set-up link works once, and then the password does", async () => {
  const link = server.user("viewer", "second@example.com");
  const context = await open(server);
  const page = await context.newPage();
  await page.goto(link);
  await accessible(page, "the set-up page");
  await page.getByLabel("New password").fill(PASSWORD);
  await page.getByLabel("The same again").fill("something else entirely");
  await page.getByRole("button", { name: /Set the password/ }).click();
  await page.getByRole("alert").getByText("typed in two ways").waitFor();
  await page.getByLabel("New password").fill(PASSWORD);
  await page.getByLabel("The same again").fill(PASSWORD);
  await page.getByRole("button", { name: /Set the password/ }).click();
  await page.getByRole("heading", { name: "Overview" }).waitFor();
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.waitForURL("**/console/sign-in");
  assert.equal((await page.goto(link)).status(), 404);
  await page.goto("/console/p/PA_ONE/numbers");
  await page.getByLabel("Email").fill("second@example.com");
  await page.getByLabel("Password").fill(PASSWORD);
  await page.keyboard.press("Enter");
  await page.waitForURL("**/console/p/PA_ONE/numbers");
  await context.close();
});

test("a second factor is set up, asked for, and can be lost", async () => {
  const page = await signedIn(server, "owner");
  await page.goto("/console/me");
  await page.getByRole("button", { name: "Set up an authenticator" }).click();
  const secret = await page.locator("#secret").textContent();
  await accessible(page, "the page that offers a second factor");
  await picture(page, "second-factor");
  await page.getByLabel("Code").fill("000000");
  await page.getByRole("button", { name: "Turn it on" }).click();
  await page.getByRole("alert").waitFor();
  const again = await page.locator("#secret").textContent();
  assert.equal(again, secret, "the authenticator has the secret already");
  await page.getByLabel("Code").fill(totp(again));
  await page.getByRole("button", { name: "Turn it on" }).click();
  await page.getByRole("heading", { name: "Your recovery codes" }).waitFor();
  const recovery = await page.locator("section.card code").allTextContents();
  assert.ok(recovery.length >= 8, `${recovery}`);

  const signIn = async (code) => {
    const context = await open(server);
    const other = await context.newPage();
    await other.goto("/console/sign-in");
    await other.getByLabel("Email").fill("owner@example.com");
    await other.getByLabel("Password").fill(PASSWORD);
    await other.keyboard.press("Enter");
    await other.getByLabel(/Code from your authenticator/).waitFor();
    await accessible(other, "the form for a code");
    // Half of it opens nothing.
    const half = await context.request.get("/console/p/PA_ONE", { maxRedirects: 0 });
    assert.equal(half.status(), 303);
    await other.getByLabel(/Code from your authenticator/).fill(code);
    await other.keyboard.press("Enter");
    return other;
  };
  const wrong = await signIn("123456");
  await wrong.getByRole("alert").waitFor();
  const right = await signIn(totp(again, 1));
  await right.getByRole("button", { name: "Sign out" }).waitFor();
  const lost = await signIn(recovery[0]);
  await lost.getByRole("button", { name: "Sign out" }).waitFor();
  const twice = await signIn(recovery[0]);
  await twice.getByRole("alert").waitFor();
  assert.deepEqual(page.context().troubles, []);
});

test("a viewer is offered no verb, and is refused when forging one", async () => {
  const page = await signedIn(server, "viewer");
  await page.goto("/console/p/PA_ONE/numbers");
  assert.equal(await page.locator("table.rows input[type=checkbox]").count(), 0);
  await page.goto("/console/p/PA_ONE/numbers/+9122712642000");
  assert.equal(await page.locator("main form").count(), 0);
  for (const path of ["keys", "users", "settings"]) {
    assert.equal((await page.goto(`/console/p/PA_ONE/${path}`)).status(), 403, path);
  }
  const forged = await page.context().request.post("/console/p/PA_ONE/numbers/+9122712642000/suspend", {
    headers: { "Sec-Fetch-Site": "same-origin", Origin: server.base }, form: {}, maxRedirects: 0,
  });
  assert.equal(forged.status(), 403);
  const shown = await page.goto("/console/p/PA_ONE/numbers/+9122712642000");
  assert.match(await shown.text(), /<dt>State<dd>active/, "nothing was done");
});

test("another partner is nowhere", async () => {
  const page = await signedIn(server, "manager");
  const paths = [
    "", "/numbers", "/numbers/+442079460000", "/customers", "/customers/MA_X", "/applications/app_x", "/changes",
    "/changes/1", "/jobs", "/checks", "/costs", "/import",
  ];
  for (const path of paths) {
    const get = (address) => page.context().request.get(address, { maxRedirects: 0 });
    const theirs = await get(`/console/p/PA_TWO${path}`);
    const nobodys = await get(`/console/p/PA_NONE${path}`);
    assert.equal(theirs.status(), 404, path);
    assert.equal(await theirs.text(), await nobodys.text(), path);
    assert.doesNotMatch(await theirs.text(), /Second Partner|Hidden/);
  }
  for (const path of ["/numbers/+442079460000", "/customers/MA_X", "/applications/app_x", "/trunks/t", "/changes/99", "/jobs/job_x"]) {
    assert.equal((await page.goto(`/console/p/PA_ONE${path}`)).status(), 404, path);
  }
  assert.equal((await page.goto("/console/platform")).status(), 404);
});

test("forms of other sites are refused", async () => {
  const page = await signedIn(server, "manager");
  const path = "/console/p/PA_ONE/numbers/+9122712642002/suspend";
  const send = (headers) => page.context().request.post(path, { headers, form: {}, maxRedirects: 0 });
  for (const headers of [
    { "Sec-Fetch-Site": "cross-site", Origin: "https://evil.example" },
    { "Sec-Fetch-Site": "same-site", Origin: "https://sub.example" },
    { "Sec-Fetch-Site": "same-origin", Origin: "https://evil.example" },
    { Origin: "null" },
  ]) {
    assert.equal((await send(headers)).status(), 403, JSON.stringify(headers));
  }
  for (const method of ["get", "head"]) {
    const got = await page.context().request[method](path, { maxRedirects: 0 });
    // The way to the form's page; nothing is done.
    assert.equal(got.status(), 303, method);
    assert.ok(got.headers().location.startsWith("/console/p/PA_ONE/"), got.headers().location);
  }
  const frame = await page.context().request.get("/console/p/PA_ONE");
  assert.equal(frame.headers()["x-frame-options"], "DENY");
  assert.match(frame.headers()["content-security-policy"], /default-src 'none'.*frame-ancestors 'none'/);
  assert.doesNotMatch(frame.headers()["content-security-policy"], /unsafe/);
});
