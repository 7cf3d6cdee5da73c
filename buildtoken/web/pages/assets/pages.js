// What every page does with JavaScript: times in the reader's zone, durations
// that go on, and regions that follow what happens.
'use strict';
(() => {
  const dates = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'medium' });
  const relative = new Intl.RelativeTimeFormat('en', { numeric: 'auto' });

  // span writes seconds as span in words.go does.
  const span = (s) => {
    const two = (n, unit, rest, sub) => `${n} ${unit}${rest ? ` ${rest} ${sub}` : ''}`;
    s = Math.max(Math.floor(s), 0);
    if (s >= 86400) return two(Math.floor(s / 86400), 'd', Math.floor((s % 86400) / 3600), 'h');
    if (s >= 3600) return two(Math.floor(s / 3600), 'h', Math.floor((s % 3600) / 60), 'min');
    if (s >= 60) return two(Math.floor(s / 60), 'min', s % 60, 's');
    return `${s} s`;
  };

  const ago = (s) => {
    if (s < 60) return 'just now';
    const [unit, seconds] = [['day', 86400], ['hour', 3600], ['minute', 60]].find(([, least]) => s >= least);
    return relative.format(-Math.floor(s / seconds), unit);
  };

  const setText = (element, text) => { if (element.textContent !== text) element.textContent = text; };

  // The server's clock and the reader's may differ; what counts up or down is told by ours alone.
  const tick = (within = document) => {
    for (const t of within.querySelectorAll('time, [data-ago]')) {
      if (!t.dateTime) t.dataset.at ||= t.textContent.replace(' ', 'T').replace(' UTC', 'Z');
      const at = new Date(t.dateTime || t.dataset.at);
      if (Number.isNaN(at.getTime())) continue;
      const past = (Date.now() - at.getTime()) / 1000;
      if (!t.title) t.title = dates.format(at);
      if ('since' in t.dataset) setText(t, t.dataset.since + span(past));
      else if ('due' in t.dataset) setText(t, past >= 0 ? 'due now' : `due in ${span(1 - past)}`);
      else if ('in' in t.dataset) setText(t, `${past >= 0 ? 'now' : `in ${span(1 - past)}`}, ${dates.format(at)}`);
      else if ('left' in t.dataset) setText(t, past >= 0 ? 'ends any moment' : `about ${span(1 - past)} left`);
      else if ('ago' in t.dataset && past < 7 * 86400) setText(t, ago(past));
      else setText(t, dates.format(at));
    }
    for (const bar of within.querySelectorAll('progress[data-started]')) {
      const usual = Number(bar.dataset.usual);
      const passed = Date.now() - new Date(bar.dataset.started).getTime();
      bar.value = Math.max(0, Math.min(Math.floor(100 * passed / usual), 100));
      setText(bar.nextElementSibling, passed < usual ? ` about ${span((usual - passed) / 1000)} left` : '');
    }
  };
  tick();
  setInterval(tick, 1000);

  // A notice is about what a form has just done: a reload does not repeat it.
  if (document.querySelector('[data-notice]')) history.replaceState(history.state, '', location.pathname);

  // What is chosen in the form of a list is shown at once. When the reader comes back, the browser
  // may have kept the choice, but the list is the one before it.
  addEventListener('pageshow', () => {
    for (const choice of document.querySelectorAll('form.filter option')) choice.selected = choice.defaultSelected;
  });
  document.addEventListener('change', ({ target }) => { if (target.matches('form.filter select')) target.form.requestSubmit(); });

  // Browsers have a clipboard for pages only over HTTPS and on the machine itself. Elsewhere the old
  // command copies what is selected.
  for (const button of document.querySelectorAll('[data-copy]')) {
    button.hidden = false;
    button.addEventListener('click', async () => {
      const text = document.getElementById(button.dataset.copy);
      try {
        await navigator.clipboard.writeText(text.textContent);
      } catch {
        getSelection().selectAllChildren(text);
        if (!document.execCommand('copy')) { // the text is selected, to be copied by hand
          button.textContent = button.dataset.failed || button.textContent;
          return;
        }
      }
      button.textContent = 'Copied';
    });
  }

  const events = document.body.dataset.events;
  const indicator = document.querySelector('[data-connection]');
  const announcer = document.querySelector('[data-announce]');
  let said = document.body.dataset.say;

  // A region shows what is wanted, which is what the server sent last. While the pointer, the
  // focus or a selection is on one of its rows, that row does not move: others change in place,
  // new ones appear below it only, and those that are gone stay, marked. A click hits what it
  // was aimed at.
  const wanted = new Map(); // by region element
  let pointed = null; // what the mouse is on
  let pressed = null; // what a button or finger is down on

  const keyOf = (node) => (node.nodeType === Node.ELEMENT_NODE && node.dataset.key) || '';

  const rows = (e) => [...e.querySelectorAll('[data-key]')];

  // anchorOf returns the row of a region that must not move, or null.
  const anchorOf = (region) => {
    const row = (e) => (e && region.contains(e) && e.closest('[data-key]')) || null;
    const selection = getSelection();
    const focused = row(document.activeElement);
    const want = wanted.get(region);
    return row(pressed) || row(pointed) || (selection.isCollapsed ? null : row(selection.anchorNode.parentElement))
      || (want && focused && rows(want).some((r) => keyOf(r) === keyOf(focused)) ? focused : null);
  };

  // morph makes shown look like next, and leaves alone what is equal. With an anchor, rows
  // keep their places.
  const morph = (shown, next, anchor) => {
    if (shown.nodeType !== Node.ELEMENT_NODE) {
      if (shown.nodeValue !== next.nodeValue) shown.nodeValue = next.nodeValue;
      return;
    }
    if (shown.isEqualNode(next)) return;
    const folds = shown.nodeName === 'DETAILS'; // the reader opens and closes these
    for (const { name } of [...shown.attributes]) if (!next.hasAttribute(name) && !(folds && name === 'open')) shown.removeAttribute(name);
    for (const { name, value } of next.attributes) if (shown.getAttribute(name) !== value && !(folds && name === 'open')) shown.setAttribute(name, value);
    const keyed = new Map([...shown.children].filter(keyOf).map((c) => [keyOf(c), c]));
    if (anchor && keyed.size && shown.nodeName === 'TBODY') {
      let below = false;
      let last = null;
      for (const child of next.children) {
        const match = keyed.get(keyOf(child));
        if (match) morph(match, child, anchor);
        else if (below) last.after(child.cloneNode(true));
        below ||= match === anchor;
        last = match || (below ? last.nextElementSibling : last);
        keyed.delete(keyOf(child));
      }
      for (const row of keyed.values()) {
        row.classList.add('gone');
        row.querySelectorAll('button').forEach((b) => { b.disabled = true; });
      }
      return;
    }
    let at = shown.firstChild;
    for (const child of next.childNodes) {
      const key = keyOf(child);
      let match = null;
      if (key) match = keyed.get(key);
      else if (at && !keyOf(at) && at.nodeName === child.nodeName && (at.id || '') === (child.id || '')) match = at;
      if (!match) {
        shown.insertBefore(child.cloneNode(true), at);
        continue;
      }
      if (match === at) at = at.nextSibling;
      else shown.insertBefore(match, at);
      match.classList?.remove('gone');
      morph(match, child, anchor);
    }
    while (at) {
      const rest = at.nextSibling;
      at.remove();
      at = rest;
    }
  };

  // settle shows what is wanted, as far as it may.
  const settle = (region) => {
    const want = wanted.get(region);
    if (!want) return;
    const anchor = anchorOf(region);
    const before = document.activeElement;
    const scroll = document.documentElement.style;
    scroll.overflowAnchor = 'none';
    morph(region, want, anchor);
    scroll.overflowAnchor = '';
    if (!anchor || region.isEqualNode(want)) wanted.delete(region);
    region.classList.toggle('held', wanted.has(region));
    document.dispatchEvent(new Event('buildtoken:settled'));
    if (before !== document.activeElement && !document.contains(before)) document.getElementById('main').focus({ preventScroll: true });
  };

  const parse = (html) => new DOMParser().parseFromString(html, 'text/html').body;
  // The markup comes out of the same templates as the page.
  const replace = ({ name, hash, html, rows: changed, gone, keys }) => {
    const region = document.querySelector(`[data-region="${CSS.escape(name)}"]`);
    if (!region || (region.dataset.hash === hash && !wanted.has(region))) return;
    const want = wanted.get(region) || region.cloneNode(true);
    want.classList.remove('held');
    want.dataset.hash = hash;
    if (html !== undefined) want.replaceChildren(...parse(html).childNodes);
    const byKey = new Map(rows(want).map((r) => [keyOf(r), r]));
    const tables = [...want.querySelectorAll('tbody')];
    for (const key of gone || []) byKey.get(key)?.remove();
    for (const { key, html: text, at } of changed || []) {
      const row = parse(text.startsWith('<tr') ? `<table><tbody>${text}</tbody></table>` : text).querySelector('[data-key]');
      if (byKey.has(key) && (keys || !at)) byKey.get(key).replaceWith(row);
      else {
        byKey.get(key)?.remove();
        if (at?.after) byKey.get(at.after).after(row);
        else if (at) tables[at.table].prepend(row);
      }
      byKey.set(key, row);
    }
    if (keys) tables.forEach((table, i) => table.replaceChildren(...keys[i].map((key) => byKey.get(key))));
    tick(want);
    wanted.set(region, want);
    settle(region);
  };

  const settleAll = () => { for (const region of [...wanted.keys()]) if (!anchorOf(region)) settle(region); };
  document.addEventListener('pointerover', (e) => {
    if (e.pointerType === 'mouse') pointed = e.target;
    settleAll();
  });
  document.addEventListener('pointerleave', () => { pointed = null; settleAll(); });
  document.documentElement.addEventListener('mouseleave', () => { pointed = null; settleAll(); });
  document.addEventListener('pointerdown', (e) => { pressed = e.target; });
  for (const end of ['pointerup', 'pointercancel']) {
    document.addEventListener(end, () => setTimeout(() => { pressed = null; settleAll(); })); // the click comes first
  }
  document.addEventListener('focusout', () => setTimeout(settleAll));
  document.addEventListener('selectionchange', () => { if (getSelection().isCollapsed) settleAll(); });

  const show = (text, lost) => {
    indicator.hidden = text === '';
    indicator.textContent = text;
    indicator.classList.toggle('lost', Boolean(lost));
  };

  if (!indicator) return;
  let source = null;
  let wait = 1000;
  let timer = 0;
  let start; // where in the log to go on
  let asked = 0;

  const disconnect = () => {
    clearTimeout(timer);
    if (source) source.close();
    source = null;
  };

  const connect = () => {
    disconnect();
    const log = window.buildtokenConsole;
    const url = new URL(events || streamOfLog(), location.href);
    const has = [...document.querySelectorAll('[data-region]')].map((r) => `${r.dataset.region}:${r.dataset.hash}`);
    url.searchParams.set('has', has.join());
    if (log) url.searchParams.set('start', String(start === undefined ? log.position() : start));
    start = undefined;
    source = new EventSource(url);
    source.addEventListener('open', () => {
      wait = 1000;
      show('Live');
    });
    source.addEventListener('page', (e) => {
      const page = JSON.parse(e.data);
      document.title = page.title;
      const icon = document.querySelector('link[rel=icon]');
      if (icon.getAttribute('href') !== page.icon) icon.setAttribute('href', page.icon);
      page.regions.forEach(replace);
      show(document.querySelector('.region.held') ? 'Paused while you point' : 'Live');
      if (page.say !== said) setText(announcer, page.say);
      said = page.say;
    });
    source.addEventListener('log', (e) => document.dispatchEvent(new CustomEvent('buildtoken:log', { detail: { ...JSON.parse(e.data), place: e.lastEventId } })));
    source.addEventListener('go', (e) => {
      disconnect();
      location.replace(JSON.parse(e.data));
    });
    source.addEventListener('done', () => {
      disconnect();
      show('');
      document.dispatchEvent(new CustomEvent('buildtoken:done'));
    });
    source.addEventListener('error', () => {
      show('Reconnecting', true);
      if (source && source.readyState !== EventSource.CLOSED) return; // it tries again by itself
      // The server said something else than a stream: it may be starting, or we may not see this any more.
      disconnect();
      timer = setTimeout(connect, wait * (1 + Math.random() / 4));
      wait = Math.min(wait * 2, 60000);
    });
  };

  // A page of an ended build has no stream until more of its log is asked for.
  const streamOfLog = () => document.querySelector('[data-console]').dataset.events;
  document.addEventListener('buildtoken:connect', (e) => {
    start = e.detail;
    connect();
  });

  if (!events) return;
  connect();
  window.addEventListener('pagehide', disconnect);
  window.addEventListener('pageshow', (e) => { if (e.persisted) connect(); });
  // HTTP/1.1 has six connections for all tabs: one that nobody looks at gives its own back after a while.
  const [navigation] = performance.getEntriesByType('navigation');
  if (navigation && navigation.nextHopProtocol === 'http/1.1') {
    document.addEventListener('visibilitychange', () => {
      clearTimeout(asked);
      if (document.hidden) asked = setTimeout(disconnect, 60000);
      else if (!source) connect();
    });
  }
})();
