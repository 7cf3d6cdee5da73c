// The page of a build and its console. Imported by pages.test.mjs.
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe } from 'node:test';
import { ask, axe, before, ended, it, log, phone, server, visit } from './harness.mjs';

// held returns the form of a build that runs until release is called.
let holds = 0;
const held = () => {
  const file = join(tmpdir(), `buildtoken-release-${process.pid}-${holds++}`);
  return { form: { HOLD: file }, release: () => writeFileSync(file, '') };
};

describe('the page of a build', () => {
  let first;
  let second;
  before(async () => {
    first = await ended(await ask('job/logs/job/ci/buildForm'));
    second = await ended(await ask('job/logs/job/ci/buildForm'));
  });

  it('shows the progress of the build, and its result in the title of the tab', () => visit(async (page, go) => {
    const { form, release } = held();
    await go(await ask('job/logs/job/ci/buildForm', form));
    await page.waitForURL(/\/ci\/\d+\/$/);
    await page.locator('progress').waitFor();
    assert.match(await page.locator('.marks').textContent(), /Running.*for .* s, usually [\d.]+ s/s);
    await page.waitForFunction(() => document.querySelector('progress').value > 10);
    assert.match(await page.locator('link[rel=icon]').getAttribute('href'), /icon-running\./);
    const build = page.url();
    await go('?q=ci');
    for (const width of [1280, 900, 700]) {
      await page.setViewportSize({ width, height: 800 });
      const row = page.getByRole('row', { name: 'ci' });
      await row.getByText('Running').waitFor();
      const out = await row.locator('td').evaluateAll((cells) => cells.filter((c) => {
        const { left, right } = c.getBoundingClientRect();
        return [...c.querySelectorAll('*')].map((e) => e.getBoundingClientRect()).some((r) => r.width && (r.left < left || r.right > right));
      }).map((c) => c.textContent));
      assert.deepEqual(out, [], `at ${width} pixels, this is outside of its column`);
      assert.ok(await row.locator('th').evaluate((e) => e.clientWidth) > 140, `at ${width} pixels, there is room for the name of a job`);
    }
    await page.goto(build);
    release();
    await page.locator('.region-buildhead .state-failure').waitFor();
    assert.match(await page.locator('link[rel=icon]').getAttribute('href'), /icon-failure\./);
    assert.equal(await page.locator('progress').count(), 0);
    const value = page.getByRole('link', { name: 'abc/1' });
    assert.equal(await value.getAttribute('href'), 'https://git.example.com/c/abc%2F1');
  }));

  it('notifies when the build ends, if the reader has requested it', () => visit(async (page, go, context) => {
    await context.addInitScript(() => {
      window.notes = [];
      window.asked = 0;
      window.Notification = class extends EventTarget {
        constructor(title, options) {
          super();
          window.notes.push({ title, ...options });
        }
        static permission = 'default';
        static requestPermission = async () => { window.asked++; return 'granted'; };
      };
      Object.defineProperty(window, 'isSecureContext', { value: true });
    });
    const { form, release } = held();
    await go(await ask('job/logs/job/ci/buildForm', form));
    await page.waitForURL(/\/ci\/\d+\/$/);
    const button = page.getByRole('button', { name: 'Notify me when it ends' });
    await button.waitFor();
    assert.equal(await page.evaluate(() => window.asked), 0);
    await button.click();
    await page.locator('[data-console-notify][aria-pressed=true]').waitFor();
    release();
    await page.waitForFunction(() => window.notes.length === 1);
    const [note] = await page.evaluate(() => window.notes);
    assert.match(note.title, /^Failed · .*ci #\d+$/);
    assert.match(note.icon, /icon-failure/);
    assert.equal(await button.count(), 0);
    await page.reload();
    assert.equal(await button.count(), 0, 'the build has ended');
  }));

  it('prints the whole path and the log in dark on light', () => visit(async (page, go) => {
    await page.emulateMedia({ media: 'print' });
    await go(first);
    assert.ok(await page.getByRole('navigation', { name: 'Breadcrumb' }).isVisible());
    for (const gone of ['.console-tools', '.console-find', '.top', '.neighbours', 'button']) assert.equal(await page.locator(`${gone}:visible`).count(), 0, gone);
    const colours = await page.evaluate(() => [...document.querySelectorAll('.console, .console-bar, .l, .l span')].map((e) => {
      const s = getComputedStyle(e);
      return `${s.color} on ${s.backgroundColor}`;
    }));
    assert.deepEqual([...new Set(colours)].sort(), ['rgb(0, 0, 0) on rgb(255, 255, 255)', 'rgb(0, 0, 0) on rgba(0, 0, 0, 0)']);
    assert.ok(await page.locator('.l').first().evaluate((l) => l.getBoundingClientRect().height > 5));
    const scrolls = await page.locator('[data-console-log]').evaluate((e) => e.scrollHeight > e.clientHeight + 1);
    assert.ok(!scrolls, 'all of what is shown is printed');
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

describe('a place in a log', () => {
  const here = (page) => page.locator('.l.here');
  const inSight = (page) => page.waitForFunction(() => {
    const [view, line] = [document.querySelector('[data-console-log]'), document.querySelector('.l.here')].map((e) => e.getBoundingClientRect());
    // The page is not scrolled so far that the reader does not see which build it is, or how to go on.
    const around = ['h1', '.console-find', '.console-found:not([hidden])'].map((e) => document.querySelector(e).getBoundingClientRect());
    return line.top >= Math.max(view.top, 0) - 2 && line.bottom <= Math.min(view.bottom, innerHeight) + 2 && around.every((e) => e.top >= 0 && e.bottom <= innerHeight);
  });
  let long;
  before(async () => {
    long = await ended(await ask('job/logs/job/long/buildForm'));
  });

  for (const [name, options] of [['with JavaScript', {}], ['without JavaScript', { javaScriptEnabled: false }], ['on a phone', { viewport: phone, hasTouch: true, isMobile: true }]]) {
    it(`is found ${name}`, () => visit(async (page, go) => {
      await go(long);
      await page.getByRole('link', { name: 'First error' }).click();
      await page.getByText('Error 1 of 2').waitFor();
      assert.match(await here(page).textContent(), /^error: line 3000 of /);
      await inSight(page);
      await page.getByRole('link', { name: 'Next' }).click();
      await page.getByText('Error 2 of 2').waitFor();
      assert.match(await here(page).textContent(), /^error: line 6000 of /);
      await inSight(page);
      const field = page.getByRole('searchbox', { name: 'Find in the log' });
      await field.fill('LINE 7777 of');
      await field.press('Enter');
      await page.getByText('Match 1 of 1').waitFor();
      await inSight(page);
      assert.equal(await here(page).locator('[data-n]').getAttribute('data-n'), '7778');
      assert.deepEqual(await page.locator('.l mark').allTextContents(), ['line 7777 of']);
      await field.fill('<b>nothing</b>');
      await page.getByRole('button', { name: 'Find' }).click();
      await page.getByText('No line has “<b>nothing</b>”.').waitFor();
      await page.getByRole('link', { name: 'Back to the end' }).click();
      await log(page).getByText('Finished: SUCCESS').waitFor();
      // From one part of the log to the next.
      await page.getByRole('link', { name: 'Start of the log' }).click();
      await log(page).getByText('Started by', { exact: false }).waitFor();
      assert.match(await here(page).textContent(), /^Started by/);
    }, options));
  }

  it('has an address, by a click on its number', () => visit(async (page, go, context) => {
    await context.grantPermissions(['clipboard-read', 'clipboard-write']).catch(() => {});
    await go(`${long}?q=line+5000+of`);
    const number = (n) => page.locator(`[data-n="${n}"]`);
    await number(4998).click();
    assert.match(page.url(), /\?at=\d+#at$/);
    await page.getByText('Line 4998', { exact: true }).waitFor();
    await number(5003).click({ modifiers: ['Shift'] });
    await page.getByText('Lines 4998 to 5003').waitFor();
    assert.equal(await here(page).count(), 6);
    assert.equal(await page.getByRole('link', { name: 'Next' }).count(), 0, 'the search is over');
    const address = page.url();
    assert.match(address, /\?at=\d+-\d+#at$/);
    await page.goto(address);
    assert.equal(await here(page).count(), 6);
    await inSight(page);
    await page.getByText('Lines 4998 to 5003').waitFor();
    const { violations } = await page.evaluate(`${axe}; axe.run(document, { resultTypes: ['violations'] })`);
    assert.deepEqual(violations.map((v) => `${v.id} ${v.nodes[0].html}`), []);
    assert.equal(await page.evaluate(() => { getSelection().selectAllChildren(document.querySelector('.l.here')); return getSelection().toString().trim(); }),
      (await here(page).first().textContent()).trim(), 'numbers are not copied');
  }));

  it('is in the bar of addresses if the browser does not allow copying', () => visit(async (page, go, context) => {
    await context.addInitScript(() => {
      Object.defineProperty(navigator, 'clipboard', { value: { writeText: async () => { throw new Error('not allowed'); } } });
    });
    await go(`${long}?find=error#at`);
    await page.evaluate(() => { document.execCommand = () => false; });
    await page.getByRole('button', { name: 'Copy link' }).click();
    await page.getByRole('button', { name: 'Copy the address of this page' }).waitFor();
  }));

  it('is copied over plain HTTP too', () => visit(async (page, go) => {
    await go(`${long}?find=error#at`);
    assert.equal(await page.evaluate(() => window.isSecureContext), false);
    await page.evaluate(() => document.addEventListener('copy', () => { window.copied = getSelection().toString(); }));
    await page.getByRole('button', { name: 'Copy link' }).click();
    await page.getByRole('button', { name: 'Copied' }).waitFor();
    assert.equal(await page.evaluate(() => window.copied), page.url());
  }));

  it('can be left for later parts, and for the end', () => visit(async (page, go) => {
    await go(`${long}?q=line+10+of`);
    const numbers = () => page.locator('[data-n]').evaluateAll((all) => all.map((a) => Number(a.dataset.n)));
    const first = await numbers();
    await page.getByRole('button', { name: 'Show later' }).click();
    await page.waitForFunction((n) => document.querySelectorAll('[data-n]').length > n, first.length);
    const more = await numbers();
    assert.deepEqual(more, more.map((_, i) => i + 1), 'numbers go on');
    assert.ok(await here(page).count() === 1);
    await page.getByRole('button', { name: 'Jump to the end' }).click();
    await log(page).getByText('Finished: SUCCESS').waitFor();
    const last = await numbers();
    assert.equal(last.at(-1), 9003);
    assert.deepEqual(last, last.map((_, i) => last[0] + i));
  }));

  it('looks the same live and with the page', () => visit(async (page, go) => {
    await go(await ask('job/logs/job/styled/buildForm'));
    await page.waitForURL(/\/styled\/\d+\/$/);
    await page.locator('.region-buildhead .state-success').waitFor();
    await log(page).getByText('Finished: SUCCESS').waitFor();
    const lines = () => page.locator('.l').evaluateAll((all) => all.map((l) => l.outerHTML));
    const live = await lines();
    assert.ok(live.length > 8, live.join('\n'));
    await page.reload();
    assert.deepEqual(await lines(), live);
  }));
});

describe('the lines of a log', () => {
  let grouped;
  before(async () => {
    grouped = await ended(await ask('job/logs/job/grouped/buildForm'));
  });
  const visible = (page) => page.locator('.l').evaluateAll((all) => all.filter((l) => l.getClientRects().length).map((l) => l.innerText.trim()));

  it('show their times, and remember that', () => visit(async (page, go) => {
    await go(grouped);
    const times = page.getByRole('combobox', { name: 'Time of each line' });
    await times.selectOption('Since the start');
    const shown = await page.locator('.l').evaluateAll((all) => all.map((l) => l.dataset.time));
    assert.ok(shown.every((t) => /^0:0\d\.\d$/.test(t)), shown.join());
    assert.ok(shown.at(-1) > shown[0]);
    assert.equal(await page.evaluate(() => getComputedStyle(document.querySelector('.l'), '::before').content), `"${shown[0]}"`);
    await times.selectOption('Clock');
    assert.match(await page.locator('.l').last().getAttribute('data-time'), /^\d\d:\d\d:\d\d$/);
    await page.reload();
    assert.equal(await times.inputValue(), 'clock');
    assert.match(await page.locator('.l').last().getAttribute('data-time'), /^\d\d:\d\d:\d\d$/);
    const { violations } = await page.evaluate(`${axe}; axe.run(document, { resultTypes: ['violations'] })`);
    assert.deepEqual(violations.map((v) => `${v.id} ${v.nodes[0].html}`), []);
  }));

  it('fold by group, with durations, and come back', () => visit(async (page, go) => {
    await go(grouped);
    const whole = await visible(page);
    assert.ok(whole.includes('Unit tests'), `the mark of a group is not shown: ${whole}`);
    const header = (text) => page.locator('.l.fold', { hasText: text });
    assert.match(await header('Unit tests').getAttribute('data-took'), /^[01]\.\d s$/);
    assert.match(await header('--- Checkout').getAttribute('data-took'), /^\d\.\d s$/);
    const unit = page.getByRole('button', { name: 'Lines of Unit tests' });
    await unit.click();
    assert.equal(await unit.getAttribute('aria-expanded'), 'false');
    assert.deepEqual(await visible(page), whole.filter((l) => !/^test \d|^::endgroup::/.test(l)));
    await page.getByRole('button', { name: 'Lines of Test', exact: true }).click();
    assert.deepEqual((await visible(page)).at(-1), '+++ Test', 'a section has the rest');
    await page.getByRole('button', { name: 'Lines of Test', exact: true }).click();
    assert.ok(!(await visible(page)).includes('test 1'), 'the group in it is still folded');
    const all = page.getByRole('button', { name: 'Fold all' });
    await all.click();
    assert.deepEqual(await visible(page), ['Started by user alice', '--- Checkout', '+++ Test'].map((l) => (l.startsWith('Started') ? whole[0] : l)));
    await all.click();
    assert.deepEqual(await visible(page), whole);
    assert.ok(!whole.some((l) => l.includes('Lines of')));
    await header('Unit tests').click(); // the whole line
    assert.equal(await unit.getAttribute('aria-expanded'), 'false');
    await page.locator('[data-console-log]').evaluate((e) => { e.style.maxHeight = '7em'; }); // as a long log
    await all.click();
    const top = () => header('+++ Test').evaluate((e) => Math.round(e.getBoundingClientRect().top));
    const before = await top();
    await header('+++ Test').click();
    await page.evaluate(() => new Promise((done) => { requestAnimationFrame(() => requestAnimationFrame(done)); }));
    assert.equal(await top(), before, 'what was clicked stays where it is');
    const { violations } = await page.evaluate(`${axe}; axe.run(document, { resultTypes: ['violations'] })`);
    assert.deepEqual(violations.map((v) => `${v.id} ${v.nodes[0].html}`), []);
  }));

  it('are unfolded when they are found again', () => visit(async (page, go) => {
    await go(`${grouped}?q=test+2`);
    await page.getByRole('link', { name: 'Next' }).click();
    const found = page.locator('.l.here');
    await found.waitFor();
    await page.getByRole('button', { name: 'Fold all' }).click();
    await found.waitFor({ state: 'hidden' });
    await page.getByRole('link', { name: 'Next' }).click(); // the only match: the address stays the same
    await found.waitFor();
  }));

  it('are added to a folded group while it grows', () => visit(async (page, go) => {
    await go(await ask('job/logs/job/grouped/buildForm'));
    await page.waitForURL(/\/grouped\/\d+\/$/);
    await page.getByRole('button', { name: 'Lines of Unit tests' }).click();
    await page.locator('.region-buildhead .state-success').waitFor();
    await page.locator('.l', { hasText: 'after the group' }).waitFor();
    const shown = await visible(page);
    assert.ok(!shown.some((l) => /^test \d/.test(l)), shown.join('|'));
    assert.ok(shown.includes('Finished: SUCCESS'));
  }));
});
