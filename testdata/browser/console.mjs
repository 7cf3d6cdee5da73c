// The page of a build and its console. Imported by pages.test.mjs.
import assert from 'node:assert/strict';
import { describe } from 'node:test';
import { ask, before, ended, it, server, visit } from './harness.mjs';

describe('the page of a build', () => {
  let first;
  let second;
  before(async () => {
    first = await ended(await ask('job/logs/job/ci/buildForm'));
    second = await ended(await ask('job/logs/job/ci/buildForm'));
  });

  it('tells how far the build is, and in the tab what became of it', () => visit(async (page, go) => {
    await go(await ask('job/logs/job/ci/buildForm'));
    await page.waitForURL(/\/ci\/\d+\/$/);
    await page.locator('progress').waitFor();
    assert.match(await page.locator('.marks').textContent(), /Running.*for .* s, usually 1\.\d s/s);
    await page.waitForFunction(() => document.querySelector('progress').value > 10);
    assert.match(await page.locator('link[rel=icon]').getAttribute('href'), /icon-running\./);
    await page.locator('.region-buildhead .state-failure').waitFor();
    assert.match(await page.locator('link[rel=icon]').getAttribute('href'), /icon-failure\./);
    assert.equal(await page.locator('progress').count(), 0);
    const value = page.getByRole('link', { name: 'abc/1' });
    assert.equal(await value.getAttribute('href'), 'https://git.example.com/c/abc%2F1');
  }));

  it('has keys, and a list of them', () => visit(async (page, go) => {
    await go(first);
    await page.keyboard.press('n');
    await page.waitForURL(server.url + second);
    await page.keyboard.press('p');
    await page.waitForURL(server.url + first);
    await page.keyboard.press('?');
    const dialog = page.getByRole('dialog', { name: 'Keys on this page' });
    await dialog.getByText('Newer').waitFor();
    assert.equal(await dialog.getByText('Follow').count(), 0, 'the build has ended');
    await page.keyboard.press('n');
    await page.keyboard.press('Escape');
    await dialog.waitFor({ state: 'hidden' });
    assert.equal(page.url(), server.url + first, 'keys rest while the list is open');
  }));
});
