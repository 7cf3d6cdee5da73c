// What the list of jobs does with JavaScript: it filters as the reader types, and keeps in
// the address which folders are folded.
'use strict';
(() => {
  const form = document.querySelector('[data-find]');
  if (!form) return;
  const field = form.elements.q;
  const sent = field.value; // what the server has filtered by
  const folders = () => document.querySelectorAll('details[data-fold]');
  let filtering = false;

  const remember = (change) => {
    const url = new URL(location.href);
    change(url.searchParams);
    if (url.href !== location.href) history.replaceState(history.state, '', url);
  };

  // filter hides the jobs in which a word is missing, and opens the folders of the others.
  const filter = () => {
    const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
    const active = field.value.trim() !== sent;
    if (!active && !filtering) return;
    for (const row of document.querySelectorAll('.jobs tr[data-key]')) {
      const folder = row.closest('[data-fold]')?.dataset.fold || '';
      const name = row.querySelector('th').textContent;
      const text = `${folder}/${name} ${name.replaceAll(' » ', '/')} ${folder.replaceAll('/', ' » ')} » ${name}`.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
    }
    for (const folder of folders()) {
      if (!('was' in folder.dataset)) folder.dataset.was = folder.open ? 'open' : '';
      folder.hidden = words.length > 0 && !folder.querySelector('tr[data-key]:not([hidden])');
      folder.open = words.length > 0 || folder.dataset.was === 'open';
      if (!active) delete folder.dataset.was;
    }
    filtering = active;
    document.body.classList.toggle('filtering', active); // the counts are those of the server's list
  };

  field.addEventListener('input', () => {
    remember((query) => (field.value.trim() ? query.set('q', field.value.trim()) : query.delete('q')));
    // What the server left out can only come from there.
    if (sent && !field.value.toLowerCase().includes(sent.toLowerCase())) form.requestSubmit();
    else filter();
  });
  document.addEventListener('buildtoken:settled', () => { if (filtering) filter(); });

  // The event does not bubble.
  document.addEventListener('toggle', ({ target }) => {
    if (filtering || !target.matches?.('details[data-fold]') || 'was' in target.dataset) return;
    const closed = Boolean(target.closest('[data-closed]'));
    const folder = target.dataset.fold;
    remember((query) => {
      query.delete('fold', folder);
      query.delete('open', folder);
      if (target.open === closed) query.append(closed ? 'open' : 'fold', folder);
    });
  }, true);
})();
