// The pictures of the README: pages of the demo, signed in as the owner.
// `node screenshots.mjs FOLDER` writes them; each is a page that the tests
// visit as well.
import { spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { chromium } from "playwright-core";

const folder = resolve(process.argv[2] ?? "docs/images");
const root = resolve(import.meta.dirname, "../..");
const program = process.env.ROLLCALL_BIN ?? join(process.env.CARGO_TARGET_DIR ?? join(root, "target"), "debug/rollcall");
const { ROLLCALL_DATABASE: _database, ROLLCALL_CONFIG: _config, ...clean } = process.env;
const dir = mkdtempSync(join(tmpdir(), "rollcall-pictures-"));
const demo = spawn(program, ["demo", "--json", "--listen", "127.0.0.1:0", "--dir", join(dir, "demo")], {
  env: clean, stdio: ["ignore", "pipe", "inherit"],
});
const lines = createInterface({ input: demo.stdout });
const made = JSON.parse((await lines[Symbol.asyncIterator]().next()).value);
const owner = made.logins.find((login) => login.role === "owner") ?? made.logins[0];
const partner = `${made.url}/console/p/${made.partners[0].auth_id}`;
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox", "--disable-gpu"] });
try {
  mkdirSync(folder, { recursive: true });
  const context = await browser.newContext({ viewport: { width: 1280, height: 760 }, colorScheme: "light", timezoneId: "UTC" });
  const page = await context.newPage();
  await page.goto(`${made.url}/console/sign-in`);
  await page.fill("input[name=email]", owner.email);
  await page.fill("input[name=password]", owner.password);
  await Promise.all([page.waitForNavigation(), page.press("input[name=password]", "Enter")]);
  for (const [name, path] of [["overview", ""], ["numbers", "/numbers?q=has:account+expires:%3C14d+sort:expires"], ["number", "/numbers/+912271264217"]]) {
    await page.goto(`${partner}${path}`);
    await page.screenshot({ path: join(folder, `${name}.png`) });
  }
} finally {
  await browser.close();
  demo.kill("SIGINT");
  await new Promise((done) => demo.once("exit", done));
  rmSync(dir, { recursive: true, force: true });
}
