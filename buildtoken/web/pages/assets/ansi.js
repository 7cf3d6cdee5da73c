// Terminal turns the text of a log, as it comes in pieces, into lines of
// styled pieces. It does what terminal in ansi.go does.
'use strict';
(() => {
  const plain = Object.freeze({ fg: '', bg: '', b: false, d: false, i: false, u: false, n: false, c: false, s: false });
  const maxSequence = 2048;
  const control = /[\u0000-\u0008\u000a-\u001f\u007f-\u009f]/;

  // nearest returns the number of the colour that looks most like r, g, b, as nearest in colours.go.
  const nearest = (r, g, b) => {
    let best = 16;
    let least = Infinity;
    for (let i = 16; i < 256; i++) {
      const n = i - 16;
      const levels = i < 232 ? [Math.floor(n / 36), Math.floor(n / 6) % 6, n % 6].map((l) => (l ? 55 + 40 * l : 0)) : Array(3).fill(8 + 10 * (i - 232));
      const d = 2 * (levels[0] - r) ** 2 + 4 * (levels[1] - g) ** 2 + 3 * (levels[2] - b) ** 2;
      if (d < least) [best, least] = [i, d];
    }
    return best;
  };

  // colour reads 5;N or 2;R;G;B and returns the colour's number; '' if it is neither.
  const colour = (f) => {
    const n = f.map((x) => (/^\d{1,3}$/.test(x) && Number(x) < 256 ? Number(x) : NaN));
    if (n.includes(NaN)) return '';
    if (n.length === 2 && n[0] === 5) return String(n[1]);
    if (n.length === 4 && n[0] === 2) return String(nearest(...n.slice(1)));
    return '';
  };

  // sgr is the style after the parameters of one SGR sequence.
  const sgr = (style, params) => {
    const s = { ...style };
    const fields = params.split(';');
    while (fields.length) {
      const field = fields.shift();
      const nested = field.includes(':');
      const sub = field.split(':');
      const code = Number(sub.shift());
      if (code === 38 || code === 48) {
        let c = '';
        if (nested) {
          c = colour(sub[0] === '2' && sub.length >= 5 ? ['2', ...sub.slice(2, 5)] : sub);
        } else {
          const want = { 5: 2, 2: 4 }[fields[0]] || 0;
          c = want && fields.length >= want ? colour(fields.slice(0, want)) : '';
          fields.splice(0, want && fields.length >= want ? want : fields.length);
        }
        if (c) s[code === 38 ? 'fg' : 'bg'] = c;
      } else if (nested) {
        if (code === 4) s.u = sub[0] !== '0';
      } else if (code === 0) Object.assign(s, plain);
      else if (code === 1) s.b = true;
      else if (code === 2) s.d = true;
      else if (code === 3) s.i = true;
      else if (code === 4 || code === 21) s.u = true;
      else if (code === 7) s.n = true;
      else if (code === 8) s.c = true;
      else if (code === 9) s.s = true;
      else if (code === 22) s.b = s.d = false;
      else if (code === 23) s.i = false;
      else if (code === 24) s.u = false;
      else if (code === 27) s.n = false;
      else if (code === 28) s.c = false;
      else if (code === 29) s.s = false;
      else if (code >= 30 && code <= 37) s.fg = String(code - 30);
      else if (code === 39) s.fg = '';
      else if (code >= 40 && code <= 47) s.bg = String(code - 40);
      else if (code === 49) s.bg = '';
      else if (code >= 90 && code <= 97) s.fg = String(code - 82);
      else if (code >= 100 && code <= 107) s.bg = String(code - 92);
    }
    return Object.freeze(s);
  };

  const same = (a, b) => a === b || Object.keys(plain).every((k) => a[k] === b[k]);

  class Terminal {
    constructor(params) {
      this.style = params ? sgr(plain, params) : plain;
      this.line = []; // pieces of the line that has no end yet
      this.length = 0; // of their text
      this.again = false;
      this.pending = ''; // a sequence that has no end yet
    }

    // write takes text and gives the pieces of the lines that have ended.
    write(text) {
      const out = [];
      let s = this.pending + text;
      this.pending = '';
      while (s) {
        const at = s.search(control);
        this.add(at < 0 ? s : s.slice(0, at));
        if (at < 0) break;
        const c = s[at];
        if (c === '\u001b') {
          const used = this.escape(s.slice(at, at + maxSequence + 2));
          if (used === 0) { // its end is still to come
            this.pending = s.slice(at);
            break;
          }
          s = s.slice(at + used);
          continue;
        }
        if (c === '\n') {
          this.again = false;
          this.add('\n');
          this.flush(out);
        } else if (c === '\r') this.again = true;
        s = s.slice(at + 1);
      }
      if (this.length > 16384) this.flush(out); // a line without end must not be shown anew each time
      return out;
    }

    flush(out) {
      out.push(...this.line);
      this.line = [];
      this.length = 0;
    }

    add(text) {
      if (!text) return;
      if (this.again) {
        this.line = [];
        this.length = 0;
        this.again = false;
      }
      const last = this.line[this.line.length - 1];
      if (last && same(last.style, this.style)) last.text += text;
      else this.line.push({ style: this.style, text });
      this.length += text.length;
    }

    // escape reads the sequence at the start of s and says how long it is; 0: not all of it is there.
    escape(s) {
      const whole = s.length > maxSequence;
      if (s.length < 2) return 0;
      if (s[1] === '[') {
        const m = /^\u001b\[([0-?]*)([ -/]*)/.exec(s);
        const end = s[m[0].length];
        if (end === undefined) return whole ? s.length : 0;
        if (end < '@' || end > '~') return m[0].length;
        if (end === 'm' && m[2] === '' && !/[<=>?]/.test(m[1])) this.style = sgr(this.style, m[1]);
        return m[0].length + 1;
      }
      if (']PX^_'.includes(s[1])) {
        const m = /^\u001b.[^\n]*?(?:\u0007|\u001b\\)/.exec(s);
        if (m) return m[0].length;
        return whole || s.includes('\n') ? 2 : 0;
      }
      const m = /^\u001b([ -/]*)([^]?)/.exec(s);
      if (m[2] === '') return 0;
      if (m[1] === '' && (m[2] < ' ' || m[2] > '~')) return 1;
      return m[0].length;
    }
  }

  // node makes what shows a piece: text, in a span if it has a style.
  const node = ({ style, text }) => {
    const s = style;
    if (same(s, plain) || text === '\n') return document.createTextNode(text);
    const span = document.createElement('span');
    const fg = s.n ? s.bg : s.fg;
    const bg = s.n ? s.fg : s.bg;
    for (const [is, name] of [[s.b, 'ab'], [s.d, 'ad'], [s.i, 'ai'], [s.u, 'au'], [s.s, 'as'], [s.c, 'ac'],
      [s.n && !fg, 'fn'], [s.n && !bg, 'gn']]) {
      if (is) span.classList.add(name);
    }
    if (fg) span.classList.add('f' + fg);
    if (bg) span.classList.add('g' + bg);
    if (bg || s.n) span.classList.add('ax');
    span.textContent = text;
    return span;
  };

  window.buildtokenAnsi = { Terminal, node };
})();
