// A recorded game, forwards and backwards. A step that is hovered, focused or chosen is the step that everything shows.

const CURVE = { width: 420, height: 170, left: 40, right: 10, top: 12, bottom: 30 }

function curvePlace(share, i, count) {
  const { width, height, left, right, top, bottom } = CURVE
  return [left + (width - left - right) * i / Math.max(1, count - 1), height - bottom - (height - top - bottom) * share]
}

function curvePath(values) {
  const known = values.map((value, i) => [value, i]).filter(([value]) => value !== null)
  return known.map(([value, i], n) => `${n ? 'L' : 'M'}${curvePlace(value, i, values.length).map(v => v.toFixed(1)).join(' ')}`).join('')
}

// D in the game is a solid line, the recogniser trained afterwards a broken one with dots: colour is not needed.
function drawCurves(story, at, choose) {
  const { width, height, left, right, top, bottom } = CURVE
  const moments = story.moments, wide = (width - left - right) / moments.length
  const probes = moments.map(m => m.probe)
  const [x] = curvePlace(0, at, moments.length), chance = curvePlace(story.chance, 0, 2)[1]
  const columns = moments.map((m, i) => make('rect', {
    x: curvePlace(0, i, moments.length)[0] - wide / 2, y: top, width: wide, height: height - top - bottom, fill: 'transparent',
    onpointerenter: () => choose(i), onclick: () => choose(i), 'data-step': i }, make('title', {}, `step ${m.step}`)))
  return make('svg', { viewBox: `0 0 ${width} ${height}`, role: 'img', 'aria-label': `share of faces named rightly over ${moments.length} moments` },
    [0, .5, 1].map(share => make('text', { x: left - 6, y: curvePlace(share, 0, 2)[1] + 4, 'text-anchor': 'end' }, percent(share))),
    make('line', { x1: left, y1: chance, x2: width - right, y2: chance, class: 'chance' }),
    make('path', { d: curvePath(moments.map(m => m.rank1)), class: 'curve-d' }),
    make('path', { d: curvePath(probes), class: 'curve-probe' }),
    probes.map((probe, i) => probe === null ? null : make('circle', { cx: curvePlace(probe, i, moments.length)[0], cy: curvePlace(probe, i, moments.length)[1], r: 3, class: 'dot-probe' })),
    make('line', { x1: x, y1: top, x2: x, y2: height - bottom, class: 'here' }),
    make('text', { x: left, y: height - 10 }, `step ${moments[0].step}`),
    make('text', { x: width - right, y: height - 10, 'text-anchor': 'end' }, `step ${moments.at(-1).step}`), columns)
}

function drawFaces(story, moment) {
  return moment.faces.map((face, i) => make('figure', { class: 'pair' },
    make('img', { src: story.originals[i], alt: `original face of ${face.name}` }),
    make('img', { src: face.picture, alt: `the same face behind M at step ${moment.step}` }),
    make('figcaption', {}, face.guesses.map(([name, p]) => make('div', { class: name === face.name ? 'right' : '' }, `${name === face.name ? '✓ ' : ''}${name} ${percent(p)}`)))))
}

function probeBefore(moments, at) {
  for (let i = at; i >= 0; i--) if (moments[i].probe !== null) return moments[i]
  return null
}

function tellMoment(story, at) {
  const moment = story.moments[at], probe = probeBefore(story.moments, at)
  const asked = probe ? `A recogniser trained from scratch on what M left names ${percent(probe.probe)}${probe === moment ? '' : ` (asked at step ${probe.step})`}.` : ''
  const found = moment.boxes.length ? `A finds: ${moment.boxes.map(b => `${b.label} ${b.score.toFixed(2)}`).join(', ')}; true is ${story.truth.join(', ')}.` : `A finds nothing; true is ${story.truth.join(', ')}.`
  return `Step ${moment.step}. D names ${percent(moment.rank1)} of the faces on show rightly. ${asked} ${found}`
}

// What M pays, as it is trained to: each loss by its weight. D's own loss stands first.
const LOSS_NAMES = { loss_d: 'D’s own', loss_adv: 'adversarial', loss_det: 'detection', loss_l1: 'L1', loss_code: 'reader’s confusion', loss_rate: 'rate',
  loss_frames: 'A on the frame', loss_crops: 'actions in faces', loss_coarse: 'coarse L1', loss_readers: 'readers’ confusion', loss_price: 'nats' }

function drawNumbers({ losses, weights }) {
  const row = (tag, cells) => make('tr', {}, cells.map(cell => make(tag, {}, cell)))
  const rows = Object.entries(LOSS_NAMES).filter(([name]) => name in losses).map(([name, label]) => {
    const weight = weights[name]
    return [label, losses[name].toPrecision(3), weight === undefined ? 'not paid by M' : `× ${weight} = ${(losses[name] * weight).toPrecision(3)}`]
  })
  return make('table', {}, row('th', ['loss on the faces on show', 'value', 'M pays']), rows.map(cells => row('td', cells)))
}

// Four moments of each story as text: the beginning, the end, and two between.
function storyBeats(story) {
  const last = story.moments.length - 1
  return [0, Math.round(last / 3), Math.round(2 * last / 3), last]
}

function render({ model, el }) {
  const stories = model.get('data'), state = { story: 0, at: 0 }
  const still = matchMedia('(prefers-reduced-motion: reduce)').matches
  const numbers = make('div'), curves = make('div', { class: 'curves' }), faces = make('div', { class: 'faces' }), seen = make('div', { class: 'seen' })
  const told = make('p', { class: 'told', 'aria-live': 'polite' })
  const pick = select(stories.map((story, i) => [i, story.title]), () => show(Number(pick.value), 0))
  const step = slider('Step', { max: 1, value: 0, say: at => String(stories[state.story].moments[Math.min(at, stories[state.story].moments.length - 1)].step) }, at => show(state.story, at))
  const move = by => show(state.story, Math.max(0, Math.min(stories[state.story].moments.length - 1, state.at + by)))
  let timer = null
  const play = make('button', { type: 'button', onclick: () => timer ? stop() : start() }, 'Play')

  function stop() { clearInterval(timer); timer = null; play.textContent = 'Play' }
  function start() {
    if (state.at === stories[state.story].moments.length - 1) show(state.story, 0)
    play.textContent = 'Pause'
    timer = setInterval(() => { move(1); if (state.at === stories[state.story].moments.length - 1) stop() }, still ? 1500 : 500)
  }

  function show(which, at) {
    Object.assign(state, { story: which, at })
    const story = stories[which], moment = story.moments[at]
    pick.value = which
    step.control.max = story.moments.length - 1
    step.set(at)
    curves.replaceChildren(drawCurves(story, at, i => { if (i !== state.at) show(state.story, i) }))
    faces.replaceChildren(...drawFaces(story, moment))
    seen.replaceChildren(framed(moment.frame, moment.boxes, 160, `the frame behind M at step ${moment.step}`))
    numbers.replaceChildren(drawNumbers(moment))
    told.textContent = tellMoment(story, at)
    el.dataset.shown = `${which}:${at}`
  }

  const text = make('div', { class: 'scroll-text', tabindex: 0, role: 'region', 'aria-label': 'the stories as text' }, stories.map((story, i) => make('section', {},
    make('h3', {}, story.title), make('p', {}, story.about),
    storyBeats(story).map(at => make('p', { class: 'beat', 'data-story': i, 'data-at': at }, tellMoment(story, at))))))
  const watch = new IntersectionObserver(seen => seen.filter(entry => entry.isIntersecting).forEach(({ target }) => {
    text.querySelectorAll('.beat').forEach(beat => beat.classList.toggle('active', beat === target))
    if (!timer) show(Number(target.dataset.story), Number(target.dataset.at))
  }), { root: text, rootMargin: '-40% 0px -40% 0px' })
  el.classList.add('faceanon')
  el.append(make('div', { class: 'story' }, text, make('div', { class: 'stage' },
    make('div', { class: 'controls' }, labelled('Story', pick), step.row,
      make('div', { class: 'buttons' }, make('button', { type: 'button', onclick: () => move(-1) }, 'Step back'), make('button', { type: 'button', onclick: () => move(1) }, 'Step on'), play)),
    told, curves, make('p', { class: 'note' }, 'Solid: named rightly by D in the game. Broken, with dots: by a recogniser trained afterwards. Grey: chance. Above each face the original, below it M’s.'),
    make('div', { class: 'shown' }, faces, seen),
    make('details', {}, make('summary', {}, 'The numbers of this step'), numbers))))
  show(0, 0)
  text.querySelectorAll('.beat').forEach(beat => watch.observe(beat))
}

export default { render }
