// Utility against privacy: the reader chooses data, attacker and A's budget, and the points move.

const FRONTIER = { width: 560, height: 400, left: 72, right: 16, top: 12, bottom: 46 }
// Two hues that stay apart for every kind of colour vision; shapes say the same once more.
const METHOD_COLOURS = { learned: '#D55E00', paper_objective: '#0072B2' }

function frontierPlace(eer, utility) {
  const { width, height, left, right, top, bottom } = FRONTIER
  return [left + (width - left - right) * eer / .55, height - bottom - (height - top - bottom) * utility]
}

function frontierAxes() {
  const { width, height, left, right, top, bottom } = FRONTIER
  const across = [0, .1, .2, .3, .4, .5].map(eer => make('text', { x: frontierPlace(eer, 0)[0], y: height - bottom + 18, 'text-anchor': 'middle' }, percent(eer)))
  const up = [0, .25, .5, .75, 1].map(utility => make('text', { x: left - 8, y: frontierPlace(0, utility)[1] + 4, 'text-anchor': 'end' }, percent(utility)))
  const [chance] = frontierPlace(.5, 0)
  return [
    make('line', { x1: left, y1: height - bottom, x2: width - right, y2: height - bottom, class: 'axis' }),
    make('line', { x1: left, y1: top, x2: left, y2: height - bottom, class: 'axis' }),
    make('line', { x1: chance, y1: top, x2: chance, y2: height - bottom, class: 'chance' }),
    make('text', { x: chance - 6, y: top + 10, 'text-anchor': 'end', class: 'chance-name' }, 'chance'),
    ...across, ...up,
    make('text', { x: (left + width) / 2, y: height - 8, 'text-anchor': 'middle', class: 'axis-name' }, "the attacker's equal error rate: more is more private"),
    make('text', { x: 12, y: (height - bottom) / 2, transform: `rotate(-90 12 ${(height - bottom) / 2})`, 'text-anchor': 'middle', class: 'axis-name' }, "A's mean average precision"),
  ]
}

// Names beside their points, pushed down where two would lie on each other.
function frontierNames(points) {
  const placed = [], narrow = matchMedia('(max-width: 44rem)').matches  // letters are larger there, see the style
  const [wide, high] = narrow ? [140, 18] : [95, 13]
  for (const point of [...points].sort((a, b) => a.y - b.y)) {
    const near = placed.filter(other => Math.abs(other.x - point.x) < wide)
    const free = near.reduce((y, other) => Math.abs(other.nameY - y) < high ? other.nameY + high : y, point.y)
    placed.push({ ...point, nameY: free })
  }
  return placed
}

function frontierPoint({ point, x, y, nameY, said }) {
  const colour = METHOD_COLOURS[point.method] || '#5B6472', left = x > 430
  const shape = point.method === 'learned'
    ? make('rect', { x: -6, y: -6, width: 12, height: 12, fill: colour, transform: 'rotate(45)' })
    : make('circle', { r: point.method === 'paper_objective' ? 6 : 4, fill: colour })
  return make('g', { class: 'point', 'data-method': point.method, transform: `translate(${x.toFixed(1)} ${y.toFixed(1)})` },
    shape, make('title', {}, said),
    make('text', { x: left ? -9 : 9, y: nameY - y + 4, 'text-anchor': left ? 'end' : 'start' }, point.label))
}

// The same numbers in words, for who cannot see the picture.
function frontierTable(shown, eer, utility) {
  const row = (tag, cells) => make('tr', {}, cells.map(cell => make(tag, {}, cell)))
  return make('details', {}, make('summary', {}, 'The numbers as a table'), make('table', {},
    row('th', ['method', "attacker's error", "A's precision"]),
    shown.map(point => row('td', [point.label, percent(eer(point)), percent(utility(point))]))))
}

function render({ model, el }) {
  const sets = model.get('data')
  const state = { set: 0, attacker: 'worst', budget: 'fine-tuned' }
  const figure = make('div', { class: 'figure' })
  const data = select(sets.map((set, i) => [i, set.name]), () => { state.set = Number(data.value); fill(); draw() })
  const attacker = select([], () => { state.attacker = attacker.value; draw() })
  const budget = select([], () => { state.budget = budget.value; draw() })

  function fill() {
    const set = sets[state.set]
    if (!set.attackers.includes(state.attacker)) state.attacker = 'worst'
    const names = { worst: 'the worst of ours, without the judge', fixed: 'fixed: trained on originals' }
    attacker.replaceChildren(...set.attackers.map(name => make('option', { value: name, selected: name === state.attacker }, names[name] || name)))
    const budgets = { 'fine-tuned': "fine-tuned on the method's frames", frozen: 'frozen: has seen originals only' }
    budget.replaceChildren(...set.budgets.map(name => make('option', { value: name, selected: name === state.budget }, budgets[name] || name)))
  }

  function draw() {
    const eer = point => point.eer[state.attacker], utility = point => point.utility[state.budget]
    const known = point => Number.isFinite(eer(point)) && Number.isFinite(utility(point))
    const points = sets[state.set].points
    const shown = points.filter(known)
    const away = points.filter(point => !known(point)).map(point => point.label)
    const plot = make('svg', { viewBox: `0 0 ${FRONTIER.width} ${FRONTIER.height}`, role: 'img', 'aria-label': `${shown.length} methods by the attacker's error and A's precision` },
      frontierAxes(), frontierNames(shown.map(point => {
        const [x, y] = frontierPlace(Math.min(eer(point), .55), utility(point))
        return { point, x, y, said: `${point.label}: error ${percent(eer(point))}, precision ${percent(utility(point))}` }
      })).map(frontierPoint))
    figure.replaceChildren(plot, make('p', { class: 'note' }, away.length ? `Not measured here: ${away.join(', ')}.` : 'Every method was measured here.'),
      frontierTable(shown, eer, utility))
  }

  fill()
  draw()
  el.classList.add('faceanon')
  el.append(make('div', { class: 'controls' }, labelled('Data', data), labelled('Attacker', attacker), labelled("A's budget", budget)), figure)
}

export default { render }
