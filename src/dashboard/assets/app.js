// What a page gains where scripts may run: it follows what happens, tells times in the reader's zone, and has keys.
// Everything else works without.
'use strict';

document.documentElement.classList.add('scripted');

const one = (selector, within = document) => within.querySelector(selector);
const all = (selector, within = document) => [...within.querySelectorAll(selector)];

// Times -----------------------------------------------------------------------------------------------------------------

const UNITS = [[86400, 'd'], [3600, 'h'], [60, 'min'], [1, 's']];

function relative(at) {
  const seconds = (Date.now() - at) / 1000;
  const distance = Math.abs(seconds);
  if (distance < 1) return 'now';
  const [size, unit] = UNITS.find(([size]) => distance >= size);
  const text = `${Math.floor(distance / size)} ${unit}`;
  return seconds > 0 ? `${text} ago` : `in ${text}`;
}

const pad = (number, digits = 2) => String(number).padStart(digits, '0');
const day = (at) => `${at.getFullYear()}-${pad(at.getMonth() + 1)}-${pad(at.getDate())}`;
const clock = (at) => `${pad(at.getHours())}:${pad(at.getMinutes())}:${pad(at.getSeconds())}.${pad(at.getMilliseconds(), 3)}`;
const zone = () => Intl.DateTimeFormat().resolvedOptions().timeZone ?? 'local time';

function tellTimes(within = document) {
  for (const time of all('time', within)) {
    const at = new Date(time.dateTime);
    if (Number.isNaN(at.getTime())) continue;
    const text = 'clock' in time.dataset ? clock(at) : 'exact' in time.dataset ? `${day(at)} ${clock(at)}` : relative(at);
    if (time.textContent !== text) time.textContent = text;
    time.title = `${day(at)} ${clock(at)} (${zone()})\n${time.dateTime}`;
  }
}

// Following what happens ------------------------------------------------------------------------------------------------

const liveButton = one('#live');
let stream = null;
let reading = false;
let again = false;

const wantsLive = () => localStorage.getItem('oxmq-live') !== 'off';

function follow() {
  const url = document.body.dataset.live;
  if (!url || stream || document.hidden || !wantsLive()) return;
  stream = new EventSource(url);
  // A stream ends now and then and is opened anew at once: only what lasts is shown.
  let lost = 0;
  stream.addEventListener('open', () => {
    clearTimeout(lost);
    showLive(true);
  });
  stream.addEventListener('changed', refresh);
  stream.addEventListener('error', () => {
    clearTimeout(lost);
    // Refused for good: the page may be looked at without.
    if (stream?.readyState === EventSource.CLOSED) stopFollowing();
    else lost = setTimeout(() => { if (stream) showLive(true, true); }, 2000);
  });
}

function stopFollowing() {
  stream?.close();
  stream = null;
  showLive(false);
}

function showLive(on, lost = false) {
  if (!liveButton) return;
  liveButton.setAttribute('aria-pressed', String(on));
  liveButton.classList.toggle('lost', lost);
}

liveButton?.addEventListener('click', () => {
  localStorage.setItem('oxmq-live', stream ? 'off' : 'on');
  if (stream) stopFollowing();
  else {
    follow();
    refresh();
  }
});

document.addEventListener('visibilitychange', () => {
  if (document.hidden) stopFollowing();
  else if (wantsLive() && document.body.dataset.live) {
    follow();
    refresh();
  }
});

async function refresh() {
  if (reading) {
    again = true;
    return;
  }
  reading = true;
  try {
    const answer = await fetch(location.href, { headers: { 'X-Oxmq-Live': '1' } });
    const page = new DOMParser().parseFromString(await answer.text(), 'text/html');
    if (answer.ok) {
      swap(page);
      if (!page.body.dataset.live) stopFollowing();
    } else if (answer.status === 404) {
      stopFollowing();
    }
  } catch {
    // The stream tells when there is a connection again.
  } finally {
    reading = false;
    if (again) {
      again = false;
      refresh();
    }
  }
}

// Puts the parts of a page in place that have changed; what the reader has opened, ticked or is about to use stays.
function swap(page) {
  const row = currentRow();
  for (const old of all('[data-swap]')) {
    const fresh = page.getElementById(old.id);
    if (!fresh || old.dataset.seen === fresh.innerHTML || isInUse(old)) continue;
    const ticked = new Set(all('input[type=checkbox]:checked', old).map((box) => box.name + box.value));
    const opened = all('details', old).map((details) => details.open);
    const used = old.contains(document.activeElement) ? mark(document.activeElement) : null;
    old.dataset.seen = fresh.innerHTML;
    old.replaceChildren(...fresh.childNodes);
    for (const box of all('input[type=checkbox]', old)) box.checked = ticked.has(box.name + box.value);
    const details = all('details', old);
    if (details.length === opened.length) details.forEach((one, n) => { one.open = opened[n]; });
    if (used) all(FOCUSABLE, old).find((other) => mark(other) === used)?.focus({ preventScroll: true });
    tellTimes(old);
  }
  if (row && !row.isConnected) {
    const place = rows().findIndex((other) => linkOf(other) === linkOf(row));
    // If it is gone, the next one is in its place.
    if (place < 0) current -= 1;
    else setCurrent(place);
  }
  showChosen();
}

// What the keyboard can be on, and how it is known again after it was read anew.
const FOCUSABLE = 'a[href], button, summary, input, select, textarea';
const mark = (used) => [used.tagName, used.href ?? used.formAction ?? '', used.name ?? '', used.value ?? used.textContent].join(' ');

const isInUse = (part) =>
  one('details.ask[open]', part) !== null || (part.contains(document.activeElement) && document.activeElement.matches('input:not([type=checkbox]), textarea'));

// Choosing jobs ---------------------------------------------------------------------------------------------------------

const boxes = () => all('input[name=id]');

function showChosen() {
  const label = one('.chosen');
  if (!label) return;
  const chosen = boxes().filter((box) => box.checked).length;
  label.textContent = chosen === 0 ? 'Choose jobs to act on them' : chosen === 1 ? '1 job chosen' : `${chosen} jobs chosen`;
  for (const button of all('.choice button')) button.disabled = chosen === 0;
  const whole = one('#all');
  if (whole) {
    whole.checked = chosen > 0 && chosen === boxes().length;
    whole.indeterminate = chosen > 0 && chosen < boxes().length;
  }
}

document.addEventListener('change', (event) => {
  if (event.target.id === 'all') for (const box of boxes()) box.checked = event.target.checked;
  if (event.target.matches('#all, input[name=id]')) showChosen();
});

document.addEventListener('click', (event) => {
  const asks = event.target.closest('[data-confirm]');
  if (asks && !confirm(asks.dataset.confirm)) event.preventDefault();
  for (const open of all('details.ask[open]')) if (!open.contains(event.target)) open.open = false;
});

// A second click, while the first is on its way, does nothing: it would add a second job.
document.addEventListener('submit', (event) => {
  const form = event.target;
  if (event.defaultPrevented || form.method !== 'post') return;
  if (form.dataset.sent) event.preventDefault();
  form.dataset.sent = 'yes';
  setTimeout(() => delete form.dataset.sent, 5000);
});

// Copying ---------------------------------------------------------------------------------------------------------------

document.addEventListener('click', async (event) => {
  const button = event.target.closest('[data-copy]');
  if (!button) return;
  const before = button.textContent;
  // The page may have been read anew meanwhile, with another button in its place.
  const tell = (text) => { for (const now of all('[data-copy]')) if (now.dataset.copy === button.dataset.copy) now.textContent = text; };
  try {
    const answer = await fetch(button.dataset.copy);
    if (!answer.ok) throw new Error(answer.statusText);
    await navigator.clipboard.writeText(await answer.text());
    tell('Copied');
  } catch {
    tell('Not copied: open Raw');
  }
  setTimeout(() => tell(before), 1600);
});

// Keys ------------------------------------------------------------------------------------------------------------------

let current = -1;
let prefix = '';

const rows = () => all('.rows tbody tr');
const currentRow = () => one('.rows tbody tr.current');
const linkOf = (row) => one('a', row)?.href;

function setCurrent(place) {
  currentRow()?.classList.remove('current');
  current = place;
  rows()[place]?.classList.add('current');
}

function go(step) {
  const last = rows().length - 1;
  if (last < 0) return;
  setCurrent(Math.min(last, Math.max(0, current + step)));
  const row = currentRow();
  row.scrollIntoView({ block: 'nearest' });
  one('a', row)?.focus({ preventScroll: true });
}

// Closes what was opened over the page; whoever was in it is back at the button that has opened it.
function closeAll() {
  const open = all('details.ask[open]');
  const left = open.find((ask) => ask.contains(document.activeElement)) ?? (document.activeElement === document.body && open[0]);
  for (const ask of open) ask.open = false;
  if (left) one('summary', left).focus();
  else if (open.length === 0 && document.activeElement.matches('input, textarea')) document.activeElement.blur();
}

document.addEventListener('keydown', (event) => {
  if (one('dialog[open]')) return;
  if (event.key === 'Escape') return closeAll();
  // A field among the actions on chosen jobs: Enter presses the button beside it.
  if (event.key === 'Enter' && event.target.matches('.choice .popup input')) {
    event.preventDefault();
    one('button', event.target.closest('.popup')).click();
    return;
  }
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches('input:not([type=checkbox]), textarea, select')) return;
  const keys = prefix + event.key;
  prefix = event.key === 'g' && prefix === '' ? 'g' : '';
  const does = {
    '/': () => one('#search').focus(),
    j: () => go(1),
    k: () => go(-1),
    x: () => one('.rows tbody tr.current input[name=id]')?.click(),
    l: () => liveButton?.click(),
    '?': () => one('#keys').showModal(),
    gq: () => one('.top nav a').click(),
    gw: () => one('.top nav a[href$="/workers"]').click(),
    gs: () => one('.top nav a[href$="/schedulers"]').click(),
    gd: () => one('.top nav a[href$="/doctor"]').click(),
  }[keys];
  if (!does) return;
  event.preventDefault();
  does();
});

// Events ----------------------------------------------------------------------------------------------------------------

const MOST_LINES = 500;

function listen() {
  const list = one('#events');
  if (!list) return;
  const state = one('#event-state');
  const pause = one('#event-pause');
  const held = [];
  const isPaused = () => pause.getAttribute('aria-pressed') === 'true';
  const fits = (line) => {
    const kind = line.dataset.kind;
    const box = all('#event-filter input[name=kind]').find((box) => box.value === kind);
    const job = one('#event-job').value.trim();
    return (!box || box.checked) && (job === '' || line.dataset.job === job);
  };
  const put = (line) => {
    line.hidden = !fits(line);
    list.prepend(line);
    while (list.children.length > MOST_LINES) list.lastChild.remove();
  };
  const source = new EventSource(list.dataset.events);
  // The browser's own event of this name comes with the first byte, that of the server once it reads the queue.
  source.addEventListener('open', (event) => {
    state.textContent = 'data' in event ? 'Listening: events show here as they happen.' : 'Connecting to Redis …';
  });
  source.addEventListener('error', () => {
    state.textContent = source.readyState === EventSource.CLOSED
      ? 'The stream has ended, and cannot be opened again: reload the page to see why.'
      : 'The connection is lost; it is tried again.';
  });
  source.addEventListener('line', (event) => {
    // Made by the server, which escapes all that it did not write itself.
    const line = new DOMParser().parseFromString(event.data, 'text/html').body.firstElementChild;
    if (!line) return;
    tellTimes(line);
    if (isPaused()) {
      held.push(line);
      if (held.length > MOST_LINES) held.shift();
      state.textContent = `Paused: ${held.length} events are held.`;
    } else put(line);
  });
  pause.addEventListener('click', () => {
    pause.setAttribute('aria-pressed', String(!isPaused()));
    pause.textContent = isPaused() ? 'Go on' : 'Pause';
    if (!isPaused()) for (const line of held.splice(0)) put(line);
    state.textContent = isPaused() ? 'Paused.' : 'Listening: events show here as they happen.';
  });
  one('#event-clear').addEventListener('click', () => list.replaceChildren());
  one('#event-filter').addEventListener('input', () => { for (const line of list.children) line.hidden = !fits(line); });
  one('#event-filter').addEventListener('submit', (event) => event.preventDefault());
}

// What has not changed since the page was made is not put in place anew.
for (const part of all('[data-swap]')) part.dataset.seen = part.innerHTML;
tellTimes();
setInterval(tellTimes, 15000);
showChosen();
listen();
follow();
