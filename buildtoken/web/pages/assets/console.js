// The console of a build: what the page has, what comes live, and what is
// asked for from further up or down. Never more than a browser can show.
'use strict';
(() => {
  const root = document.querySelector('[data-console]');
  if (!root || !window.buildtokenAnsi) return;
  const { Terminal, node } = window.buildtokenAnsi;
  const find = (name) => root.querySelector(`[data-console-${name}]`);
  const view = find('log');
  const pre = find('text');
  const earlier = find('earlier');
  const later = find('later');
  const followButton = find('follow');
  const wrapButton = find('wrap');
  const mostLines = 20000; // shown at a time
  const chunkLines = 500;
  const partBytes = 256 * 1024;

  let from = Number(root.dataset.from); // where what is shown starts
  let to = Number(root.dataset.to); // and where it ends
  let size = Number(root.dataset.size); // of the log, as far as we know
  let complete = 'complete' in root.dataset;
  let attached = true; // what comes live goes on where what is shown ends
  let following = true;
  let wanted = false; // the reader has asked for the end
  let busy = false;
  let terminal = new Terminal(root.dataset.sgr);
  let chunks = []; // { from, to, lines, element }
  const rest = document.createElement('span'); // the line that has no end yet

  const human = (n) => (n >= 1 << 20 ? (n / (1 << 20)).toFixed(1) + ' MiB' : n >= 1024 ? Math.floor(n / 1024) + ' KiB' : n + ' bytes');
  const countLines = (text) => text.split('\n').length - 1;
  const lines = () => chunks.reduce((n, c) => n + c.lines, 0);
  const atEnd = () => view.scrollHeight - view.scrollTop - view.clientHeight < 8;

  const newChunk = (start, end, position) => {
    const element = document.createElement('span');
    element.className = 'chunk';
    const chunk = { from: start, to: end, lines: 0, element };
    if (position === 'first') {
      chunks.unshift(chunk);
      pre.prepend(element);
    } else {
      chunks.push(chunk);
      pre.insertBefore(element, rest);
    }
    return chunk;
  };

  const adopt = () => {
    const given = pre.querySelector('.chunk:not([data-console-rest])');
    const unfinished = find('rest');
    if (unfinished) unfinished.remove();
    pre.append(rest);
    if (given) chunks = [{ from, to, lines: countLines(given.textContent), element: given }];
  };

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

  // fill puts pieces of text into a chunk.
  const fill = (chunk, pieces) => {
    const fragment = document.createDocumentFragment();
    for (const piece of pieces) {
      chunk.lines += countLines(piece.text);
      fragment.append(node(piece));
    }
    chunk.element.append(fragment);
  };

  const trimTop = (most) => {
    let n = lines();
    while (n > most && chunks.length > 1) {
      const gone = chunks.shift();
      n -= gone.lines;
      gone.element.remove();
      from = chunks[0].from;
    }
  };

  const trimBottom = () => {
    let n = lines();
    let cut = false;
    while (n > mostLines && chunks.length > 1) {
      const gone = chunks.pop();
      n -= gone.lines;
      gone.element.remove();
      cut = true;
    }
    if (!cut) return;
    to = chunks[chunks.length - 1].to;
    rest.replaceChildren();
    attached = following = false;
  };

  const clear = (start) => {
    chunks = [];
    pre.replaceChildren(rest);
    rest.replaceChildren();
    terminal = new Terminal('');
    from = to = start;
  };

  // append takes what has come live.
  const append = (event) => {
    size = Math.max(size, event.to);
    if (event.reset && (wanted || (attached && following))) {
      clear(event.from);
      attached = following = true;
      wanted = false;
    } else if (event.reset) attached = false; // whoever reads further up goes on reading
    if (!attached) return show();
    if (event.to <= to && !event.reset) return undefined; // we have that
    if (view.scrollTop < last) look(); // before the text moves, and the browser tells of the reader's move
    let chunk = chunks[chunks.length - 1];
    if (!chunk || chunk.lines >= chunkLines) chunk = newChunk(chunk ? chunk.to : event.from, event.line);
    fill(chunk, terminal.write(event.text));
    rest.replaceChildren(...terminal.line.map(node));
    chunk.to = Math.max(chunk.from, event.line);
    to = event.to;
    trimTop(following ? mostLines : 2 * mostLines);
    if (following) scrollToEnd();
    return show();
  };

  // part fetches bytes of the log.
  const part = async (start, end) => {
    const response = await fetch(`${root.dataset.part}?from=${start}&to=${end}`, { credentials: 'same-origin' });
    if (!response.ok) throw new Error(String(response.status));
    size = Math.max(size, Number(response.headers.get('X-Log-Size')));
    return new Uint8Array(await response.arrayBuffer());
  };

  const guarded = (work) => async () => {
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

  // chunked puts whole lines into chunks.
  const chunked = (bytes, start, position) => {
    const made = [];
    const fresh = new Terminal('');
    let at = 0;
    while (at < bytes.length) {
      let end = at;
      for (let n = 0; n < chunkLines && end < bytes.length; n++) {
        const next = bytes.indexOf(10, end);
        end = next < 0 ? bytes.length : next + 1;
      }
      made.push([start + at, start + end, bytes.subarray(at, end)]);
      at = end;
    }
    const pieces = made.map(([, , text]) => fresh.write(new TextDecoder().decode(text)));
    if (made.length) pieces[made.length - 1].push(...fresh.line);
    const order = made.map((_, i) => i);
    for (const i of position === 'first' ? order.reverse() : order) {
      fill(newChunk(made[i][0], made[i][1], position), pieces[i]);
    }
  };

  const loadEarlier = guarded(async () => {
    let start = Math.max(from - partBytes, 0);
    let bytes = await part(start, from);
    if (start > 0) { // begin with a whole line
      const cut = bytes.indexOf(10) + 1;
      if (cut > 0 && cut < bytes.length) {
        bytes = bytes.subarray(cut);
        start += cut;
      }
    }
    const height = view.scrollHeight;
    const top = view.scrollTop;
    following = false;
    chunked(bytes, start, 'first');
    from = start;
    view.scrollTop = top + view.scrollHeight - height;
    trimBottom();
  });

  const loadLater = guarded(async () => {
    if (size - to <= partBytes) {
      attached = true;
      reconnect(to);
      return;
    }
    let bytes = await part(to, to + partBytes);
    const cut = bytes.lastIndexOf(10) + 1;
    if (cut > 0) bytes = bytes.subarray(0, cut);
    chunked(bytes, to, 'last');
    to += bytes.length;
    trimTop(mostLines);
  });

  const reconnect = (start) => {
    if (attached) terminal = new Terminal('');
    wanted = start < 0;
    document.dispatchEvent(new CustomEvent('buildtoken:connect', { detail: start }));
  };

  followButton.addEventListener('click', () => {
    following = !(following && attached);
    if (following && !attached) reconnect(-1);
    if (following) scrollToEnd();
    show();
  });
  find('end').addEventListener('click', () => {
    following = true;
    reconnect(-1);
  });
  wrapButton.addEventListener('click', () => {
    const wrap = !view.classList.toggle('nowrap');
    wrapButton.setAttribute('aria-pressed', String(wrap));
  });
  earlier.querySelector('button').addEventListener('click', loadEarlier);
  later.querySelector('button').addEventListener('click', loadLater);

  view.addEventListener('scroll', () => {
    look();
    show();
  }, { passive: true });
  new ResizeObserver(() => { if (following && attached) scrollToEnd(); }).observe(pre);

  document.addEventListener('buildtoken:log', (e) => append(e.detail));
  document.addEventListener('buildtoken:done', () => {
    complete = true;
    find('state').textContent = size === 0 ? 'There is no output.' : '';
    show();
  });

  adopt();
  for (const button of [wrapButton, earlier.querySelector('button')]) button.hidden = false;
  scrollToEnd();
  show();
  window.buildtokenConsole = { position: () => to, complete: () => complete };
})();
