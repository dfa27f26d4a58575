// Controls over pages that were drawn in advance, one for each place of the controls.

function render({ model, el }) {
  const { controls, pages, pictures, note } = model.get('data'), at = controls.map(control => control.start)
  const page = make('div', { class: 'recorded' })
  function show() {
    const place = controls.reduce((before, { options }, i) => before * options.length + at[i], 0)
    page.innerHTML = pages[place].replace(/src="#(\d+)"/g, (_, n) => `src="${pictures[n]}"`)
    el.dataset.shown = at.join(',')
  }
  const rows = controls.map(({ name, options, slider: line }, i) => {
    const turn = value => { at[i] = value; show() }
    if (options.length < 2) return null
    if (line) return slider(name, { max: options.length - 1, value: at[i], say: n => options[n] }, turn).row
    const pick = select(options.map((text, n) => [n, text]), () => turn(Number(pick.value)))
    pick.value = at[i]
    return labelled(name, pick)
  })
  el.classList.add('faceanon')
  el.append(make('div', { class: 'controls' }, rows.filter(row => row !== null)), page, make('p', { class: 'note' }, note))
  show()
}

export default { render }
