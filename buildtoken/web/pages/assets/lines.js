// What the reader can do with the lines of a log: show when each was written, and fold groups.
'use strict';
(() => {
  const view = document.querySelector('[data-console-log]');
  if (!view) return;
  const pre = view.querySelector('[data-console-text]');
  const times = document.querySelector('[data-console-times]');
  const all = document.querySelector('[data-console-folds]');
  const started = new Date(document.querySelector('[data-console]').dataset.started).getTime();
  const clock = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit', second: '2-digit' });
  const gap = 5000; // ms without output that are marked
  let complete = false;

  const ms = (line) => ('t' in line.dataset ? Number(line.dataset.t) : NaN);
  const beside = (line, sibling, child) => line[sibling] || line.parentElement[sibling]?.[child] || null;
  const next = (line) => beside(line, 'nextElementSibling', 'firstElementChild');
  const previous = (line) => beside(line, 'previousElementSibling', 'lastElementChild');
  const two = (n) => String(n).padStart(2, '0');

  // Times

  const sinceStart = (t) => {
    const s = Math.floor(t / 1000);
    return `${s >= 3600 ? `${Math.floor(s / 3600)}:${two(Math.floor(s / 60) % 60)}` : Math.floor(s / 60)}:${two(s % 60)}.${Math.floor(t / 100) % 10}`;
  };

  const stamp = (lines) => {
    if (!times.value) return;
    for (const line of lines) {
      const t = ms(line);
      if (Number.isNaN(t)) continue;
      line.dataset.time = times.value === 'clock' ? clock.format(new Date(started + t)) : sinceStart(t);
      const before = previous(line);
      line.classList.toggle('gap', Boolean(before) && t - ms(before) > gap);
    }
  };

  const choose = () => {
    view.toggleAttribute('data-times', times.value !== '');
    stamp(pre.querySelectorAll('.l'));
    try {
      localStorage.setItem('buildtoken:times', times.value);
    } catch { /* the browser keeps nothing */ }
  };
  try {
    times.value = localStorage.getItem('buildtoken:times') || '';
  } catch { /* the browser keeps nothing */ }
  if (times.selectedIndex < 0) times.value = '';
  times.addEventListener('change', choose);

  // Groups: a group ends with its end or where another begins, a section where another begins.

  const ends = (header, line) => (header.classList.contains('section') ? line.matches('.section') : line.matches('.fold'));
  const folded = (header) => header.classList.contains('folded');

  // each calls work with the lines of a group, and returns the line behind it, or null.
  const each = (header, work) => {
    let line = next(header);
    for (; line; line = next(line)) {
      if (ends(header, line)) return line;
      work(line);
      if (!header.classList.contains('section') && line.matches('.endgroup')) return line;
    }
    return null;
  };

  const span = (t) => (t < 60000 ? `${(t / 1000).toFixed(1)} s` : `${Math.floor(t / 60000)} min ${Math.floor(t / 1000) % 60} s`);

  // outline gives headers a button, and the duration of their group once it has ended.
  const outline = () => {
    const headers = pre.querySelectorAll('.l.fold');
    all.hidden = headers.length === 0;
    view.classList.toggle('foldable', headers.length > 0);
    for (const header of headers) {
      if (!header.querySelector('.toggle')) {
        const button = document.createElement('button');
        button.type = 'button';
        button.className = 'toggle';
        button.setAttribute('aria-label', `Lines of ${header.textContent.replace(/^(::group::|[-+]{3} )/, '').trim()}`);
        button.setAttribute('aria-expanded', String(!folded(header)));
        header.prepend(button);
      }
      if (header.dataset.took) continue;
      let last = header;
      const end = each(header, (line) => { last = line; });
      const took = ms(end || last) - ms(header);
      if ((end || complete) && took >= 0) header.dataset.took = span(took);
    }
  };

  // refold hides the lines of folded groups, and no others.
  const refold = () => {
    for (const line of pre.querySelectorAll('.l[hidden]')) line.hidden = false;
    const headers = pre.querySelectorAll('.l.folded');
    for (const header of headers) each(header, (line) => { line.hidden = true; });
    const open = pre.querySelector('.l.fold:not(.folded)');
    all.setAttribute('aria-pressed', String(!open && headers.length > 0));
  };

  const fold = (header, is) => {
    header.classList.toggle('folded', is);
    header.querySelector('.toggle').setAttribute('aria-expanded', String(!is));
  };

  // What was clicked stays where it is, so who unfolds a group does not follow the end any more.
  pre.addEventListener('click', (event) => {
    const header = event.target.closest('.l.fold');
    if (!header || event.target.closest('a') || !getSelection().isCollapsed) return;
    const { top } = header.getBoundingClientRect();
    fold(header, !folded(header));
    refold();
    if (!folded(header)) view.dispatchEvent(new Event('buildtoken:read'));
    view.scrollTop += header.getBoundingClientRect().top - top;
  });
  // A link to the line that is found already, as "First error" can be, unfolds its group.
  document.addEventListener('click', (event) => {
    const here = pre.querySelector('.here');
    if (!here?.hidden || event.target.closest('a')?.href !== location.href) return;
    for (const header of pre.querySelectorAll('.l.folded')) {
      let inside = false;
      each(header, (line) => { inside ||= line === here; });
      if (inside) fold(header, false);
    }
    refold();
    here.scrollIntoView({ block: 'center' });
  });
  all.addEventListener('click', () => {
    const is = all.getAttribute('aria-pressed') !== 'true';
    for (const header of pre.querySelectorAll('.l.fold')) fold(header, is);
    refold();
  });

  document.addEventListener('buildtoken:lines', ({ detail }) => {
    complete = detail.complete;
    times.hidden = !pre.querySelector('[data-t]');
    view.toggleAttribute('data-times', times.value !== '' && !times.hidden);
    stamp(detail.lines);
    outline();
    if (pre.querySelector('.folded, .l[hidden]')) refold();
  });
})();
