// One person or two? Recorded pairs behind a method, the reader's score, and what an attacker reaches.

function quizScore(right, answered, method) {
  const attacker = method.eer === null ? '' : ` A recogniser trained on such pictures is right in about ${percent(1 - method.eer)} (one minus its equal error rate).`
  return `${right} of ${answered} right, where guessing gets half.${attacker}`
}

function render({ model, el }) {
  const { methods, note } = model.get('data'), state = { method: 0, at: 0, right: 0 }
  const pair = make('img', { class: 'quiz-pair' }), said = make('p', { class: 'told', role: 'status' })
  const pick = select(methods.map((method, i) => [i, method.label]), () => begin(Number(pick.value)))
  const answer = make('div', { class: 'buttons' }, [['One person', true], ['Two people', false]].map(([text, same]) =>
    make('button', { type: 'button', onclick: () => judge(same) }, text)))
  const again = make('button', { type: 'button', onclick: () => { begin(state.method); answer.querySelector('button').focus() } }, 'Begin again')

  function show() {
    const { pairs, label } = methods[state.method]
    pair.src = pairs[Math.min(state.at, pairs.length - 1)].picture
    pair.alt = `pair ${state.at + 1} of ${pairs.length}, behind: ${label}`
    answer.hidden = state.at === pairs.length
    again.hidden = !answer.hidden
    el.dataset.shown = `${state.method}:${state.at}`
  }

  function begin(method) {
    Object.assign(state, { method, at: 0, right: 0 })
    said.textContent = `${methods[method].pairs.length} pairs; half of them show one person.`
    show()
  }

  function judge(same) {
    const method = methods[state.method], right = same === method.pairs[state.at].same
    state.right += right
    state.at += 1
    said.textContent = `${right ? 'Right' : 'Wrong'}. ${quizScore(state.right, state.at, method)}`
    show()
    if (answer.hidden) again.focus()
  }

  el.classList.add('faceanon')
  el.append(make('div', { class: 'controls' }, labelled('Behind', pick)), pair, answer, again, said, make('p', { class: 'note' }, note))
  begin(0)
}

export default { render }
