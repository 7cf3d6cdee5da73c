// Keys of a page. A control has a key by its attribute aria-keyshortcuts: the key focuses a
// field, and clicks anything else. The last control that can be seen gets it:
// what is nearer to the text goes before what is above it. "?" lists them.
'use strict';
(() => {
  const make = (name, text, attributes = {}) => {
    const element = document.createElement(name);
    element.textContent = text;
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    return element;
  };
  const open = make('button', 'Keys', { type: 'button', class: 'keys', 'aria-keyshortcuts': '?' });
  document.querySelector('.who').prepend(open);
  const dialog = make('dialog', '', { class: 'card', 'aria-labelledby': 'keys-title' });
  const list = make('dl', '');
  const close = make('button', 'Close', { type: 'button' });
  close.addEventListener('click', () => dialog.close());
  dialog.append(make('h2', 'Keys on this page', { id: 'keys-title' }), list, close);
  document.body.append(dialog);

  const seen = (e) => e.getClientRects().length > 0 && !e.disabled;
  const controls = () => [...document.querySelectorAll('[aria-keyshortcuts]')].filter((e) => seen(e) || e === open);
  const name = (e) => e.getAttribute('aria-label') || e.labels?.[0]?.textContent || e.textContent;

  const show = () => {
    const keys = new Map();
    for (const e of controls()) {
      for (const key of e.getAttribute('aria-keyshortcuts').split(' ')) keys.set(key, e === open ? 'This list' : name(e));
    }
    list.replaceChildren(...[...keys].flatMap(([key, text]) => {
      const term = make('dt', '');
      term.append(make('kbd', key));
      return [term, make('dd', text.trim())];
    }));
    dialog.showModal();
  };
  open.addEventListener('click', show);

  document.addEventListener('keydown', (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || event.defaultPrevented || dialog.open) return;
    if (event.target.closest('input, select, textarea, [contenteditable]')) return; // the reader is typing
    const control = controls().findLast((e) => e.getAttribute('aria-keyshortcuts').split(' ').includes(event.key));
    if (!control) return;
    event.preventDefault();
    if (control.matches('input, select, textarea')) {
      control.focus();
      control.select?.();
    } else control.click();
  });
})();
