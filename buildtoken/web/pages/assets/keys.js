// Keys of a page. A control has a key by its attribute aria-keyshortcuts: the key focuses a
// field, and clicks anything else. The first control that can be seen gets it. "?" lists them.
'use strict';
(() => {
  const open = document.querySelector('[data-keys]');
  const dialog = document.querySelector('[data-keys-dialog]');

  const seen = (e) => e.getClientRects().length > 0 && !e.disabled;
  const controls = () => [...document.querySelectorAll('[aria-keyshortcuts]')].filter((e) => seen(e) || e === open);
  const name = (e) => e.getAttribute('aria-label') || e.labels?.[0]?.textContent || e.textContent;

  const show = () => {
    const keys = new Map();
    for (const e of controls()) {
      for (const key of e.getAttribute('aria-keyshortcuts').split(' ')) if (!keys.has(key)) keys.set(key, e === open ? 'This list' : name(e));
    }
    const list = dialog.querySelector('dl');
    list.replaceChildren(...[...keys].flatMap(([key, text]) => {
      const term = document.createElement('dt');
      const kbd = document.createElement('kbd');
      kbd.textContent = key;
      term.append(kbd);
      const what = document.createElement('dd');
      what.textContent = text.trim();
      return [term, what];
    }));
    dialog.showModal();
  };
  open.hidden = false;
  open.addEventListener('click', show);

  document.addEventListener('keydown', (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || event.defaultPrevented || dialog.open) return;
    if (event.target.closest('input, select, textarea, [contenteditable]')) return; // the reader is typing
    const control = controls().find((e) => e.getAttribute('aria-keyshortcuts').split(' ').includes(event.key));
    if (!control) return;
    event.preventDefault();
    if (control.matches('input, select, textarea')) {
      control.focus();
      control.select?.();
    } else control.click();
  });
})();
