// One face behind seven methods, alive: M runs in the page, but for the one that draws, which is too large for it.

const METHODS = [['original', 'original'], ['mask', 'black mask'], ['blur', 'blur 8'], ['pixelate', 'pixelate'],
  ['paper', "M, the paper's objective"], ['ours', 'M, ours'], ['drawn', 'M that draws']]

// Picture, camera and drop: a square of it is shrunk to 40 pixels here and goes nowhere else.
function photographSource(onface) {
  const small = make('canvas', { width: SIZE, height: SIZE }), context = small.getContext('2d', { willReadFrequently: true })
  const state = { source: null, wide: 0, high: 0, zoom: 1, x: .5, y: .5 }
  const said = make('p', { class: 'note', role: 'status' })
  function cut() {
    if (!state.source) return
    const side = Math.min(state.wide, state.high) / state.zoom
    context.imageSmoothingQuality = 'high'
    context.drawImage(state.source, state.x * (state.wide - side), state.y * (state.high - side), side, side, 0, 0, SIZE, SIZE)
    onface(faceOfPixels(context.getImageData(0, 0, SIZE, SIZE).data))
  }
  async function open(file) {
    if (!file) return
    try {
      const bitmap = await createImageBitmap(file)
      Object.assign(state, { source: bitmap, wide: bitmap.width, high: bitmap.height })
      said.textContent = `${file.name || 'Picture'}: ${bitmap.width} by ${bitmap.height} pixels. It stays on this machine.`
      cut()
    } catch { said.textContent = `${file.name || 'The file'} is no picture that this browser reads.` }
  }
  async function camera() {
    try {
      const stream = await navigator.mediaDevices.getUserMedia({ video: true })
      const video = make('video', { muted: true, playsinline: true })
      video.srcObject = stream
      await video.play()
      const bitmap = await createImageBitmap(video)
      stream.getTracks().forEach(track => track.stop())
      Object.assign(state, { source: bitmap, wide: bitmap.width, high: bitmap.height })
      said.textContent = 'One picture of the camera; the camera is off again. It stays on this machine.'
      cut()
    } catch { said.textContent = 'The browser gives this page no camera.' }
  }
  const file = make('input', { type: 'file', accept: 'image/*', onchange: () => open(file.files[0]) })
  const part = (name, key) => slider(name, { max: 1, step: .01, value: state[key], say: percent }, value => { state[key] = value; cut() }).row
  const row = make('div', { class: 'photograph' },
    make('p', {}, 'Nothing leaves this machine: the page asks the network for nothing, and works without one. M knows drawn people only, so a photograph shows what it does, not how well it protects.'),
    labelled('Picture', file), make('button', { type: 'button', onclick: camera }, 'Take one with the camera'),
    slider('Zoom', { min: 1, max: 6, step: .1, value: 1, say: v => `${v.toFixed(1)}×` }, value => { state.zoom = value; cut() }).row,
    part('Left to right', 'x'), part('Top to bottom', 'y'), said)
  return { row, open }
}

function methodCards() {
  const cards = METHODS.map(([name, label]) => {
    const canvas = make('canvas', { width: SIZE, height: SIZE, role: 'img', 'aria-label': `the face: ${label}` })
    const like = make('span', { class: 'like' }), names = make('span', { class: 'names' })
    return { name, canvas, like, names, figure: make('figure', { 'data-method': name }, canvas, make('figcaption', {}, make('b', {}, label), like, names)) }
  })
  function show(faces, known, person) {
    cards.forEach((card, i) => {
      card.figure.hidden = !faces[i]
      if (!faces[i]) return
      drawFace(card.canvas, faces[i])
      card.like.textContent = `similarity ${cosine(known[i].embedding, known[0].embedding).toFixed(2)}`
      card.names.textContent = known[i].names.map(([who, p]) => `${who === person ? '✓ ' : ''}person ${who}: ${percent(p)}`).join(', ')
      card.figure.dataset.faces = Array.from(faces[i].subarray(0, 60), v => v.toFixed(3)).join(' ')
    })
  }
  return { row: make('div', { class: 'methods' }, cards.map(card => card.figure)), show }
}

function codeDials(channels, onchange) {
  const gains = new Float32Array(channels).fill(1)
  const boxes = Array.from(gains, (_, i) => {
    const box = make('input', { type: 'checkbox', checked: true, 'aria-label': `channel ${i + 1} of the code`, onchange: () => { gains[i] = box.checked ? 1 : 0; onchange() } })
    return box
  })
  const all = on => () => { boxes.forEach((box, i) => { box.checked = on; gains[i] = on ? 1 : 0 }); onchange() }
  const row = make('fieldset', { class: 'code' }, make('legend', {}, `Parts of the code that speak: ${channels} channels`), boxes,
    make('button', { type: 'button', onclick: all(false) }, 'Silence all'), make('button', { type: 'button', onclick: all(true) }, 'Let all speak'))
  return { row, gains }
}

async function mountFace({ data, anonymizers, run, el }) {
  const { portraits } = data, face = await openSheet(portraits.sheet, portraits.size), { ours, paper } = anonymizers
  const drawn = await Promise.all(data.drawn.map(sheet => openSheet(sheet, portraits.size)))
  const state = { person: 0, turn: 2, held: 0, other: 1, walk: 0, strength: 1, seed: 1, draw: 0, photograph: null }
  const cards = methodCards(), time = make('p', { class: 'note', role: 'status' })
  const column = () => state.turn * portraits.held.length + state.held

  async function draw() {
    const started = performance.now()
    const original = state.photograph || face(state.person, column())
    const codes = await Promise.all([ours.encode(original), paper.encode(original)])
    if (state.walk > 0) {
      const end = await Promise.all([ours, paper].map(M => M.encode(face(state.other, column()))))
      codes.forEach((code, n) => codes[n] = code.map((value, i) => value + state.walk * (end[n][i] - value)))
    }
    const epsilon = normalNumbers(ours.count, state.seed), dials = { strength: state.strength, gains: code.gains }
    const [own, papers] = await Promise.all([ours, paper].map((M, n) => M.decode(M.channel(codes[n], epsilon, dials))))
    const faces = [original, ...['mask', 'blur', 'pixelate'].map(name => HAND_MADE[name](original)), papers, own]
    if (!state.photograph) faces.push(drawn[state.draw % drawn.length](state.person, column()))
    cards.show(faces, await recognize(run, faces), state.photograph ? null : portraits.people[state.person])
    time.textContent = `All faces and what the verifier says of them: ${Math.round(performance.now() - started)} ms on one thread.` +
      (state.strength < 1 ? ' With less noise than it was trained with, M tells more than the tables say.' : '') +
      (state.strength === 0 ? ' Without noise nothing here is anonymous.' : '')
    el.dataset.drawn = Number(el.dataset.drawn || 0) + 1
  }

  // One picture at a time; what is asked for meanwhile is drawn next, and only the last of it.
  let busy = false, again = false
  async function update() {
    if (busy) { again = true; return }
    busy = true
    do { again = false; await draw() } while (again)
    busy = false
  }
  const turnTo = key => value => { state[key] = value; if (['person', 'turn', 'held'].includes(key)) state.photograph = null; update() }
  const code = codeDials(ours.channels, update)
  const photograph = photographSource(face => { state.photograph = face; update() })
  const held = select(portraits.held.map((name, i) => [i, name]), () => turnTo('held')(Number(held.value)))
  const other = select(portraits.people.map((who, i) => [i, `person ${who}`]), () => turnTo('other')(Number(other.value)))
  other.value = 1
  el.append(
    make('div', { class: 'controls' },
      slider('Person', { max: portraits.people.length - 1, value: 0, say: i => `person ${portraits.people[i]}` }, turnTo('person')).row,
      slider('Turn of the head', { max: portraits.turns.length - 1, value: 2, say: i => portraits.turns[i].toFixed(1) }, turnTo('turn')).row,
      labelled('In the hand', held)),
    cards.row, time,
    make('div', { class: 'controls' },
      slider('Noise of the channel', { max: 3, step: .05, value: 1, say: v => `${v.toFixed(2)} σ` }, turnTo('strength')).row,
      make('button', { type: 'button', onclick: () => { state.draw += 1; turnTo('seed')(freshSeed()) } }, 'Draw other noise'),
      slider('Walk to another face', { max: 1, step: .02, value: 0, say: percent }, turnTo('walk')).row, labelled('The other face', other)),
    code.row, make('details', {}, make('summary', {}, 'A picture of your own'), photograph.row))
  el.addEventListener('dragover', event => event.preventDefault())
  el.addEventListener('drop', event => { event.preventDefault(); photograph.open(event.dataTransfer.files[0]) })
  await update()
}
