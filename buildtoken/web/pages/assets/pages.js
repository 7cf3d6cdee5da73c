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
    if (s < 45) return 'just now';
    for (const [unit, seconds] of [['day', 86400], ['hour', 3600], ['minute', 60]]) {
      if (s >= seconds) return relative.format(-Math.floor(s / seconds), unit);
    }
    return 'a minute ago';
  };

  const setText = (element, text) => { if (element.textContent !== text) element.textContent = text; };

  // The server's clock and the reader's may differ; what counts up or down is told by ours alone.
  const tick = (within = document) => {
    for (const t of within.querySelectorAll('time[datetime]')) {
      const at = new Date(t.dateTime);
      if (Number.isNaN(at.getTime())) continue;
      const past = (Date.now() - at.getTime()) / 1000;
      if (!t.title) t.title = dates.format(at);
      if ('since' in t.dataset) setText(t, span(past));
      else if ('due' in t.dataset) setText(t, past >= 0 ? 'due now' : `due in ${span(1 - past)}`);
      else if ('ago' in t.dataset && past < 7 * 86400) setText(t, ago(past));
      else setText(t, dates.format(at));
    }
  };
  tick();
  setInterval(tick, 1000);

  const events = document.body.dataset.events;
  const indicator = document.querySelector('[data-connection]');
  const announcer = document.querySelector('[data-announce]');
  let said = document.body.dataset.say;

  // key finds the same element again in new markup.
  const key = (e) => (e && e.id ? `#${CSS.escape(e.id)}` : e && e.getAttribute('href') ? `a[href="${CSS.escape(e.getAttribute('href'))}"]` : '');

  const replace = ({ name, hash, html }) => {
    const region = document.querySelector(`[data-region="${CSS.escape(name)}"]`);
    if (!region || region.dataset.hash === hash) return;
    const focused = region.contains(document.activeElement) ? key(document.activeElement) : '';
    // The markup comes out of the same templates as the page.
    const parsed = new DOMParser().parseFromString(html, 'text/html');
    tick(parsed);
    region.replaceChildren(...parsed.body.childNodes);
    region.dataset.hash = hash;
    if (!focused) return;
    const again = region.querySelector(focused);
    if (again) again.focus({ preventScroll: true });
    else document.getElementById('main').focus({ preventScroll: true });
  };

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
      page.regions.forEach(replace);
      if (page.say !== said) setText(announcer, page.say);
      said = page.say;
    });
    source.addEventListener('log', (e) => document.dispatchEvent(new CustomEvent('buildtoken:log', { detail: JSON.parse(e.data) })));
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
