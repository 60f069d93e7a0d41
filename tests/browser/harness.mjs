// What the browser tests share: a real server on a database of its own, people
// who can sign in to it, a real Chromium, and what has to hold on every page.
import { spawn, execFileSync } from "node:child_process";
import { createHmac } from "node:crypto";
import { existsSync, mkdtempSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { test as nodeTest } from "node:test";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import assert from "node:assert/strict";
import { chromium } from "playwright-core";

const root = resolve(import.meta.dirname, "../..");
const target = process.env.CARGO_TARGET_DIR ?? join(root, "target");
const program = process.env.ROLLCALL_BIN ?? join(target, "debug/rollcall");
const axeSource = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
export const artefacts = join(import.meta.dirname, "artefacts");

export const PASSWORD = "seven green umbrellas";

/// A test with a limit of its own: a file of many is not one that hangs.
export const test = (name, body) => nodeTest(name, { timeout: 240_000 }, body);

/// Names and ids that are long and have no space, and a row that has them.
export const LONG_ID = `MA_${"1".repeat(125)}`;
export const LONG_TRUNK = `TK${"0123456789abcdef".repeat(2)}`;
export const LONG_APPLICATION = `app_${"0".repeat(124)}`;
export const LONG_ROW = `\n+912271264900,${LONG_ID},${"L".repeat(200)},${LONG_APPLICATION},${"L".repeat(200)},${LONG_TRUNK},500.00,INR,`;

/// Numbers for two partners: PA_ONE's are seen by these tests, PA_TWO's never.
export function sample() {
  const rows = ["number,account_auth_id,account_name,application_id,application_name,trunk_id,monthly_cost,currency,expires_at"];
  const soon = new Date(Date.now() + 5 * 86_400_000).toISOString().slice(0, 19) + "Z";
  for (let at = 0; at < 260; at++) {
    const unrouted = at < 210;
    const account = at % 2 ? "MA_1,Umbrella & <Sons>" : "MA_2,Second Customer";
    rows.push(`+9122712642${String(at).padStart(3, "0")},${account},${unrouted ? "," : "app_1,Main IVR"},trunk_1,500.00,INR,${at % 50 === 7 ? soon : ""}`);
  }
  rows.push("+912271265000-+912271265099,,,,,,450.00,INR,");
  // Many, for jobs that somebody can stop half-way.
  rows.push("+912271300000-+912271319999,,,,,,450.00,INR,");
  return rows.join("\n");
}

export class Server {
  static async start({ tls = false, settings = "", rows = "" } = {}) {
    assert.ok(existsSync(program), `${program} is not built`);
    const server = new Server();
    server.dir = mkdtempSync(join(tmpdir(), "rollcall-browser-"));
    server.database = `sqlite:${join(server.dir, "rollcall.db")}`;
    server.run("partner", "create", "--auth-id", "PA_ONE", "--name", "First Partner");
    server.run("partner", "create", "--auth-id", "PA_TWO", "--name", "Second Partner");
    server.import("PA_ONE", sample() + rows);
    server.import("PA_TWO", "number,account_auth_id,account_name,application_id,monthly_cost,currency\n+442079460000,MA_X,Hidden,app_x,1.00,GBP");
    server.links = {};
    for (const role of ["owner", "manager", "viewer"]) server.links[role] = server.user(role);
    server.links.administrator = server.user("administrator");
    await server.serve(tls, settings);
    return server;
  }

  run(...args) {
    const env = { ...process.env, ROLLCALL_DATABASE: this.database, USER: "tester" };
    return execFileSync(program, args, { env, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
  }

  import(partner, csv) {
    const file = join(this.dir, "rows.csv");
    writeFileSync(file, csv);
    this.run("import", file, "--partner", partner);
  }

  /// Creates somebody; the path of their set-up link.
  user(role, email = `${role}@example.com`) {
    const of = role === "administrator" ? ["--platform-admin"] : ["--partner", "PA_ONE", "--role", role];
    const made = JSON.parse(this.run("user", "create", "--email", email, ...of, "--json"));
    return new URL(made.link, "http://localhost").pathname;
  }

  async serve(tls, settings = "") {
    // One row a batch: bulk work lasts long enough to be watched.
    const config = join(this.dir, "rollcall.toml");
    writeFileSync(config, `[jobs]\nbatch_rows = 1\n${settings}`);
    const flags = ["serve", "--create", "--listen", "127.0.0.1:0", "--config", config];
    if (tls) flags.push("--tls-cert", tls.cert, "--tls-key", tls.key);
    const env = { ...process.env, ROLLCALL_DATABASE: this.database, NO_COLOR: "1" };
    this.process = spawn(program, flags, { env, stdio: ["ignore", "ignore", "pipe"] });
    this.log = "";
    const address = await new Promise((done, failed) => {
      this.process.stderr.setEncoding("utf8");
      this.process.stderr.on("data", (text) => {
        this.log += text;
        const found = /listening on (https?:\/\/[\d.:]+)/.exec(this.log);
        if (found) done(found[1]);
      });
      this.process.on("exit", () => failed(new Error(`the server ended:\n${this.log}`)));
    });
    this.base = address;
  }

  async stop() {
    if (this.process.exitCode === null) {
      const ended = new Promise((done) => this.process.on("exit", done));
      this.process.kill("SIGTERM");
      await ended;
    }
    rmSync(this.dir, { recursive: true, force: true });
  }
}

let chromiumOf;
export async function browser() {
  chromiumOf ??= chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: [
      "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
      "--disable-component-update", "--disable-sync",
    ],
  });
  return chromiumOf;
}
export async function closeBrowser() {
  await (await chromiumOf)?.close();
}

/// A window of its own. What a page must never do is collected: scripts that
/// fail, what its security policy had to stop, requests to elsewhere.
export async function open(server, options = {}) {
  const context = await (await browser()).newContext({
    baseURL: server.base, viewport: { width: 1280, height: 900 }, ignoreHTTPSErrors: true, ...options,
  });
  context.troubles = [];
  context.on("page", (page) => {
    page.on("pageerror", (error) => context.troubles.push(`script: ${error.message}`));
    page.on("console", (message) => {
      if (/Content Security Policy|Refused to/.test(message.text())) context.troubles.push(message.text());
    });
    page.on("request", (request) => {
      const url = request.url();
      if (!url.startsWith(server.base) && !url.startsWith("data:") && !url.startsWith("blob:")) context.troubles.push(`elsewhere: ${url}`);
    });
  });
  return context;
}

/// Somebody of a role, with a password and in the console.
export async function signedIn(server, role, options) {
  const context = await open(server, options);
  const page = await context.newPage();
  const email = `${role}@example.com`;
  if (server.links[role]) {
    await page.goto(server.links[role]);
    await page.getByLabel("New password").fill(PASSWORD);
    await page.getByLabel("The same again").fill(PASSWORD);
    await page.getByRole("button", { name: /Set the password/ }).click();
    delete server.links[role];
  } else {
    await page.goto("/");
    await page.getByLabel("Email").fill(email);
    await page.getByLabel("Password").fill(PASSWORD);
    await page.getByRole("button", { name: "Sign in" }).click();
  }
  await page.getByRole("button", { name: "Sign out" }).waitFor();
  return page;
}

/// What axe finds wrong with a page, at WCAG 2.2 AA. Of each table it judges
/// the first rows: all rows come from one template, and judging each cell of
/// fifty takes seconds. `whole` judges them all.
export async function accessible(page, what, { whole = false } = {}) {
  await page.evaluate(axeSource);
  const found = await page.evaluate((whole) =>
    globalThis.axe.run(whole ? document : { include: ["html"], exclude: ["tbody tr:nth-child(n+7)"] }, {
      runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"], resultTypes: ["violations"],
    }), whole);
  const said = found.violations.map((one) => `${one.id}: ${one.help}\n  ${one.nodes.map((node) => node.html).slice(0, 3).join("\n  ")}`);
  assert.equal(said.join("\n"), "", `axe on ${what}`);
}

export async function picture(page, name) {
  mkdirSync(artefacts, { recursive: true });
  await page.screenshot({ path: join(artefacts, `${name}.png`), fullPage: true });
}

/// The code that an authenticator shows now (RFC 6238), `ahead` steps from now.
export function totp(secret, ahead = 0) {
  const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
  let bits = "";
  for (const letter of secret.replace(/[\s=]/g, "").toUpperCase()) bits += alphabet.indexOf(letter).toString(2).padStart(5, "0");
  const key = Buffer.from(bits.match(/.{8}/g).map((byte) => Number.parseInt(byte, 2)));
  const step = Buffer.alloc(8);
  step.writeBigUInt64BE(BigInt(Math.floor(Date.now() / 30_000) + ahead));
  const hash = createHmac("sha1", key).update(step).digest();
  const at = hash[19] & 15;
  return String((hash.readUInt32BE(at) & 0x7fffffff) % 1_000_000).padStart(6, "0");
}
