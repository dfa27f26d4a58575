// Browsers start no Worker for a page that lies on the disk, and the search runs in one.
// A hidden frame that loads the same script takes its place.
if (location.protocol === 'file:') {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super()
      const frame = document.createElement('iframe')
      frame.hidden = true
      document.body.append(frame)
      this.frame = frame.contentWindow
      this.frame.document.open()
      this.frame.document.write('<!doctype html><title>worker</title><body></body>')
      this.frame.document.close()
      this.frame.postMessage = data => this.dispatchEvent(new MessageEvent('message', {data}))
      const script = this.frame.document.createElement('script')
      this.ready = new Promise((loaded, failed) => { script.onload = loaded; script.onerror = failed })
      script.src = new URL(url, document.baseURI)
      this.frame.document.body.append(script)
    }
    postMessage(data) {
      this.ready.then(() => this.frame.dispatchEvent(new this.frame.MessageEvent('message', {data})))
    }
    terminate() { this.frame.frameElement.remove() }
  }
}
