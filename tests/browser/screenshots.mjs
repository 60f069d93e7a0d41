// Pictures of the demo, signed in as the owner.
// `node screenshots.mjs FOLDER` writes those of the README.
// `node screenshots.mjs --all FOLDER` writes every page of the console, wide and
// narrow, light and dark, and an invoice as a PDF, for eyes that look for what no
// test sees; `--only NAME,NAME` writes some of them.
import { spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { chromium } from "playwright-core";

const args = process.argv.slice(2);
const all = args.includes("--all");
const only = args.includes("--only") ? args[args.indexOf("--only") + 1].split(",") : null;
const root = resolve(import.meta.dirname, "../..");
const folder = resolve(args.filter((arg, at) => !arg.startsWith("--") && args[at - 1] !== "--only")[0] ?? join(root, "docs/images"));
const program = process.env.ROLLCALL_BIN ?? join(process.env.CARGO_TARGET_DIR ?? join(root, "target"), "debug/rollcall");
const { ROLLCALL_DATABASE: _database, ROLLCALL_CONFIG: _config, ...clean } = process.env;
const dir = mkdtempSync(join(tmpdir(), "rollcall-pictures-"));
const began = Date.now();
const demo = spawn(program, ["demo", "--json", "--listen", "127.0.0.1:0", "--dir", join(dir, "demo")], {
  env: clean, stdio: ["ignore", "pipe", "inherit"],
});
const lines = createInterface({ input: demo.stdout });
const made = JSON.parse((await lines[Symbol.asyncIterator]().next()).value);
console.log(`the demo started in ${Date.now() - began} ms`);
const person = (role) => made.logins.find((login) => login.role === role) ?? made.logins[0];
const partner = `${made.url}/console/p/${made.partners[0].auth_id}`;
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox", "--disable-gpu"] });

async function signedIn(options, login = person("owner")) {
  const context = await browser.newContext({ colorScheme: "light", timezoneId: "UTC", ...options });
  const page = await context.newPage();
  await page.goto(`${made.url}/console/sign-in`);
  await page.fill("input[name=email]", login.email);
  await page.fill("input[name=password]", login.password);
  await Promise.all([page.waitForNavigation(), page.press("input[name=password]", "Enter")]);
  return page;
}

const README = [["overview", ""], ["numbers", "/numbers?q=has:account+expires:%3C14d+sort:expires"], ["number", "/numbers/+912271264217"]];

/// Every page by its address below the partner, found from its lists.
async function pages(page) {
  const first = async (path, selector) => {
    await page.goto(`${partner}${path}`);
    const href = await page.locator(selector).first().getAttribute("href").catch(() => null);
    return href ? href.replace(/^.*\/p\/[^/]+/, "") : path;
  };
  const last = new Date(Date.now() - 40 * 86_400_000).toISOString().slice(0, 7);
  return [
    ...README,
    ["numbers-all", "/numbers"], ["numbers-none", "/numbers?q=region:Atlantis"], ["numbers-odd", "/numbers?q=Globx"],
    ["number-new", "/numbers?new"], ["number-unknown", "/numbers/+33144999999"], ["search", "/search?q=glob"],
    ["customers", "/customers"], ["customer", "/customers/MA_48149cf4"], ["customer-new", "/customers?new"],
    ["applications", "/applications"], ["application", "/applications/app_abc123"], ["trunks", "/trunks"],
    ["checks", "/checks"], ["checks-acknowledged", "/checks?acknowledged=true"], ["checks-unknown", "/checks?check=expring"],
    ["costs", "/costs"], ["costs-customer", `/costs?account=MA_48149cf4&month=${last}`], ["costs-currency", "/costs?currency=EURO"],
    ["trend", "/costs/trend"], ["invoice", `/costs/invoice?account=MA_48149cf4&month=${last}`],
    ["invoice-draft", "/costs/invoice?account=MA_48149cf4"],
    ["changes", "/changes"], ["changes-release", "/changes?verb=release"], ["change", await first("/changes?verb=import", "main table a[href*='/changes/']")],
    ["jobs", "/jobs"], ["job-ready", await first("/jobs", "main table a[href*='/jobs/']")],
    ["import", "/import"], ["schedules", "/checks/schedules"], ["schedule", await first("/checks/schedules", "main a[href*='/schedules/']")],
    ["webhooks", "/checks/webhooks"], ["webhook", await first("/checks/webhooks", "main a[href*='/webhooks/']")],
    ["keys", "/keys"], ["users", "/users"], ["settings", "/settings"], ["lost", "/nowhere"],
  ];
}

async function everything() {
  const list = await pages(await signedIn({}));
  for (const [wide, width] of [["wide", 1280], ["narrow", 360]]) {
    for (const colorScheme of ["light", "dark"]) {
      const page = await signedIn({ viewport: { width, height: 800 }, colorScheme });
      for (const [name, path] of [...list, ["me", null]].filter(([name]) => !only || only.includes(name))) {
        await page.goto(path === null ? `${made.url}/console/me` : `${partner}${path}`);
        const over = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
        if (over > 0) console.log(`${name} is ${over} px too wide at ${width}`);
        await page.screenshot({ path: join(folder, `${name}-${wide}-${colorScheme}.png`), fullPage: true });
      }
      await page.context().close();
    }
  }
  const page = await signedIn({});
  for (const [name, path] of list.filter(([name]) => name.startsWith("invoice"))) {
    await page.goto(`${partner}${path}`);
    await page.pdf({ path: join(folder, `${name}.pdf`), preferCSSPageSize: true, printBackground: true });
  }
}

try {
  mkdirSync(folder, { recursive: true });
  if (all) {
    await everything();
  } else {
    const page = await signedIn({ viewport: { width: 1280, height: 760 } });
    for (const [name, path] of README) {
      await page.goto(`${partner}${path}`);
      await page.screenshot({ path: join(folder, `${name}.png`) });
    }
  }
} finally {
  await browser.close();
  demo.kill("SIGINT");
  await new Promise((done) => demo.once("exit", done));
  rmSync(dir, { recursive: true, force: true });
}
