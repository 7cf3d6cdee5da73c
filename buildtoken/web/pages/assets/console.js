// The console of a build: what the page has, what comes live, and what is
// asked for from further up or down. Never more than a browser can show.
// The server renders all of it.
'use strict';
(() => {
  const root = document.querySelector('[data-console]');
  if (!root) return;
  const find = (name) => root.querySelector(`[data-console-${name}]`);
  const view = find('log');
  const pre = find('text');
  const earlier = find('earlier');
  const later = find('later');
  const followButton = find('follow');
  const wrapButton = find('wrap');
  const mostLines = 10000; // shown at a time
  const chunkLines = 500;

  let from = Number(root.dataset.from); // where what is shown starts
  let to = Number(root.dataset.to); // and where its whole lines end
  let size = Number(root.dataset.size); // of the log, as far as we know
  let place = root.dataset.place; // that of to, for the server
  let complete = 'complete' in root.dataset;
  let attached = 'attached' in root.dataset; // what comes live goes on where what is shown ends
  let following = attached && !pre.querySelector('.here');
  let wanted = false; // the reader has asked for the end
  let busy = false;
  const rest = find('rest') || document.createElement('span'); // the line that has no end yet
  rest.className = 'chunk';
  rest.dataset.consoleRest = '';
  pre.append(rest);

  const human = (n) => (n >= 1 << 20 ? (n / (1 << 20)).toFixed(1) + ' MiB' : n >= 1024 ? Math.floor(n / 1024) + ' KiB' : n + ' bytes');
  const chunks = () => [...pre.children].filter((c) => c !== rest);
  const atEnd = () => view.scrollHeight - view.scrollTop - view.clientHeight < 8;
  // The markup comes from the same code as that of the page, which escapes all text.
  const parse = (html) => [...new DOMParser().parseFromString(`<pre>${html}</pre>`, 'text/html').querySelector('pre').childNodes];
  const changed = (lines) => document.dispatchEvent(new CustomEvent('buildtoken:lines', { detail: { lines, complete } }));

  const show = () => {
    earlier.hidden = from === 0;
    find('skipped').textContent = human(from);
    later.hidden = attached;
    const info = find('size');
    info.hidden = size === 0;
    info.textContent = human(size);
    followButton.hidden = complete;
    followButton.setAttribute('aria-pressed', String(following && attached));
  };

  let last = 0; // where the view was when we looked last
  const scrollToEnd = () => {
    view.scrollTop = view.scrollHeight;
    last = view.scrollTop;
  };

  // Whoever scrolls up wants to read; whoever comes back to the end wants to follow.
  const look = () => {
    if (view.scrollTop < last - 2 && !atEnd()) following = false;
    else if (attached && atEnd()) following = true;
    last = view.scrollTop;
  };

  const count = (all) => all.reduce((n, c) => n + c.childElementCount, 0);

  const trimTop = (most) => {
    const all = chunks();
    for (let n = count(all); n > most && all.length > 1;) {
      const gone = all.shift();
      n -= gone.childElementCount;
      gone.remove();
      from = Number(all[0].dataset.from);
    }
  };

  const trimBottom = () => {
    const all = chunks();
    let n = count(all);
    if (n <= mostLines) return;
    while (n > mostLines && all.length > 1) {
      const gone = all.pop();
      n -= gone.childElementCount;
      gone.remove();
    }
    to = Number(all.at(-1).dataset.to);
    rest.replaceChildren();
    attached = following = false;
  };

  // add puts lines at the end, in chunks.
  const add = (lines, start, end) => {
    let chunk = chunks().at(-1);
    for (const line of lines) {
      if (!chunk || chunk.childElementCount >= chunkLines) {
        chunk = document.createElement('span');
        chunk.className = 'chunk';
        chunk.dataset.from = chunk.dataset.to = String(line.querySelector('[data-n]')?.search.match(/at=(\d+)/)?.[1] ?? start);
        if (rest.previousElementSibling) rest.previousElementSibling.dataset.to = chunk.dataset.from;
        rest.before(chunk);
      }
      chunk.append(line);
    }
    if (chunk) chunk.dataset.to = String(end);
  };

  // append takes what has come live.
  const append = (event) => {
    size = Math.max(size, event.end);
    if (event.reset && (wanted || (attached && following))) {
      pre.replaceChildren(rest);
      from = to = event.from;
      attached = following = true;
      wanted = false;
    } else if (event.reset) attached = false; // whoever reads further up goes on reading
    if (!attached) return show();
    if (event.from !== to) return undefined; // we have that
    if (view.scrollTop < last) look(); // before the text moves, and the browser tells of the reader's move
    const lines = parse(event.html);
    add(lines, event.from, event.to);
    rest.replaceChildren(...parse(event.rest));
    to = event.to;
    place = event.place;
    changed([...lines, ...rest.children]);
    trimTop(following ? mostLines : 2 * mostLines);
    if (following) scrollToEnd();
    return show();
  };

  const part = async (query) => {
    const response = await fetch(`${root.dataset.part}?${query}`);
    if (!response.ok) throw new Error(String(response.status));
    const got = await response.json();
    size = Math.max(size, got.size);
    return { ...got, chunks: parse(got.html) };
  };

  const guarded = (work) => async (event) => {
    event.preventDefault();
    if (busy) return;
    busy = true;
    root.setAttribute('aria-busy', 'true');
    try {
      await work();
    } catch {
      find('state').textContent = 'That part of the log could not be loaded. Try again.';
    }
    busy = false;
    root.removeAttribute('aria-busy');
    show();
  };

  const loadEarlier = guarded(async () => {
    const got = await part(`before=${from}`);
    const height = view.scrollHeight;
    const top = view.scrollTop;
    following = false;
    pre.prepend(...got.chunks);
    from = got.from;
    changed(got.chunks.flatMap((c) => [...c.children]));
    view.scrollTop = top + view.scrollHeight - height;
    trimBottom();
  });

  const loadLater = guarded(async () => {
    const got = await part(`after=${to}`);
    for (const chunk of got.chunks) rest.before(chunk);
    to = got.to;
    place = got.place;
    changed(got.chunks.flatMap((c) => [...c.children]));
    trimTop(mostLines);
    if (got.chunks.length === 0 || to >= size) { // the end, which may grow
      attached = true;
      reconnect();
    }
  });

  const reconnect = (end) => {
    wanted = Boolean(end);
    document.dispatchEvent(new CustomEvent('buildtoken:connect', { detail: end ? '-1' : place }));
  };

  followButton.addEventListener('click', () => {
    following = !(following && attached);
    if (following && !attached) reconnect(true);
    if (following) scrollToEnd();
    show();
  });
  find('end').addEventListener('click', (event) => {
    event.preventDefault();
    following = true;
    reconnect(true);
  });
  wrapButton.addEventListener('click', () => {
    const wrap = !view.classList.toggle('nowrap');
    wrapButton.setAttribute('aria-pressed', String(wrap));
  });
  earlier.querySelector('[role=button]').addEventListener('click', loadEarlier);
  later.querySelector('[role=button]').addEventListener('click', loadLater);

  view.addEventListener('scroll', () => {
    look();
    show();
  }, { passive: true });
  view.addEventListener('buildtoken:read', () => {
    following = false;
    show();
  });
  new ResizeObserver(() => { if (following && attached) scrollToEnd(); }).observe(pre);

  document.addEventListener('buildtoken:log', (e) => append(e.detail));
  document.addEventListener('buildtoken:done', () => {
    complete = true;
    changed([]);
    find('state').textContent = size === 0 ? 'There is no output.' : '';
    show();
  });

  // refused puts a reason in the place of a button that can do nothing, and leaves the focus near it.
  const refused = (button, why) => {
    const text = document.createElement('span');
    text.textContent = why;
    text.tabIndex = -1;
    text.setAttribute('role', 'status');
    button.after(text);
    if (document.activeElement === button) text.focus();
    button.hidden = true;
  };

  // What the address names: a click on a number names the line, one with Shift a range.
  let anchor = null; // the line that a range starts at
  const offset = (line) => Number(new URL(line.querySelector('[data-n]').href).searchParams.get('at'));
  const numbered = () => [...pre.querySelectorAll('.here')].filter((l) => l.querySelector('[data-n]'));

  const name = () => {
    const lines = numbered();
    find('copy').textContent = 'Copy link';
    document.getElementById('console-link').textContent = location.href;
    if (lines.length === 0 || new URLSearchParams(location.search).has('q') || new URLSearchParams(location.search).has('find')) return;
    const [a, b] = [lines[0], lines.at(-1)].map((l) => l.querySelector('[data-n]').dataset.n);
    find('named').textContent = a === b ? `Line ${a}` : `Lines ${a} to ${b}`;
  };

  pre.addEventListener('click', (event) => {
    const number = event.target.closest('[data-n]');
    if (!number || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    const line = number.parentElement;
    const start = (event.shiftKey && (anchor || numbered()[0])) || line;
    if (!event.shiftKey || !anchor) anchor = start;
    const [a, b] = [offset(start), offset(line)].sort((x, y) => x - y);
    for (const l of pre.querySelectorAll('.here')) {
      l.classList.remove('here');
      l.removeAttribute('id');
    }
    for (const l of pre.querySelectorAll('.l')) {
      if (!l.querySelector('[data-n]')) continue;
      const at = offset(l);
      if (at >= a && at <= b) l.classList.add('here');
    }
    pre.querySelector('.here').id = 'at';
    history.replaceState(null, '', `${location.pathname}?at=${a === b ? a : `${a}-${b}`}#at`);
    find('found').querySelectorAll('[aria-keyshortcuts]').forEach((e) => e.remove()); // the search is over
    find('found').hidden = false;
    getSelection().empty();
    following = false;
    name();
    show();
  });

  // The browser is asked whether it may notify only when the reader wants it. It can only on a page of HTTPS or of the machine itself.
  const notifyButton = find('notify');
  notifyButton.hidden = complete || !window.isSecureContext || !('Notification' in window) || Notification.permission === 'denied';
  notifyButton.addEventListener('click', async () => {
    const off = notifyButton.getAttribute('aria-pressed') === 'true';
    const may = !off && await Notification.requestPermission() === 'granted';
    notifyButton.setAttribute('aria-pressed', String(may));
    if (!off && !may) refused(notifyButton, 'The browser does not allow notifications.');
  });
  document.addEventListener('buildtoken:done', () => {
    const wanted = notifyButton.getAttribute('aria-pressed') === 'true';
    notifyButton.hidden = true;
    if (!wanted) return;
    const note = new Notification(document.title, { icon: document.querySelector('link[rel=icon]').href, tag: location.pathname });
    note.addEventListener('click', () => {
      window.focus();
      note.close();
    });
  });

  changed([...pre.querySelectorAll('.l')]);
  wrapButton.hidden = false;
  const here = pre.querySelector('.here');
  if (here) {
    // What comes into sight is laid out then, and moves the rest.
    let tries = 3;
    const center = () => {
      const { top, bottom } = view.getBoundingClientRect();
      const seen = Math.min(bottom, innerHeight) - Math.max(top, 0); // the rest of the log may be below the window
      view.scrollTop += here.getBoundingClientRect().top - top - (seen > 100 ? seen : view.clientHeight) / 3;
      last = view.scrollTop;
      if (tries-- > 0) requestAnimationFrame(center);
    };
    center();
    name();
  } else if (attached) scrollToEnd();
  show();
  window.buildtokenConsole = { position: () => (attached ? place : `${size}.1.`), complete: () => complete };
})();
