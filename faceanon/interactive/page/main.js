// Puts the parts into the page. Tests and the curious find `faceanon` in the console.

const place = id => document.querySelector(`#${id} .widget`)
const modelOf = data => ({ get: () => data })

async function start() {
  const data = JSON.parse(await unpackText('data'))
  for (const [id, widget, part] of [['game', gameWidget, data.stories], ['frontier', frontierWidget, data.frontier], ['frames', framesWidget, data.frames]]) {
    widget.render({ model: modelOf(part), el: place(id) })
  }
  if (!document.getElementById('part-runtime')) {
    for (const id of ['face', 'guess']) place(id).replaceChildren(make('p', { class: 'missing' }, data.missing))
    return { data }
  }
  const run = await openNetworks(['ours-encoder', 'ours-decoder', 'paper-encoder', 'paper-decoder', 'verifier'])
  const anonymizers = Object.fromEntries(Object.entries(data.networks).map(([name, about]) => [name, openAnonymizer(run, name, about)]))
  for (const [id, mount] of [['face', mountFace], ['guess', mountGuess]]) {
    place(id).replaceChildren()
    await mount({ data, anonymizers, run, el: place(id) })
  }
  return { data, anonymizers, recognize: faces => recognize(run, faces), HAND_MADE }
}

window.faceanon = start()
window.faceanon.then(() => document.body.dataset.ready = 'yes', error => {
  for (const id of ['face', 'guess']) place(id).replaceChildren(make('p', { class: 'missing' }, `This browser cannot run the networks: ${error.message}`))
  throw error
})
