// Networks inside the page: packed parts become bytes, bytes become sessions of onnxruntime-web. Nothing is fetched.

const SIZE = 40, PIXELS = SIZE * SIZE

// Seven bits a letter; four letters that HTML would change or end on stand behind an escape.
function bytesOfText(text, count) {
  const bytes = new Uint8Array(count)
  let held = 0, bits = 0, at = 0
  for (let i = 0; i < text.length && at < count; i++) {
    let value = text.charCodeAt(i)
    if (value === 27) value = text.charCodeAt(++i) - 64
    held = (held << 7) | value
    bits += 7
    if (bits >= 8) { bits -= 8; bytes[at++] = held >> bits; held &= (1 << bits) - 1 }
  }
  return bytes
}

// Floats are packed with all their first bytes together, then all second ones: equal things compress side by side.
function unshuffled(bytes) {
  const quarter = bytes.length / 4, whole = new Uint8Array(bytes.length)
  for (let i = 0; i < quarter; i++) for (let plane = 0; plane < 4; plane++) whole[4 * i + plane] = bytes[plane * quarter + i]
  return whole
}

async function unpack(name) {
  const node = document.getElementById(`part-${name}`)
  const packed = bytesOfText(node.textContent, Number(node.dataset.packed))
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream('gzip'))
  const bytes = new Uint8Array(await new Response(stream).arrayBuffer())
  node.remove()  // its text is several megabytes
  return (node.dataset.shuffled ? unshuffled(bytes) : bytes).subarray(0, Number(node.dataset.bytes))
}

const unpackText = async name => new TextDecoder().decode(await unpack(name))

async function openNetworks(names) {
  const script = URL.createObjectURL(new Blob([await unpackText('runtime')], { type: 'text/javascript' }))
  const ort = await import(script)
  URL.revokeObjectURL(script)
  Object.assign(ort.env.wasm, { numThreads: 1, wasmBinary: await unpack('wasm') })
  const sessions = {}
  for (const name of names) sessions[name] = await ort.InferenceSession.create(await unpack(name))
  // Every network here takes one tensor; `shape` without the number of faces.
  return async function run(name, values, shape) {
    const count = values.length / shape.reduce((a, b) => a * b, 1)
    const session = sessions[name]
    const found = await session.run({ [session.inputNames[0]]: new ort.Tensor('float32', values, [count, ...shape]) })
    return Object.fromEntries(session.outputNames.map(key => [key, found[key].data]))
  }
}

// Standard normal numbers from a seed, so that a picture can be shown twice: mulberry32, then Box and Muller.
function normalNumbers(count, seed) {
  let state = seed >>> 0
  const uniform = () => {
    state = (state + 0x6D2B79F5) >>> 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296
  }
  return Float32Array.from({ length: count }, () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform()))
}

const freshSeed = () => crypto.getRandomValues(new Uint32Array(1))[0]

// Pixels of a canvas as a face: three planes in [0, 1].
function faceOfPixels(rgba) {
  const face = new Float32Array(3 * PIXELS)
  for (let i = 0; i < PIXELS; i++) for (let c = 0; c < 3; c++) face[c * PIXELS + i] = rgba[4 * i + c] / 255
  return face
}

function drawFace(canvas, face) {
  const image = new ImageData(SIZE, SIZE)
  for (let i = 0; i < PIXELS; i++) {
    for (let c = 0; c < 3; c++) image.data[4 * i + c] = Math.round(255 * face[c * PIXELS + i])
    image.data[4 * i + 3] = 255
  }
  canvas.getContext('2d').putImageData(image, 0, 0)
}

async function openSheet(url, size) {
  const image = new Image()
  image.src = url
  await image.decode()
  const canvas = make('canvas', { width: image.width, height: image.height }), context = canvas.getContext('2d', { willReadFrequently: true })
  context.drawImage(image, 0, 0)
  return (row, column) => faceOfPixels(context.getImageData(size * column, size * row, size, size).data)
}

// Antialiased bilinear resizing of one side, as PyTorch does it: a triangle as wide as the step between pixels.
function resizeWeights(from, to) {
  const step = from / to, wide = Math.max(step, 1)
  return Array.from({ length: to }, (_, i) => {
    const row = Array.from({ length: from }, (_, j) => Math.max(0, 1 - Math.abs(j + .5 - (i + .5) * step) / wide))
    const sum = row.reduce((a, b) => a + b)
    return row.map(weight => weight / sum)
  })
}

function resizePlane(plane, from, to) {
  const weights = resizeWeights(from, to), rows = new Float32Array(from * to), out = new Float32Array(to * to)
  for (let y = 0; y < from; y++) for (let x = 0; x < to; x++) for (let j = 0; j < from; j++) rows[y * to + x] += weights[x][j] * plane[y * from + j]
  for (let y = 0; y < to; y++) for (let x = 0; x < to; x++) for (let j = 0; j < from; j++) out[y * to + x] += weights[y][j] * rows[j * to + x]
  return out
}

function byPlane(face, change) {
  const out = new Float32Array(face.length)
  for (let c = 0; c < 3; c++) out.set(change(face.subarray(c * PIXELS, (c + 1) * PIXELS)), c * PIXELS)
  return out
}

const TILES = 8
const HAND_MADE = {
  mask: face => new Float32Array(face.length),
  blur: face => byPlane(face, plane => resizePlane(resizePlane(plane, SIZE, TILES), TILES, SIZE)),
  pixelate: face => byPlane(face, plane => {
    const small = resizePlane(plane, SIZE, TILES)
    return Float32Array.from({ length: PIXELS }, (_, i) => small[Math.floor(Math.floor(i / SIZE) * TILES / SIZE) * TILES + Math.floor((i % SIZE) * TILES / SIZE)])
  }),
}

// M with its channel in the page's hands: gains silence channels of the code, strength turns the noise.
function openAnonymizer(run, name, { shape, noise }) {
  const [channels, ...map] = shape, places = map.reduce((a, b) => a * b, 1), count = channels * places
  return {
    channels, count,
    encode: async faces => (await run(`${name}-encoder`, faces, [3, SIZE, SIZE])).code,
    decode: async code => (await run(`${name}-decoder`, code, shape)).anonymized,
    channel: (code, epsilon, { strength = 1, gains = null } = {}) =>
      code.map((value, i) => value * (gains ? gains[Math.floor(i % count / places)] : 1) + strength * noise * epsilon[i]),
    async anonymize(faces, epsilon, dials) { return this.decode(this.channel(await this.encode(faces), epsilon, dials)) },
  }
}

function cosine(a, b) {
  let ab = 0, aa = 0, bb = 0
  for (let i = 0; i < a.length; i++) { ab += a[i] * b[i]; aa += a[i] * a[i]; bb += b[i] * b[i] }
  return ab / Math.sqrt(aa * bb || 1)
}

function likeliest(logits, count) {
  const top = Math.max(...logits), powers = Array.from(logits, v => Math.exp(v - top)), sum = powers.reduce((a, b) => a + b)
  return powers.map((p, i) => [i, p / sum]).sort((a, b) => b[1] - a[1]).slice(0, count)
}

// The verifier on several faces: for each its embedding and its best names.
async function recognize(run, faces) {
  const joined = new Float32Array(faces.length * 3 * PIXELS)
  faces.forEach((face, i) => joined.set(face, i * 3 * PIXELS))
  const { embeddings, logits } = await run('verifier', joined, [3, SIZE, SIZE])
  const part = (values, i) => values.subarray(i * values.length / faces.length, (i + 1) * values.length / faces.length)
  return faces.map((_, i) => ({ embedding: part(embeddings, i), names: likeliest(part(logits, i), 2) }))
}
