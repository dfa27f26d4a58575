// Same or different? The reader against chance and against the attackers.

const ROUNDS = 12

function shuffledList(values) {
  const out = [...values]
  for (let i = out.length - 1; i > 0; i--) { const j = freshSeed() % (i + 1); [out[i], out[j]] = [out[j], out[i]] }
  return out
}

// Half of the pairs are of one person; no picture is paired with itself.
function drawPairs({ people, each }) {
  return shuffledList(Array.from({ length: ROUNDS }, (_, i) => i % 2 === 0)).map(same => {
    const [a, b] = shuffledList([...Array(people).keys()]), [m, n] = shuffledList([...Array(each).keys()])
    return { same, left: [a, m], right: [same ? a : b, n] }
  })
}

async function mountGuess({ data, anonymizers, el }) {
  const face = await openSheet(data.guess.sheet, data.guess.size), M = anonymizers.ours
  const ours = data.frontier[0].points.find(point => point.method === 'learned').eer
  const canvases = ['left', 'right'].map(side => make('canvas', { width: SIZE, height: SIZE, role: 'img', 'aria-label': `the ${side} face, behind M` }))
  const said = make('p', { class: 'told', role: 'status' })
  const state = { pairs: [], at: 0, right: 0 }
  const answer = make('div', { class: 'buttons' }, [['Same person', true], ['Different people', false]].map(([text, same]) => make('button', { type: 'button', onclick: () => judge(same) }, text)))
  const again = make('button', { type: 'button', onclick: begin }, 'Another round')

  async function show() {
    const pair = state.pairs[state.at]
    for (const [i, place] of [pair.left, pair.right].entries()) {
      drawFace(canvases[i], await M.anonymize(face(...place), normalNumbers(M.count, freshSeed())))
    }
    answer.hidden = false
    el.dataset.pair = `${state.at}:${pair.same}`
  }

  async function judge(same) {
    answer.hidden = true
    const pair = state.pairs[state.at], right = same === pair.same
    state.right += right
    state.at += 1
    const score = `${state.right} of ${state.at} right`
    if (state.at < ROUNDS) {
      said.textContent = `${right ? 'Right' : 'Wrong'}: ${pair.same ? 'one person' : 'two people'}. ${score}.`
      await show()
      answer.querySelector('button').focus()
    } else {
      said.textContent = `${score}, ${percent(state.right / ROUNDS)}. Guessing gets 50 %. On other pairs of test people the verifier that knows originals gets about ${percent(1 - ours.fixed)}, ` +
        `the worst recogniser that we trained on M's faces about ${percent(1 - ours.worst)} (one minus its equal error rate), and with ten pictures against ten about ${percent(1 - data.errors.ten)}. Twelve answers say little: by guessing alone one reader in five gets eight or more.`
      el.dataset.pair = 'end'
      again.hidden = false
      again.focus()
    }
  }

  async function begin() {
    again.hidden = true
    Object.assign(state, { pairs: drawPairs(data.guess), at: 0, right: 0 })
    said.textContent = `Two pictures of test people, each behind M with noise of its own. ${ROUNDS} rounds.`
    await show()
  }

  el.append(make('div', { class: 'pairs' }, canvases), answer, said, again)
  await begin()
}
