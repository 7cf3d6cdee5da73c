// Drives the pages of the real program with a real browser.
//
//   BUILDTOKEN_BINARY       the program (required)
//   BUILDTOKEN_CHROMIUM     the browser; default /usr/bin/chromium
//   BUILDTOKEN_SCREENSHOTS  a directory for screenshots of the pages; without it, none are taken
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe } from 'node:test';
import { ask, axe, before, browser, ended, it, log, phone, screenshots, server, soon, state, text, timeout, visit } from './harness.mjs';
import './console.mjs';

describe('a build', () => {
  it('is started by the form, followed from queue to end, and keeps the values', () => visit(async (page, go) => {
    await go('job/app/job/deploy/');
    await page.getByLabel('BRANCH').fill('feature/<b>');
    await page.getByLabel('STAGE').selectOption('staging');
    await page.getByLabel('DRY_RUN').uncheck();
    await page.getByLabel('NOTES').fill('one\ntwo');
    await page.getByLabel('API_KEY').fill('hunter2');
    await page.getByText('Options').click();
    await page.getByLabel('Note', { exact: true }).fill('for the demo');
    await page.getByRole('button', { name: 'Build' }).click();
    await page.waitForURL(/\/queue\/item\/\d+\/$/);
    await page.getByText('In the quiet period').waitFor();
    await page.waitForURL(/\/job\/app\/job\/deploy\/1\/$/); // by itself
    await page.getByText('Running', { exact: true }).waitFor();
    await log(page).getByText('Step 3 of 40 on staging').waitFor();
    assert.equal(await page.getByRole('button', { name: 'Follow' }).getAttribute('aria-pressed'), 'true');
    await page.locator('.state-success').waitFor();
    await log(page).getByText('Finished: SUCCESS').waitFor();
    const shown = await log(page).textContent();
    const want = (await text('job/app/job/deploy/1/consoleText')).replaceAll('\r\n', '\n')
      .replaceAll(/[^\n]*\r/g, '').replaceAll(/\u001b\[[0-9;]*m/g, '');
    assert.equal(shown, want);
    assert.ok(await page.locator('.console .ab.f4').count() > 30, 'steps are bold and blue');
    const atEnd = await page.locator('[data-console-log]').evaluate((e) => e.scrollHeight - e.scrollTop - e.clientHeight);
    assert.ok(atEnd < 8, `the end is shown, not ${atEnd} pixels above it`);
    assert.match(await page.title(), /^Success · .*deploy #1$/);
    assert.match(await page.locator('[data-announce]').textContent(), /Build #1: Success/);
    const facts = await page.locator('main').textContent();
    for (const want of ['feature/<b>', 'staging', 'false', 'for the demo', 'a password, not shown']) assert.ok(facts.includes(want), want);
    assert.ok(!(await page.content()).includes('hunter2'));
    await page.reload();
    assert.equal(await log(page).textContent(), want, 'the same from the server');
  }));

  it('is followed again after the connection was cut', () => visit(async (page, go) => {
    const item = await ask('job/app/job/deploy/buildForm', { STAGE: 'production', NOTES: 'cut' });
    await go(item);
    await page.waitForURL(/\/deploy\/\d+\/$/);
    await log(page).getByText('Step 4 of 40').waitFor();
    server.cut();
    await page.getByText('Reconnecting').waitFor();
    await page.getByText('Live').waitFor();
    await log(page).getByText('Step 20 of 40').waitFor();
    server.cut();
    await page.locator('.state-success').waitFor();
    await log(page).getByText('Finished: SUCCESS').waitFor();
    const steps = (await log(page).textContent()).match(/Step \d+/g);
    assert.deepEqual(steps, Array.from({ length: 40 }, (_, i) => `Step ${i + 1}`), 'each line once');
  }, { complaints: false }));

  it('does not scroll away from a reader who has scrolled up', () => visit(async (page, go) => {
    const item = await ask('job/app/job/deploy/buildForm', { NOTES: 'scroll' });
    await go(item);
    await page.waitForURL(/\/deploy\/\d+\/$/);
    await log(page).getByText('Step 18 of 40').waitFor();
    const view = page.locator('[data-console-log]');
    await view.evaluate((e) => { e.scrollTop = 0; });
    await page.locator('[data-console-follow][aria-pressed=false]').waitFor();
    await log(page).getByText('Step 24 of 40').waitFor();
    assert.ok(await view.evaluate((e) => e.scrollTop) < 50);
    await page.getByRole('button', { name: 'Follow' }).click();
    await log(page).getByText('Step 28 of 40').waitFor();
    assert.ok(await view.evaluate((e) => e.scrollHeight - e.scrollTop - e.clientHeight) < 60);
    await page.getByText('Finished: SUCCESS').waitFor();
  }));

  it('has its whole console before a reader scrolls there', () => visit(async (page, go) => {
    await go(await ended(await ask('job/app/job/deploy/buildForm', { NOTES: 'a\n'.repeat(40) })));
    const height = () => page.locator('[data-console-log]').evaluate((e) => e.scrollHeight);
    assert.ok(await page.locator('[data-console-log]').evaluate((e) => e.getBoundingClientRect().top > innerHeight), 'it is below the fold');
    const before = await height();
    await page.locator('[data-console-log]').scrollIntoViewIfNeeded();
    await log(page).getByText('Finished: SUCCESS').waitFor();
    assert.equal(await height(), before);
  }, { viewport: { width: 390, height: 200 } }));

  it('is stopped by a button', () => visit(async (page, go) => {
    await go(await ask('job/app/job/mobile/job/android/buildForm'));
    await page.waitForURL(/\/android\/\d+\/$/);
    await log(page).getByText('compiling').waitFor();
    await page.getByRole('button', { name: 'Stop' }).click();
    await page.locator('.state-aborted').waitFor();
    await log(page).getByText('Finished: ABORTED').waitFor();
    assert.match(await page.locator('main').textContent(), /user alice/);
    assert.equal(await page.getByRole('button', { name: 'Stop' }).count(), 0);
  }));

  it('is followed while it writes more than a browser can show', () => visit(async (page, go) => {
    await go(await ask('job/app/job/mobile/job/long/buildForm'));
    await page.waitForURL(/\/long\/\d+\/$/);
    await page.locator('.state-success').waitFor();
    await log(page).getByText('Finished: SUCCESS').waitFor();
    const numbers = (await log(page).textContent()).match(/line \d+ of/g).map((l) => Number(l.slice(5, -3)));
    assert.equal(numbers.at(-1), 120000);
    assert.deepEqual(numbers, numbers.map((_, i) => numbers[0] + i), 'in order, none missing');
    assert.ok(numbers.length <= 21000, `${numbers.length} lines are shown, at most about 20000`);
    const atEnd = await page.locator('[data-console-log]').evaluate((e) => e.scrollHeight - e.scrollTop - e.clientHeight);
    assert.ok(atEnd < 8, `the end is shown, not ${atEnd} pixels above it`);
  }));

  it('can have a log of ten mebibytes', () => visit(async (page, go) => {
    const path = await ended(await ask('job/app/job/mobile/job/long/buildForm'));
    const begin = Date.now();
    await go(path);
    await log(page).getByText('line 120000 of').waitFor();
    assert.ok(Date.now() - begin < 5000, `it took ${Date.now() - begin} ms`);
    const numbers = async () => (await log(page).textContent()).match(/line \d+ of/g).map((l) => Number(l.slice(5, -3)));
    const shown = await numbers();
    const earlier = page.getByRole('button', { name: 'Show earlier' });
    for (let n = 0; n < 12; n++) {
      const before = (await numbers())[0];
      await earlier.click();
      await page.waitForFunction((first) => !document.querySelector('[data-console-text]').textContent.startsWith(`line ${first} of`), before);
    }
    const more = await numbers();
    assert.ok(more[0] < shown[0] - 20000, 'much earlier lines are shown');
    assert.ok(more.length <= 21000, `${more.length} lines are shown, at most about 20000`);
    assert.deepEqual(more, more.map((_, i) => more[0] + i), 'in order, none missing');
    await page.getByRole('button', { name: 'Show later' }).click();
    await page.waitForFunction((last) => document.querySelector('[data-console-text]').textContent.includes(`line ${last + 1} of`), more.at(-1));
    const later = await numbers();
    assert.deepEqual(later, later.map((_, i) => later[0] + i), 'still in order');
    await page.getByRole('button', { name: 'Jump to the end' }).click();
    await log(page).getByText('Finished: SUCCESS').waitFor();
    const last = await numbers();
    assert.equal(last.at(-1), 120000);
    assert.deepEqual(last, last.map((_, i) => last[0] + i));
    await page.setViewportSize(phone);
    const tall = await page.locator('[data-n]').last().evaluate((e) => e.offsetHeight > 1.5 * parseFloat(getComputedStyle(e).lineHeight));
    assert.ok(!tall, 'a number of six digits is on one line, on a phone too');
  }));
});

describe('the queue', () => {
  it('shows changes without a reload, and cancels', () => visit(async (page, go) => {
    await go('queue/');
    await page.getByText('Nothing is queued.').waitFor();
    const loads = await page.evaluate(() => { window.marked = true; return true; });
    assert.ok(loads);
    await ask('job/nightly/buildForm');
    const row = page.getByRole('row', { name: /nightly/ });
    await row.waitFor();
    assert.match(await row.textContent(), /^\s*1\s*nightly item \d+\s*Quiet period\s*In the quiet period,\s*due in (59 min|1 h)/);
    assert.match(await page.locator('[data-announce]').textContent(), /1 item queued/);
    await row.getByRole('button', { name: /Cancel/ }).click();
    await page.getByText('There will be no build.').waitFor();
    assert.match(await page.locator('.lead').textContent(), /by user alice/);
    await go('queue/');
    await page.getByText('Nothing is queued.').waitFor();
  }));

  for (const javaScriptEnabled of [true, false]) {
    it(`cancels all items of a job ${javaScriptEnabled ? 'with' : 'without'} JavaScript`, () => visit(async (page, go) => {
      for (const NOTE of ['one', 'two', 'three']) await ask('job/app/job/mobile/job/soak/buildForm', { NOTE, delay: '1h' });
      const other = await ask('job/nightly/buildForm');
      await go('queue/');
      if (javaScriptEnabled) await page.getByText('Live', { exact: true }).waitFor();
      assert.match(await page.getByRole('link', { name: /^Queue/ }).textContent(), /4/);
      await page.getByRole('link', { name: /^Cancel all\s+of .*soak/ }).click();
      assert.deepEqual(await page.locator('.chips').allTextContents(), ['NOTE one', 'NOTE two', 'NOTE three']);
      await page.getByRole('link', { name: 'Keep them' }).click();
      await page.getByRole('link', { name: 'Cancel all 3…' }).click();
      const late = await ask('job/app/job/mobile/job/soak/buildForm', { NOTE: 'late', delay: '1h' });
      await page.getByRole('button', { name: 'Cancel 3 items' }).click();
      await page.getByText('3 items were cancelled.', { exact: true }).waitFor();
      await page.waitForURL(javaScriptEnabled ? /\/job\/soak\/$/ : /\/job\/soak\/\?cancelled=3&of=3$/);
      assert.deepEqual(await page.locator('.region-jobqueue .chips').allTextContents(), ['NOTE late']);
      await ask(`${late}cancelForm`);
      await ask(`${other}cancelForm`);
    }, { javaScriptEnabled }));
  }

  it('cancels the item under the pointer, although a row above leaves meanwhile', () => visit(async (page, go) => {
    await go('job/hello/');
    const first = await ask('job/hello/buildForm', { delay: '1h' });
    const second = await ask('job/nightly/buildForm', { delay: '1h' });
    await go('queue/');
    await page.getByText('Live').waitFor();
    const number = (item) => item.match(/(\d+)\/$/)[1];
    const aim = page.locator(`#cancel-${number(second)}`);
    await aim.hover();
    await ask(`${first}cancelForm`);
    // The row stays where it is, marked, and its button does nothing.
    await page.locator(`tr.gone #cancel-${number(first)}:disabled`).waitFor({ state: 'attached' });
    await page.getByText('Paused while you point').waitFor();
    await page.mouse.down();
    await page.mouse.up();
    await page.waitForURL(/queue\/item\/\d+\/$/);
    assert.equal(page.url().slice(server.url.length), second, 'the item that was cancelled');
    await go('queue/');
    await page.locator(`#cancel-${number(first)}`).waitFor({ state: 'detached' });
  }));

  it('keeps a selection of text and applies changes when the pointer leaves', () => visit(async (page, go) => {
    const item = await ask('job/nightly/buildForm', { delay: '1h' });
    await go('queue/');
    await page.getByText('Live').waitFor();
    const key = item.match(/(\d+)\/$/)[1];
    const cell = page.locator(`tr[data-key="${key}"] .cause`);
    await cell.click({ clickCount: 3 });
    const selected = () => page.evaluate(() => getSelection().toString());
    const before = await selected();
    assert.notEqual(before, '');
    const other = await ask('job/hello/buildForm', { delay: '30m' }); // its row comes above
    await page.getByText('Paused while you point').waitFor();
    assert.equal(await selected(), before);
    await page.evaluate(() => getSelection().empty());
    await page.mouse.move(1, 1);
    await page.locator(`tr[data-key="${other.match(/(\d+)\/$/)[1]}"]`).waitFor();
    await ask(`${item}cancelForm`);
    await ask(`${other}cancelForm`);
    await page.getByText('Nothing is queued').waitFor();
  }));

  it('says what to do about an item that cannot run', () => visit(async (page, go) => {
    const item = await ask('job/on-arm/buildForm');
    await go(item);
    assert.match(await page.locator('.marks').textContent(), /Stuck/);
    await page.getByText(/no nodes with the label ‘arm64’/).waitFor();
    await page.getByText(/^Give a server this label, .* Otherwise, cancel it\.$/).waitFor();
    await page.getByRole('button', { name: 'Cancel' }).click();
    await page.getByText('There will be no build.').waitFor();
  }));

  it('keeps the focus when it changes', () => visit(async (page, go) => {
    const item = await ask('job/nightly/buildForm');
    await go('queue/');
    const button = page.getByRole('button', { name: /Cancel/ }).first();
    await button.focus();
    const other = await ask('job/app/job/deploy/buildForm', { delay: '1h' });
    await page.getByRole('row', { name: /deploy/ }).waitFor();
    assert.equal(await page.evaluate(() => document.activeElement.tagName), 'BUTTON');
    await ask(`${item}cancelForm`);
    await ask(`${other}cancelForm`);
    await page.getByText('Nothing is queued.').waitFor();
    assert.equal(await page.evaluate(() => document.activeElement.id), 'main', 'what had the focus is gone');
  }));
});

describe('the pages', () => {
  it('use one stream and send no other requests', () => visit(async (page, go) => {
    for (const [path, change] of [
      ['queue/', () => page.getByText('Quiet period').first()],
      ['', () => page.getByRole('row', { name: /nightly/ }).getByText('1', { exact: true })],
      ['job/nightly/', () => page.getByRole('heading', { name: 'Queued' })],
    ]) {
      await go(path);
      await page.getByText('Live', { exact: true }).waitFor();
      const requests = [];
      const note = (r) => requests.push(r.url());
      page.on('request', note);
      const item = await ask('job/nightly/buildForm');
      await change().waitFor();
      await ask(`${item}cancelForm`);
      await change().waitFor({ state: 'detached' });
      page.off('request', note);
      assert.deepEqual(requests, [], `/${path} asked for more than its stream`);
    }
  }));

  it('count down until queued items are due, and count up for running builds', () => visit(async (page, go) => {
    const item = await ask('job/app/job/deploy/buildForm', { delay: '3s', NOTES: 'count' });
    await go(item);
    const due = page.locator('time[data-due]');
    const first = await due.textContent();
    assert.match(first, /^due in [1-3] s$/);
    await page.waitForFunction((was) => document.querySelector('time[data-due]')?.textContent !== was, first);
    await page.waitForURL(/\/deploy\/\d+\/$/);
    await page.waitForFunction(() => /^for [2-9] s$/.test(document.querySelector('time[data-since]')?.textContent));
    await page.locator('.state-success').waitFor();
  }));

  it('say when a schedule runs next', () => visit(async (page, go) => {
    await go('job/nightly/');
    assert.match(await page.locator('.next').textContent(), /^Next scheduled: in \d+ d( \d+ h)?, 29 Feb \d+, 03:\d\d:00 · H 3 29 2 \*, 03:\d\d Europe\/Berlin$/);
  }));

  it('show what executors do, and which items wait for one', () => visit(async (page, go) => {
    await go('computer/');
    const busy = page.locator('.state-running');
    assert.equal(await page.getByText('Idle').count(), 2);
    const builds = [];
    for (const note of ['one', 'two']) builds.push(await ask('job/app/job/mobile/job/soak/buildForm', { NOTE: note, delay: '0s' }));
    await page.waitForFunction(() => document.querySelectorAll('.state-running').length === 2);
    await page.getByRole('link', { name: /soak #1/ }).waitFor();
    const waiting = await ask('job/app/job/mobile/job/soak/buildForm', { NOTE: 'three', delay: '0s' });
    await go(waiting);
    await page.getByText('Waiting for next available executor').waitFor();
    for (const path of builds) {
      await go(path);
      await page.waitForURL(/\/soak\/\d+\/$/);
      await page.getByRole('button', { name: 'Stop' }).click();
      await page.locator('.state-aborted').waitFor();
    }
    await go(waiting);
    await page.waitForURL(/\/soak\/3\/$/);
    await page.getByRole('button', { name: 'Stop' }).click();
    await page.locator('.state-aborted').waitFor();
    await go('computer/');
    await busy.waitFor({ state: 'detached' });
  }));

  it('have a public badge and a feed for readers', () => visit(async (page, go) => {
    await ended(await ask('job/hello/buildForm'));
    await go('job/hello/');
    const badge = new URL(await page.getByRole('link', { name: 'Badge' }).getAttribute('href'), server.url).href;
    const anonymous = await fetch(badge.replace(server.url, server.direct), { signal: soon() });
    assert.equal(anonymous.status, 200);
    assert.match(await anonymous.text(), /<title>build: passing<\/title>/);
    const shown = await page.evaluate((src) => new Promise((resolve) => {
      const image = new Image();
      image.onload = () => resolve([image.naturalWidth, image.naturalHeight]);
      image.onerror = () => resolve('broken');
      image.src = src;
    }), badge);
    assert.ok(shown[0] > 60 && shown[1] === 20, `the badge is ${shown}`);
    assert.equal((await fetch(badge.replace(server.url, server.direct).replace('/hello/', '/nightly/'), { signal: soon() })).status, 403);
    const feed = await page.evaluate(async (href) => {
      const parsed = new DOMParser().parseFromString(await (await fetch(href)).text(), 'application/xml');
      const entry = parsed.querySelector('entry');
      return { titles: [...parsed.querySelectorAll('title')].map((t) => t.textContent), link: entry.querySelector('link').getAttribute('href') };
    }, await page.locator('link[type="application/atom+xml"]').getAttribute('href'));
    assert.equal(feed.titles[0], 'Builds of hello');
    assert.match(feed.titles[1], /^hello #\d+ Success$/);
    await page.goto(feed.link);
    await log(page).getByText('Finished: SUCCESS').waitFor();
  }));
});

for (const javaScriptEnabled of [true, false]) {
  it(`the builds of a user or token are found ${javaScriptEnabled ? 'with' : 'without'} JavaScript`, () => visit(async (page, go) => {
    await ended(await ask('job/hello/buildForm', { delay: '0s' }));
    const triggered = await fetch(`${server.direct}buildByToken/build?job=hello&delay=0`, { method: 'POST', headers: { Authorization: 'Bearer a-token-for-hello' }, signal: soon() });
    await ended(new URL(triggered.headers.get('Location')).pathname.replace('/ci/', ''));
    const causes = () => page.locator('.list .cause').allTextContents();
    await go('job/hello/');
    await page.locator('.cause').first().getByRole('link', { name: 'ci' }).click();
    await page.waitForURL(/by=token%3Aci/);
    assert.ok(await page.getByRole('heading', { name: 'Builds' }).evaluate((e) => e.getBoundingClientRect().top < innerHeight), 'the list is in view');
    await page.getByRole('contentinfo').waitFor();
    assert.ok((await causes()).length && (await causes()).every((c) => c.endsWith('with token ci')), await causes());
    await page.getByRole('link', { name: 'In all jobs' }).click();
    await page.waitForURL(/\/ci\/\?by=/);
    await page.getByRole('contentinfo').waitFor();
    assert.ok((await causes()).length && (await causes()).every((c) => c.endsWith('with token ci')), await causes());
    if (javaScriptEnabled) {
      await page.getByRole('button', { name: 'Keys' }).waitFor();
      await page.keyboard.press('/');
      assert.equal(await page.evaluate(() => document.activeElement.id), 'history-by');
    }
    await page.getByLabel('Started by').fill('alice');
    await page.getByRole('button', { name: 'Show' }).click();
    await page.waitForURL(/by=alice/);
    assert.ok((await causes()).length && (await causes()).every((c) => c.includes('user alice')), await causes());
    await go('');
    await page.getByRole('link', { name: 'Recent builds' }).click();
    await page.locator('.list .cause').first().waitFor();
  }, { javaScriptEnabled }));
}

describe('the list of jobs', () => {
  const names = (page) => page.locator('.jobs tbody th a:last-of-type:visible').allTextContents();

  it('filters as the reader types, and keeps that in the address', () => visit(async (page, go) => {
    await go('');
    await page.getByText('Live', { exact: true }).waitFor();
    await page.getByLabel('Find jobs').fill('mobile AND');
    assert.deepEqual(await names(page), ['android']);
    assert.match(page.url(), /\?q=mobile\+AND$/);
    // A job that does not match the filter stays hidden when it changes.
    const item = await ask('job/nightly/buildForm', { delay: '1h' });
    await page.locator('.counts').getByText('1 queued').waitFor({ state: 'attached' });
    assert.ok(await page.locator('.counts').isHidden(), 'they count more than is shown');
    assert.deepEqual(await names(page), ['android']);
    await page.reload();
    assert.equal(await page.locator('.counts li').count(), 0, 'they count what is shown');
    assert.equal(await page.getByLabel('Find jobs').inputValue(), 'mobile AND');
    assert.deepEqual(await names(page), ['android']);
    await page.getByLabel('Find jobs').fill('');
    await page.getByRole('link', { name: 'nightly' }).waitFor();
    await page.locator('.counts').getByText('1 queued').click();
    await page.waitForURL(/\?state=queued$/);
    assert.deepEqual(await names(page), ['nightly']);
    assert.equal(await page.locator('.folder:visible').count(), 1, 'folders without such jobs are left out');
    await ask(`${item}cancelForm`);
    await page.getByText('No job fits.').waitFor();
    assert.equal(await page.locator('.folder:visible').count(), 0);
  }));

  it('keeps in the address which folders are folded', () => visit(async (page, go) => {
    await go('');
    await page.locator('[data-fold="app/mobile"] summary .quiet').click();
    await page.waitForURL(/\?fold=app%2Fmobile$/);
    await page.reload();
    assert.ok(!(await names(page)).includes('android'));
    assert.ok((await names(page)).includes('deploy'));
    await page.locator('[data-fold="app/mobile"] summary').focus();
    await page.keyboard.press('Enter');
    await page.getByRole('link', { name: 'android' }).waitFor();
    assert.equal(page.url(), server.url);
  }));

  it('is searched without JavaScript', () => visit(async (page, go) => {
    await go('');
    await page.getByLabel('Find jobs').fill('android');
    await page.getByRole('button', { name: 'Find' }).click();
    assert.deepEqual(await names(page), ['android']);
    await page.getByRole('link', { name: 'Show all' }).click();
    await page.getByLabel('State').selectOption('Disabled');
    await page.getByRole('button', { name: 'Find' }).click();
    assert.deepEqual(await names(page), ['old']);
    await page.getByRole('link', { name: 'Show all' }).click();
    await page.locator('[data-fold="app"] summary .quiet').click();
    assert.ok(!(await names(page)).includes('deploy'));
  }, { javaScriptEnabled: false }));

  it('is sorted by what fails most, live', () => visit(async (page, go) => {
    await ended(await ask('job/app/job/test/buildForm')); // always fails
    await ended(await ask('job/hello/buildForm', { delay: '0s' }));
    await go('');
    await page.getByLabel('Order').selectOption('Fails most');
    await page.waitForURL(/sort=fails/);
    const shares = () => page.locator('.jobs tbody th .help').filter({ hasText: 'Succeeded: ' }).evaluateAll((all) => all.map((e) => Number(e.textContent.match(/\d+/)[0])));
    const first = await shares();
    assert.equal(first[0], 0);
    assert.deepEqual(first, first.toSorted((a, b) => a - b));
    await page.getByText('Live', { exact: true }).waitFor();
    const before = await page.locator('.jobs tbody').last().textContent();
    await ended(await ask('job/app/job/verify/buildForm', { EXIT: '1' }));
    await page.waitForFunction((was) => [...document.querySelectorAll('.jobs tbody')].at(-1).textContent !== was, before);
    const then = await shares();
    assert.deepEqual(then, then.toSorted((a, b) => a - b));
    await page.getByRole('searchbox').fill('app/ver');
    assert.deepEqual(await names(page), ['verify']);
  }));

  it('moves a job that fails to the top, and back', () => visit(async (page, go) => {
    await ended(await ask('job/app/job/verify/buildForm'));
    await go('');
    const failing = page.locator('.failing');
    await page.getByText('Live', { exact: true }).waitFor();
    const place = (name) => page.getByRole('row', { name }).evaluate((row) => row.closest('.folder').className);
    assert.equal(await place('verify'), 'folder');
    await ask('job/app/job/verify/buildForm', { EXIT: '1' });
    await failing.getByRole('link', { name: 'verify' }).waitFor();
    await page.locator('.counts').getByText(/failing/).waitFor();
    assert.equal(await page.getByRole('link', { name: 'verify' }).count(), 1, 'it is shown once');
    await ask('job/app/job/verify/buildForm');
    await failing.getByRole('link', { name: 'verify' }).waitFor({ state: 'detached' });
    assert.equal(await place('verify'), 'folder');
  }));
});

it('a build is done again with another value, and shows the one before', () => visit(async (page, go) => {
  await go(await ended(await ask('job/app/job/deploy/buildForm', { BRANCH: 'main', STAGE: 'staging' })));
  await page.getByRole('link', { name: 'Build again…' }).click();
  await page.getByLabel('BRANCH').fill('feature/<b>');
  // The password is optional, and the build had none.
  await page.getByRole('button', { name: 'Build' }).click();
  await page.waitForURL(/\/job\/app\/job\/deploy\/\d+\/$/);
  assert.deepEqual(await page.locator('.why .chips li').filter({ hasText: 'was' }).allTextContents(), ['BRANCH feature/<b> was main']);
  assert.match(await page.locator('.params > div').first().textContent(), /BRANCH\s*feature\/<b> was main/);
  await page.locator('.state-success').waitFor();
}));

describe('the page of a job', () => {
  it('leads to its builds past the form, on a phone, and shows a state as soon as it is chosen', () => visit(async (page, go) => {
    await ended(await ask('job/app/job/verify/buildForm', { EXIT: '1' }));
    await go('job/app/job/verify/');
    await page.getByRole('link', { name: 'Builds', exact: true }).last().click();
    const top = await page.locator('#history-title').evaluate((e) => e.getBoundingClientRect().top);
    assert.ok(top >= 0 && top < 400, `the builds are at ${top}`);
    await page.getByLabel('State').selectOption('Failed');
    await page.waitForURL(/state=failure/);
    assert.deepEqual([...new Set(await page.locator('.list .state').allTextContents())], ['Failed']);
    await page.goBack();
    await page.waitForFunction(() => document.querySelector('#history-state').value === ''); // as the list
  }, { viewport: phone, hasTouch: true, isMobile: true }));

  it('has a chart of its builds that leads to them', () => visit(async (page, go) => {
    await ended(await ask('job/app/job/verify/buildForm'));
    await ended(await ask('job/app/job/verify/buildForm', { EXIT: '1' }));
    await go('job/app/job/verify/');
    const bar = page.getByRole('link', { name: /^#\d+ Failed, took/ }).last();
    const number = (await bar.getAttribute('aria-label')).match(/#(\d+)/)[1];
    await page.locator('.trend').getByText(/^Failing since/).waitFor();
    await bar.focus();
    await page.keyboard.press('Enter');
    await page.waitForURL(new RegExp(`/verify/${number}/$`));
  }));
});

describe('a form', () => {
  it('shows errors beside their fields and keeps the input', () => visit(async (page, go) => {
    await go('job/app/job/deploy/');
    await page.getByLabel('BRANCH').fill('typed');
    await page.getByText('Options').click();
    await page.getByLabel('Delay').fill('soon');
    await page.getByRole('button', { name: 'Build' }).click();
    await page.getByRole('alert').waitFor();
    const field = page.getByLabel('Delay');
    assert.equal(await field.getAttribute('aria-invalid'), 'true');
    const described = (await field.getAttribute('aria-describedby')).split(' ').map((id) => `#${id}`);
    assert.match(await page.locator(described.at(-1)).textContent(), /90s or 5m/);
    assert.equal(await page.getByLabel('BRANCH').inputValue(), 'typed');
  }, { complaints: false })); // the status 400 is reported

  it('is hidden from users who can only read', () => visit(async (page, go) => {
    await go('job/app/job/deploy/');
    await page.getByRole('heading', { name: 'deploy' }).waitFor();
    assert.equal(await page.locator('form[method=post]').count(), 0);
  }, { user: 'rita' }));

  it('of another site has no effect', () => visit(async (page, go, context) => {
    const evil = await context.newPage();
    // Without a referrer, the browser sends the form with the origin "null".
    for (const referrer of ['origin', 'no-referrer']) {
      for (const base of [server.url, server.secure]) {
        await evil.unroute('http://evil.example/');
        await evil.route('http://evil.example/', (route) => route.fulfill({
          contentType: 'text/html', headers: { 'Referrer-Policy': referrer },
          body: `<form method="post" action="${base}job/nightly/buildForm"><button>Win</button></form>`,
        }));
        await evil.goto('http://evil.example/');
        await evil.getByRole('button').click();
        await evil.getByText('Sent from another site').waitFor();
      }
    }
    await go('queue/');
    await page.getByText('Nothing is queued.').waitFor();
  }, { ignoreHTTPSErrors: true }));

  for (const [where, base] of [
    ['over plain HTTP', () => server.url],
    ['behind a proxy that terminates TLS', () => server.secure],
  ]) {
    for (const javaScriptEnabled of [true, false]) {
      it(`work ${where} ${javaScriptEnabled ? 'with' : 'without'} JavaScript`, () => visit(async (page, go) => {
        await go('job/nightly/');
        await page.getByRole('button', { name: 'Build' }).click();
        await page.waitForURL(/\/queue\/item\/\d+\/$/);
        await page.getByRole('button', { name: 'Cancel' }).click();
        await page.getByText('There will be no build.').waitFor();

        await go('job/nightly/');
        await page.getByRole('button', { name: 'Build' }).click();
        await page.waitForURL(/\/queue\/item\/\d+\/$/);
        await go('queue/');
        await page.getByRole('row', { name: /nightly/ }).getByRole('button', { name: /Cancel/ }).click();
        await page.getByText('There will be no build.').waitFor();

        await go('job/app/job/deploy/');
        await page.getByLabel('BRANCH').fill(`from ${where}`);
        await page.getByText('Options').click();
        await page.getByLabel('Delay').fill('soon');
        await page.getByRole('button', { name: 'Build' }).click();
        await page.locator('[aria-invalid=true]').waitFor();
        assert.equal(await page.getByLabel('BRANCH').inputValue(), `from ${where}`);

        const item = await ask('job/app/job/mobile/job/android/buildForm', { delay: '0s' });
        for (let until = Date.now() + timeout / 2; !/\/android\/\d+\/$/.test(page.url()); await page.waitForTimeout(100)) {
          assert.ok(Date.now() < until, 'the build does not start');
          await go(item);
        }
        await page.getByRole('button', { name: 'Stop' }).click();
        for (let until = Date.now() + timeout / 2; await page.locator('.state-aborted').count() === 0; await page.waitForTimeout(300)) {
          assert.ok(Date.now() < until, 'the build does not end');
          await page.reload();
        }
      }, { base: base(), javaScriptEnabled, ignoreHTTPSErrors: true, complaints: false })); // the status 400 is reported
    }
  }
});

describe('how a job is triggered', () => {
  it('is copied, although browsers give pages over plain HTTP no clipboard', () => visit(async (page, go) => {
    await go('job/hello/');
    assert.equal(await page.evaluate(() => isSecureContext), false);
    await page.locator('details.howto summary').click();
    const command = page.locator('#how-build');
    await page.locator('[data-copy=how-build]').click();
    await page.getByRole('button', { name: 'Copied' }).waitFor();
    await page.getByText('Options').click();
    await page.getByLabel('Delay').focus();
    await page.keyboard.press('Control+V');
    assert.equal(await page.getByLabel('Delay').inputValue(), await command.textContent());
  }));
});

describe('without JavaScript', () => {
  it('all actions work', () => visit(async (page, go) => {
    await go('job/hello/');
    await page.getByRole('button', { name: 'Build' }).click();
    await page.waitForURL(/\/queue\/item\/\d+\/$/);
    await page.getByText(/due 20\d\d-/).waitFor();
    const until = Date.now() + timeout / 2;
    while (!/\/job\/hello\/\d+\/$/.test(page.url()) || await page.locator('.state-success').count() === 0) {
      assert.ok(Date.now() < until, 'the build does not end');
      await page.waitForTimeout(300);
      await page.reload();
    }
    assert.match(await log(page).textContent(), /==> hello\nok {2}done\nFinished: SUCCESS/);
    assert.equal(await page.locator('button:not([type=submit]):visible').count(), 0, 'no button that does nothing');
    await go('job/nightly/');
    await page.getByRole('button', { name: 'Build' }).click();
    await page.getByRole('button', { name: 'Cancel' }).click();
    await page.getByText('There will be no build.').waitFor();
  }, { javaScriptEnabled: false }));
});

// misplaced returns the texts of cells that are outside of them, or below their labels on a phone.
const misplaced = () => [...document.querySelectorAll('.list :is(td, th)')].flatMap((cell) => {
  const { left, right } = cell.getBoundingClientRect();
  const start = left + parseFloat(getComputedStyle(cell).paddingInlineStart);
  const texts = document.createTreeWalker(cell, NodeFilter.SHOW_TEXT);
  const out = [];
  while (texts.nextNode()) {
    const range = document.createRange();
    range.selectNodeContents(texts.currentNode);
    const hidden = texts.currentNode.parentElement.closest('.visually-hidden, details:not([open])');
    if (!hidden && [...range.getClientRects()].some((r) => r.width > 0 && (r.left < start - 1 || r.right > right + 1))) out.push(texts.currentNode.data);
  }
  return out;
});

describe('every page', () => {
  let paths;
  let waiting;
  before(async () => {
    await ended(await ask('job/hello/buildForm'));
    const triggered = await fetch(`${server.direct}buildByToken/build?job=hello`, { method: 'POST', headers: { Authorization: 'Bearer a-token-for-hello' }, signal: soon() });
    assert.equal(triggered.status, 201, await triggered.text());
    await ended(new URL(triggered.headers.get('Location')).pathname.replace('/ci/', ''));
    const failed = await ended(await ask('job/app/job/test/buildForm'));
    const deployed = await ended(await ask('job/app/job/deploy/buildForm', { BRANCH: 'x'.repeat(200), NOTES: 'a\nb' }));
    waiting = await ask('job/nightly/buildForm', { cause: 'y'.repeat(200) });
    paths = ['', '?q=app&state=failing', '?sort=fails', '?by=', 'job/hello/?by=token:ci', 'job/app/', 'job/app/job/deploy/', 'job/hello/', 'job/app/job/old/', failed, deployed, `${failed}console`, 'queue/', 'job/nightly/cancelAll', waiting, 'computer/', 'job/nothing/'];
  });

  for (const [name, options] of [['light', {}], ['dark', { colorScheme: 'dark' }], ['on a phone', { viewport: phone, hasTouch: true, isMobile: true }],
    ['on a phone, dark', { viewport: phone, hasTouch: true, isMobile: true, colorScheme: 'dark' }]]) {
    it(`are accessible (${name})`, { timeout: 2 * timeout }, () => visit(async (page, go) => {
      for (const path of paths) {
        await go(path);
        const overflow = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
        assert.ok(overflow <= 0, `/${path} is ${overflow} pixels too wide`);
        assert.deepEqual(await page.evaluate(misplaced), [], `/${path}`);
        assert.deepEqual(await page.locator('.dots + small').evaluateAll((all) => all.filter((e) => e.getClientRects().length > 1).map((e) => e.textContent)), [], `/${path}`);
        // The page's own policy would not load axe, so the test injects it.
        const { violations } = await page.evaluate(`${axe}; axe.run(document, { resultTypes: ['violations'] })`);
        const found = violations.map((v) => `${v.impact}: ${v.id} on ${v.nodes.map((n) => n.html).join('\n')}`);
        assert.deepEqual(found, [], `/${path}`);
      }
    }, { complaints: false, ...options })); // the status 404 is reported
  }

  it('can be used with the keyboard alone', () => visit(async (page, go) => {
    await go('');
    await page.keyboard.press('Tab');
    assert.equal(await page.evaluate(() => document.activeElement.textContent), 'Skip to content');
    await page.keyboard.press('Enter');
    await page.keyboard.press('Tab');
    assert.ok(await page.evaluate(() => document.querySelector('main').contains(document.activeElement)));
    const outline = await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
    assert.equal(outline, 'solid', 'the focus can be seen');
  }));

  it('shows times in the zone of the reader', () => visit(async (page, go) => {
    await go('job/hello/1/');
    const [shown, stamp] = await page.locator('.facts time').first().evaluate((t) => [t.textContent, t.dateTime]);
    const want = new Intl.DateTimeFormat('en-GB', { dateStyle: 'medium', timeStyle: 'medium', timeZone: 'Europe/Berlin' }).format(new Date(stamp));
    assert.equal(shown, want);
  }));

  it('can be photographed', { skip: !screenshots && 'BUILDTOKEN_SCREENSHOTS is not set' }, async () => {
    await ask(`${waiting}cancelForm`);
    await ended(await ask('job/app/job/deploy/buildForm', { BRANCH: 'release/2.3', STAGE: 'production', cause: 'release of 2.3', delay: '0s' }));
    const android = await ask('job/app/job/mobile/job/android/buildForm', { delay: '0s' });
    const deploy = await ask('job/app/job/deploy/buildForm', { BRANCH: 'release/2.4', STAGE: 'production', cause: 'release of 2.4', delay: '0s' });
    await ask('job/nightly/buildForm');
    const shoot = (name, path, options) => visit(async (page, go) => {
      await go(path);
      await page.waitForTimeout(700);
      await page.screenshot({ path: join(screenshots, `${name}.png`) });
    }, options);
    const small = { width: 1000, height: 760 };
    await shoot('build-dark', deploy, { viewport: small, colorScheme: 'dark' });
    await shoot('build-phone', 'job/app/job/deploy/lastBuild/console', { viewport: phone });
    await ended(deploy);
    await ask('job/app/job/deploy/buildForm', { BRANCH: 'main', delay: '0s' });
    await shoot('jobs', '', { viewport: small });
    for (let n = 1; n <= 24; n++) await ask('job/app/job/verify/buildForm', { BRANCH: n % 3 ? 'main' : `feature/${n}`, EXIT: n % 9 === 4 ? '1' : '0', cause: `push ${n}` });
    await visit(async (page, go) => {
      await go('job/app/job/verify/');
      await page.getByText(/push 24/).first().waitFor();
      await page.locator('.marks .state-success').waitFor();
    });
    await shoot('job', 'job/app/job/verify/', { viewport: small });
    await visit(async (page, go) => {
      await go(android);
      await page.getByRole('button', { name: 'Stop' }).click();
      await page.locator('.state-aborted').waitFor();
    });
  });
});
