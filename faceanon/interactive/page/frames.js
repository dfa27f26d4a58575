// What A finds in a frame behind each method. Its boxes are recorded: A itself is too large for a page.

function render({ model, el }) {
  const { methods, frames } = model.get('data'), state = { frame: 0 }
  const grid = make('div', { class: 'methods' })
  const pick = select(frames.map((frame, i) => [i, `${i + 1}: ${frame.truth}`]), () => { state.frame = Number(pick.value); draw() })
  function draw() {
    const frame = frames[state.frame]
    grid.replaceChildren(...methods.map(({ name, label }) => {
      const { picture, boxes } = frame.shown[name]
      const right = boxes.length > 0 && boxes[0].label === frame.truth
      return make('figure', { 'data-method': name }, framed(picture, boxes.slice(0, 1), 160, `${frame.truth}, faces behind: ${label}`),
        make('figcaption', {}, make('b', {}, label), make('span', {}, boxes.length ? `${right ? '✓' : '✗'} ${boxes[0].label}` : 'A finds nothing')))
    }))
    el.dataset.shown = state.frame
  }
  el.classList.add('faceanon')
  el.append(make('div', { class: 'controls' }, labelled('Frame, and what is true', pick)), grid)
  draw()
}

export default { render }
