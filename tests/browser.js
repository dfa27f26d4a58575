// What the browser test asks of an open notebook. Pictures, text and drawings are compared, never controls: a slider
// whose handle is all that moves is a dead one.
window.asked = (() => {
  const KINDS = {
    slider: '.widget-slider .noUi-handle',
    dropdown: '.widget-dropdown select',
    list: '.widget-select select',
    radio: '.widget-radio',
    'toggle buttons': '.widget-toggle-buttons',
    toggle: 'button.widget-toggle-button',
    button: 'button.widget-button',
    checkbox: '.widget-checkbox input',
    play: '.widget-play',
    number: '.widget-text input[type=number]',
    text: '.widget-text input:not([type=number]), .widget-textarea textarea',
    colour: '.widget-colorpicker input[type=text]',
    tab: '.widget-tab .lm-TabBar-tab',
    fold: '.jupyter-widget-Collapse-header',
    'plain slider': '.faceanon input[type=range]',  // of widgets that play in the site too
    'plain dropdown': '.faceanon select',
    'plain button': '.faceanon button',
  };
  const ROOTS = '.widget-slider, .widget-dropdown, .widget-select, .widget-radio, .widget-toggle-buttons, ' +
    '.widget-toggle-button, .widget-button, .widget-checkbox, .widget-play, .widget-text, .widget-textarea, ' +
    '.widget-colorpicker, .widget-tab-bar, .jupyter-widget-Collapse-header, .faceanon .control, .faceanon button';
  const BARE = 'input, select, textarea, button, [contenteditable=true]';
  const POLL = 100;  // ms between two looks; nothing is decided by it
  const SAME = 3;  // looks in a row that show the same, each after the kernel has answered: nothing moves
  const RESTLESS = 60;  // looks that never show the same so often in a row: it moves by itself
  const heard = {said: []};
  const pictures = new Map();  // address of a picture -> hash of its bytes

  const sleep = ms => new Promise(done => setTimeout(done, ms));
  const panel = () => jupyterapp.shell.currentWidget;
  const kernel = () => panel()?.sessionContext?.session?.kernel;
  const seen = element => element.checkVisibility({visibilityProperty: true});
  const widgetAreas = () => [...document.querySelectorAll('.jp-Cell-outputArea')]
    .filter(area => area.querySelector('.jupyter-widgets, .widget-radio, .widget-toggle-buttons'));

  function hash(text) {  // cyrb53
    let a = 0xdeadbeef, b = 0x41c6ce57;
    for (let i = 0; i < text.length; i++) {
      const c = text.charCodeAt(i);
      a = Math.imul(a ^ c, 2654435761); b = Math.imul(b ^ c, 1597334677);
    }
    a = Math.imul(a ^ (a >>> 16), 2246822507) ^ Math.imul(b ^ (b >>> 13), 3266489909);
    b = Math.imul(b ^ (b >>> 16), 2246822507) ^ Math.imul(a ^ (a >>> 13), 3266489909);
    return 4294967296 * (2097151 & b) + (a >>> 0);
  }

  async function picture(image) {
    const address = image.src;
    if (!address.startsWith('blob:')) return hash(address);
    if (!pictures.has(address)) {  // an image widget takes a fresh address even for the same bytes
      try {
        const bytes = new Uint8Array(await (await fetch(address)).arrayBuffer());
        pictures.set(address, hash(new TextDecoder('latin1').decode(bytes)));
      } catch { return 'on its way'; }
    }
    return pictures.get(address);
  }

  async function look(node, withControls, into) {
    if (node.nodeType === Node.TEXT_NODE) { into.push(node.data); return; }
    if (node.nodeType !== Node.ELEMENT_NODE || !seen(node) || node.matches('.jp-OutputPrompt')) return;
    if (!withControls && node.matches(ROOTS)) return;
    if (node.matches('img')) { into.push(await picture(node)); return; }
    if (node.matches('canvas')) { into.push(hash(node.toDataURL())); return; }
    if (node.matches('svg')) { into.push(node.outerHTML); return; }
    // the layout of Lumino's own boxes flickers while an output is replaced
    if (!node.matches('.lm-Widget')) into.push(node.tagName, node.getAttribute('style') ?? '');
    for (const child of node.childNodes) await look(child, withControls, into);
  }

  async function signature(area, withControls) {
    const parts = [];
    await look(widgetAreas()[area], withControls, parts);
    return hash(parts.join('\u0001'));
  }

  function labelOf(kind, element, root) {
    const label = root.querySelector('.widget-label, :scope > label')?.innerText.replace(/\u200b/g, '').trim();
    const icon = root.querySelector('i')?.className;
    const handles = kind === 'slider' ? [...root.querySelectorAll('.noUi-handle')] : [];
    const end = handles.length > 1 ? ` (${['lower', 'upper'][handles.indexOf(element)]})` : '';
    const own = ['button', 'plain button', 'toggle', 'tab', 'fold', 'checkbox'].includes(kind)
      ? (kind === 'checkbox' ? root : element).innerText.replace(/\u200b/g, '').trim() : '';
    return (label || own || element.title || root.title || icon || '').replace(/\s+/g, ' ') + end;
  }

  function enabled(kind, element, root) {
    if (kind === 'slider') return !root.querySelector('.slider').hasAttribute('disabled');
    if (kind.startsWith('plain')) return !element.disabled;
    if (kind === 'tab') return element.getAttribute('aria-selected') !== 'true';  // the open one has nothing to open
    const parts = element.matches(BARE) ? [element] : [...root.querySelectorAll(BARE)];
    return parts.length === 0 || parts.some(part => !part.disabled);
  }

  // How many choices a control has of which some may hide, free or silence other controls.
  function choicesOf(kind, element, root) {
    if (kind.endsWith('dropdown')) return element.options.length;
    if (kind === 'radio') return root.querySelectorAll('input').length;
    if (kind === 'toggle buttons') return root.querySelectorAll('button').length;
    return ['toggle', 'checkbox'].includes(kind) ? 2 : 1;
  }

  // Every control of every widget area, in the order of the page, each marked so that the test can touch it.
  function controls() {
    const found = [];
    widgetAreas().forEach((area, index) => {
      const counts = {};
      const everything = [...area.querySelectorAll([...Object.values(KINDS), BARE].join(', '))];
      for (const element of everything) {
        const root = element.closest(ROOTS);
        const kind = Object.keys(KINDS).find(k => element.matches(KINDS[k]));
        const inside = root && (!kind || (kind === 'toggle' && element.closest('.widget-toggle-buttons')));
        if (inside) continue;
        const name = kind ?? 'unknown';  // may be dead or alive: the test must learn it first
        const label = kind ? labelOf(kind, element, root) : [element.tagName.toLowerCase(), element.type].filter(Boolean).join(' ');
        const plain = `${name} '${label.replace(/[\d.]+/g, '#')}'`;
        counts[plain] = (counts[plain] ?? 0) + 1;
        const key = `widget ${index + 1}: ${plain}` + (counts[plain] > 1 ? ` no. ${counts[plain]}` : '');
        element.setAttribute('data-under-test', key);
        found.push({key, kind: name, area: index, visible: seen(kind === 'slider' ? root : element), choices: root ? choicesOf(kind, element, root) : 1,
                    enabled: !!kind && enabled(kind, element, root)});
      }
    });
    return found;
  }

  // Two frames, and whatever picture is on its way.
  async function drawn() {
    for (let i = 0; i < 2; i++) await new Promise(done => requestAnimationFrame(done));
    await Promise.all([...document.querySelectorAll('.jp-Notebook img')].filter(image => !image.complete)
      .map(image => image.decode().catch(() => null)));
  }

  // The kernel takes messages in their order, so its answer to this question comes after everything that an earlier
  // message made it do and say. 'late' where it does not come within `limit` ms.
  async function answered(limit) {
    const answer = kernel().requestKernelInfo().then(drawn).then(() => 'answered');
    return Promise.race([answer, sleep(limit).then(() => 'late')]);
  }

  // Whether a widget says that it is at work: what runs by itself offers to pause or to stop.
  const atWork = area => [...widgetAreas()[area].querySelectorAll('button')].some(button => seen(button) &&
    !button.disabled && (/\b(pause|stop)\b/i.test(button.innerText) || button.matches('.widget-play *') && button.querySelector('.fa-pause')));

  // Waits till several looks in a row show the same and no widget is at work.
  // 'moving': it never shows the same. 'busy': kernel or widget did not finish within `limit` ms.
  async function settle(area, limit) {
    const start = performance.now();
    let last = await signature(area, true), same = 0;
    for (let looks = 0; performance.now() - start < limit; looks++) {
      if (await answered(limit) === 'late') return 'busy';
      const now = await signature(area, true);
      if (atWork(area)) looks = 0;
      same = now === last && !atWork(area) ? same + 1 : 0;
      last = now;
      if (same >= SAME) return 'still';
      if (looks >= RESTLESS) return 'moving';
      await sleep(POLL);
    }
    return 'busy';
  }

  // Whether what is seen differs from `before`; gives up when the kernel has answered several times with nothing changed
  // and no widget at work.
  async function changed(area, before, withControls, limit) {
    const start = performance.now();
    let same = 0;
    while (performance.now() - start < limit) {
      if (await signature(area, withControls) !== before) return true;
      if (await answered(limit) === 'late') return false;
      if (await signature(area, withControls) !== before) return true;
      same = atWork(area) ? 0 : same + 1;
      if (same >= SAME) return false;
      await sleep(POLL);
    }
    return false;
  }

  // Errors and stderr of the kernel, those of callbacks too, which JupyterLab shows in its log only.
  function listen() {
    kernel().iopubMessage.connect((_, message) => {
      const {content, header} = message;
      if (header.msg_type === 'error') heard.said.push(`error: ${content.ename}: ${content.evalue}`);
      if (header.msg_type === 'stream' && content.name === 'stderr') heard.said.push(`stderr: ${content.text.trim()}`);
    });
  }

  const ready = () => window.jupyterapp && kernel()?.status === 'idle' && panel().content?.model?.cells.length > 0;
  const runAll = limit => Promise.race([
    jupyterapp.commands.execute('notebook:run-all-cells').then(() => 'done'), sleep(limit).then(() => 'late')]);

  // One kernel for many notebooks: starting one and importing PyTorch takes longer than most notebooks do. Each begins
  // without names and without widgets; that it brings its own imports is tested where every notebook has a process.
  let held = null;
  const quietly = code => kernel().requestExecute({code, silent: true}).done;
  async function open(path) {
    const kernelOf = held ? {id: held} : {name: 'python3'};
    await jupyterapp.commands.execute('docmanager:open', {path, factory: 'Notebook', kernel: kernelOf});
    await panel().context.ready;
    await panel().sessionContext.ready;
    held = kernel().id;
    heard.said = [];
    const folder = JSON.stringify(path.split('/').slice(0, -1).join('/'));
    await quietly(`(lambda os: os.chdir(os.path.join(os.environ['FACEANON_OUT'], ${folder})))(__import__('os'))`);
  }

  // `keep`: the next notebook gets the same kernel. One that does not come to an end is not kept.
  async function close(keep, limit) {
    const code = "__import__('ipywidgets').Widget.close_all(); get_ipython().run_line_magic('reset', '-f')";
    keep = keep && await Promise.race([quietly(code).then(() => true), sleep(limit).then(() => false)]);
    if (!keep) {
      await jupyterapp.serviceManager.kernels.shutdown(held);
      held = null;
    }
    const context = panel().context;
    panel().dispose();
    if (!context.isDisposed) context.dispose();
  }
  const saidByKernel = () => heard.said.splice(0);
  const outputs = () => [...document.querySelectorAll('.jp-Cell-outputArea')].map(area => area.innerText);
  const broken = () => [...document.querySelectorAll('.jp-Notebook img')]
    .filter(image => seen(image) && image.complete && image.naturalWidth === 0)
    .map(image => image.src.slice(0, 120) || image.outerHTML.slice(0, 120));
  const height = () => Math.max(...[...document.querySelectorAll('.jp-Notebook, .jp-WindowedPanel-outer')]
    .map(element => element.scrollHeight));

  const top = () => document.querySelectorAll('.jp-Notebook, .jp-WindowedPanel-outer').forEach(e => { e.scrollTop = 0; });

  return {open, top, ready, drawn, listen, runAll, close, saidByKernel, outputs, broken, height, controls, signature, settle, changed,
          widgets: () => widgetAreas().length};
})();
