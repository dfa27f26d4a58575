// Small helpers that every part of the page puts before its own text.

// An element with attributes and children; `on...` attributes are listeners, null leaves an attribute out.
function make(tag, attributes = {}, ...children) {
  const drawn = ['svg', 'g', 'path', 'circle', 'line', 'text', 'rect', 'title'].includes(tag)
  const node = drawn ? document.createElementNS('http://www.w3.org/2000/svg', tag) : document.createElement(tag)
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith('on')) node.addEventListener(name.slice(2), value)
    else if (value !== null && value !== false) node.setAttribute(name, value === true ? '' : value)
  }
  node.append(...children.flat().filter(child => child !== null))
  return node
}

let madeIds = 0

// A named control: the label is bound to it, so a click on the name works and a screen reader says it.
function labelled(name, control, ...after) {
  control.id = control.id || `control-${madeIds++}`
  return make('div', { class: 'control' }, make('label', { for: control.id }, name), control, ...after)
}

function select(options, onchange) {
  return make('select', { onchange }, options.map(([value, text]) => make('option', { value }, text)))
}

// `now` is what stands beside the slider.
function slider(name, { min = 0, max, step = 1, value, say = String }, oninput) {
  const now = make('output', {}, say(value))
  const control = make('input', { type: 'range', min, max, step, value, oninput: () => {
    now.textContent = say(Number(control.value))
    control.setAttribute('aria-valuetext', now.textContent)
    oninput(Number(control.value))
  } })
  control.setAttribute('aria-valuetext', now.textContent)
  return { control, row: labelled(name, control, now), set(value) {
    control.value = value
    now.textContent = say(Number(control.value))
    control.setAttribute('aria-valuetext', now.textContent)
  } }
}

const percent = share => `${Math.round(100 * share)} %`

// A frame with boxes in per cent of its size, so that they stay in place at every width.
function framed(picture, boxes, size, alt) {
  const part = value => `${(100 * value / size).toFixed(2)}%`
  return make('div', { class: 'frame' }, make('img', { src: picture, alt }), boxes.map(({ box, label, score }) => {
    const place = `left:${part(box[0])};top:${part(box[1])};width:${part(box[2] - box[0])};height:${part(box[3] - box[1])}`
    return make('div', { class: 'box', style: place }, make('span', {}, score === undefined ? label : `${label} ${score.toFixed(2)}`))
  }))
}
