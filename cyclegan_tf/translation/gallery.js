'use strict';
{
  const find = (selector, root = document) => root.querySelector(selector);
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const LARGEST = 768; // side to which small pictures are enlarged in the viewer

  const articles = all('article');
  const viewer = find('dialog');
  const compare = find('.compare', viewer);
  const range = find('input', compare);
  const sides = all('select', viewer);
  let current = null;

  document.addEventListener('input', (event) => {
    if (event.target.type === 'range') {
      event.target.parentElement.style.setProperty('--at', `${event.target.value}%`);
    }
  });

  // The viewer: two pictures of a row, as large as there is room.

  function show(article, left, right) {
    current = article;
    const captions = all('figcaption', article).map((caption) => caption.firstChild.textContent.trim());
    [left, right].forEach((index, side) => {
      sides[side].replaceChildren(...captions.map((caption) => new Option(caption)));
      sides[side].selectedIndex = index < captions.length ? index : side;
    });
    find('h2', viewer).textContent = find('h3', article).textContent;
    find('p', viewer).textContent = find('header p', article)?.textContent ?? '';
    const shown = articlesShown();
    find('[data-step="-1"]', viewer).disabled = article === shown[0];
    find('[data-step="1"]', viewer).disabled = article === shown.at(-1);
    draw();
    if (!viewer.open) viewer.showModal();
    range.focus({ focusVisible: false });
  }

  function draw() {
    const pictures = all('img', current);
    sides.forEach((side, i) => {
      const source = pictures[side.selectedIndex];
      const picture = all('img', compare)[i];
      picture.src = source.getAttribute('src');
      picture.alt = source.alt;
      picture.className = source.className;
      all('b', compare)[i].textContent = side.value;
    });
    range.setAttribute('aria-label', `Border between ${sides[0].value} and ${sides[1].value}`);
    fit();
  }

  // Enlarged by a whole number of the screen's dots, so that all pixels stay equally large, but on narrow screens as
  // much as there is room; made smaller where there is none.
  function fit() {
    if (!current) return;
    const picture = all('img', current)[sides[0].selectedIndex];
    const [width, height] = ['width', 'height'].map((name) => Number(picture.getAttribute(name)));
    const room = Math.min((innerWidth - 48) / width, Math.max(innerHeight - 190, 120) / height);
    const dots = Math.min(room, Math.max(1, LARGEST / Math.max(width, height))) * devicePixelRatio;
    const factor = (dots < 1 || innerWidth < 640 ? dots : Math.floor(dots)) / devicePixelRatio;
    compare.style.setProperty('--w', `${width * factor}px`);
    compare.style.setProperty('--ratio', `${width} / ${height}`);
  }

  function step(by) {
    const shown = articlesShown();
    const next = shown[shown.indexOf(current) + by];
    if (next) show(next, ...sides.map((side) => side.selectedIndex));
  }

  document.addEventListener('click', (event) => {
    if (event.target === viewer) viewer.close();
    if (event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
    const asked = event.target.closest('article button, figure a');
    const article = asked?.closest('article');
    if (!article || all('figure', article).length < 2) return;
    event.preventDefault();
    show(article, 0, Math.max(1, all('figure a', article).indexOf(asked)));
  });
  sides.forEach((side) => side.addEventListener('change', draw));
  all('[data-step]', viewer).forEach((button) => button.addEventListener('click', () => step(+button.dataset.step)));
  viewer.addEventListener('keydown', (event) => {
    const by = { n: 1, p: -1 }[event.key];
    if (by && event.target.tagName !== 'SELECT') step(by);
  });
  viewer.addEventListener('close', () => {
    current.scrollIntoView({ block: 'nearest' });
    find('button', current).focus({ preventScroll: true });
  });
  addEventListener('resize', fit);

  // Order and choice of the rows.

  const search = find('.tools input');
  const order = find('.tools select');
  const counted = find('.tools output');

  function articlesShown() {
    return all('article:not([hidden])');
  }

  search.addEventListener('input', () => {
    const wanted = search.value.trim().toLowerCase();
    for (const article of articles) {
      article.hidden = !find('h3', article).textContent.toLowerCase().includes(wanted);
    }
    counted.textContent = wanted ? `${articlesShown().length} of ${articles.length} rows` : '';
  });

  // Rows without a score stay behind those with one.
  order?.addEventListener('change', () => {
    const [sign, measure] = order.value.split(' ');
    const score = (article) => sign * article.dataset.scores?.split(' ')[measure];
    const scored = articles.filter((article) => !Number.isNaN(score(article)));
    scored.sort((a, b) => (score(a) < score(b) ? -1 : score(a) > score(b) ? 1 : 0));
    const rows = new Set([...scored, ...articles]);
    for (const row of rows) row.parentElement.append(row);
  });
}
