// What the tests of the pages share: one server, one browser, and ways to use them.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { after, before as prepare, it as test } from 'node:test';
import { chromium } from 'playwright-core';
import { host, password, start } from './server.mjs';

const require = createRequire(import.meta.url);
export const axe = readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8');
export const screenshots = process.env.BUILDTOKEN_SCREENSHOTS;
export const phone = { width: 390, height: 844 };
export const desktop = { width: 1280, height: 800 };

// The time limit for each test and each wait in milliseconds, even on a busy machine.
export const timeout = 60000;
export const before = (work) => prepare(work, { timeout });
export const it = (name, ...rest) => test(name, { timeout, ...(rest.length > 1 && rest[0]) }, rest.at(-1));

export let server;
export let browser;

before(async () => {
  assert.ok(process.env.BUILDTOKEN_BINARY, 'BUILDTOKEN_BINARY names the program to test');
  server = await start(process.env.BUILDTOKEN_BINARY);
  browser = await chromium.launch({
    executablePath: process.env.BUILDTOKEN_CHROMIUM || '/usr/bin/chromium',
    args: [`--host-resolver-rules=MAP ${host} 127.0.0.1`, '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
  });
});

after(async () => {
  await browser?.close();
  await server?.stop();
});

// visit runs a test in a separate window, and fails if the browser reports an error.
export const visit = async (work, { user = 'alice', complaints = true, base = server.url, ...options } = {}) => {
  const context = await browser.newContext({
    viewport: desktop, locale: 'en-GB', timezoneId: 'Europe/Berlin', reducedMotion: 'reduce',
    httpCredentials: { username: user, password }, ...options,
  });
  const page = await context.newPage();
  page.setDefaultTimeout(timeout / 2);
  const said = [];
  page.on('console', (m) => { if (['error', 'warning'].includes(m.type())) said.push(m.text()); });
  page.on('pageerror', (e) => said.push(e.message));
  page.on('request', (r) => { if (!r.url().startsWith(base)) said.push(`request to ${r.url()}`); });
  const go = (path) => page.goto(base + path);
  try {
    await work(page, go, context);
    if (complaints) assert.deepEqual(said, [], 'what the browser complained of');
  } finally {
    await context.close();
  }
};

export const account = { Authorization: `Basic ${btoa(`alice:${password}`)}` };
export const soon = () => AbortSignal.timeout(timeout);

// ask sends the request of a page's form, without a page.
export const ask = async (path, form = {}) => {
  const response = await fetch(server.direct + path, {
    method: 'POST', redirect: 'manual', body: new URLSearchParams(form), headers: account, signal: soon(),
  });
  assert.equal(response.status, 303, await response.text());
  return new URL(response.headers.get('Location'), server.direct).href.slice(server.direct.length);
};

export const text = async (path) => {
  const response = await fetch(server.direct + path, { headers: account, signal: soon() });
  assert.equal(response.status, 200);
  return response.text();
};

// ended waits until the item at a path has become a build and that has ended, and returns its path.
export const ended = async (item) => {
  let path;
  await visit(async (page, go) => {
    await go(item);
    await page.waitForURL(/\/job\/.*\/\d+\/$/);
    await page.locator('.region-buildhead .state:not(.state-running)').waitFor();
    path = page.url().slice(server.url.length);
  });
  return path;
};

export const log = (page) => page.locator('[data-console-text]');
export const state = (page) => page.locator('.marks .state').first();

