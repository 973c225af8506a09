/* The page: opens the run, and connects what is clicked and typed to it. */

/** How many instructions are executed before the page may draw. */
const PART = 4000000;

const pause = () => new Promise(done => setTimeout(done, 0));

function fail(error) {
  const words = error instanceof Problem ? error.message : `the page has failed (${error.message}): record the run again, or report it`;
  by('problem').textContent = words;
  by('problem').hidden = false;
  by('ending').textContent = '';
  by('opening').hidden = true;
  by('main').hidden = true;
}

class Page {
  constructor(run, source) {
    this.run = run;
    this.place = run.place;
    this.panes = new Panes(run, source);
    this.console = new Console(run.transfers);
    this.chart = new Chart(source, run.samples, this.console, this.place);
    const { beginning, end } = this.place;
    Object.assign(by('slider'), { min: beginning, max: end });
    by('of').textContent = `of ${end}`;
    this.connect();
  }

  /** Does something to the run, and shows what that comes to. `isJump` makes the browser's own back button undo it. */
  act(what, { isJump = false, otherwise = '' } = {}) {
    try {
      by('said').textContent = '';
      if (what() === false) by('said').textContent = otherwise;
      this.render(isJump);
    } catch (error) {
      fail(error);
    }
  }

  render(isJump) {
    const { position } = this.run.place;
    this.position = position;
    by('slider').value = position;
    by('at').value = position;
    this.panes.render();
    this.console.render(position);
    this.chart.render(position);
    this.bookmark(isJump);
  }

  /**
   * Writes the position to the address once the moves pause: a browser takes no more than 200 changes in ten seconds, and
   * keeps an older one after that.
   */
  bookmark(isJump) {
    this.jumped ||= isJump;
    clearTimeout(this.bookmarking);
    this.bookmarking = setTimeout(() => {
      const bookmark = `#i=${this.position}`;
      if (location.hash !== bookmark) history[this.jumped ? 'pushState' : 'replaceState'](null, '', bookmark);
      this.jumped = false;
    }, 100);
  }

  /** Goes to the bookmark in the address, or else to the beginning. */
  goToBookmark() {
    const found = /^#i=(\d{1,15})$/.exec(location.hash);
    this.act(() => this.run.goTo(found ? Number(found[1]) : this.place.beginning));
  }

  connect() {
    const { run, place } = this;
    const actions = {
      start: [() => run.goTo(place.beginning), ''],
      end: [() => run.goTo(place.end), ''],
      step: [() => run.move('step'), 'This is the end.'],
      back: [() => run.move('back'), 'This is the beginning.'],
      line: [() => run.move('line'), 'The run ends before another line.'],
      'line-back': [() => run.move('lineBack'), 'There is no line before.'],
      out: [() => run.move('out'), 'The run ends before that.'],
      'out-back': [() => run.move('outBack'), 'No call led here.'],
      'to-line': [() => this.toLine(false), 'The run does not come there again.'],
      'to-line-back': [() => this.toLine(true), 'The run was not there before.'],
      byte: [() => this.toByte(false), 'No byte comes after this.'],
      'byte-back': [() => this.toByte(true), 'No byte came before this.'],
      who: [() => this.whoWrote(), 'Nobody wrote that before.'],
    };
    const jumps = new Set(['start', 'end', 'to-line', 'to-line-back', 'byte', 'byte-back', 'who']);
    this.press = id => this.act(actions[id][0], { isJump: jumps.has(id), otherwise: actions[id][1] });
    for (const id of Object.keys(actions)) by(id).addEventListener('click', () => this.press(id));

    by('slider').addEventListener('input', () => this.act(() => run.goTo(Number(by('slider').value))));
    by('go').addEventListener('submit', event => {
      event.preventDefault();
      const count = Number(by('at').value);
      if (Number.isSafeInteger(count) && count >= 0) this.act(() => run.goTo(count), { isJump: true });
      else by('said').textContent = 'Give a whole number.';
    });
    by('chart').addEventListener('click', event => {
      const part = event.offsetX / by('chart').clientWidth;
      this.act(() => run.goTo(this.chart.countAt(part)), { isJump: true });
    });
    by('registers').addEventListener('click', event => {
      const { register } = event.target.dataset;
      if (register === undefined) return;
      this.act(() => run.whoWroteRegister(Number(register)), { isJump: true, otherwise: 'Nobody wrote that before.' });
    });
    by('console').addEventListener('click', event => {
      const { byte } = event.target.dataset;
      if (byte !== undefined) this.act(() => run.goTo(this.console.bytes[byte].before), { isJump: true });
    });
    by('memory').addEventListener('click', event => {
      const { address } = event.target.dataset;
      if (address !== undefined) this.show(Number(address));
    });
    by('look').addEventListener('submit', event => {
      event.preventDefault();
      const address = this.panes.addressOf(by('address').value);
      if (address === null) by('said').textContent = 'There is no such address or name.';
      else this.show(address);
    });
    window.addEventListener('hashchange', () => this.goToBookmark());
    window.addEventListener('resize', () => this.chart.render(this.position));
    window.addEventListener('keydown', event => this.key(event));
  }

  key(event) {
    if (event.target.closest('input, select') || event.ctrlKey || event.altKey || event.metaKey) return;
    const keys = {
      ArrowLeft: 'back', ArrowRight: 'step', ArrowUp: 'line-back', ArrowDown: 'line', Home: 'start', End: 'end',
      u: 'out-back', o: 'out',
    };
    if (!(event.key in keys)) return;
    event.preventDefault();
    this.press(keys[event.key]);
  }

  show(address) {
    this.panes.address = address;
    by('said').textContent = '';
    this.panes.renderMemory();
  }

  toLine(isBack) {
    const line = this.panes.sourcePane.chosen;
    return line !== null && this.run.toLine(line, isBack);
  }

  toByte(isBack) {
    const count = this.console.neighbour(this.position, isBack);
    if (count === null) return false;
    this.run.goTo(count);
    return true;
  }

  whoWrote() {
    const address = this.panes.addressOf(by('address').value);
    if (address === null) return false;
    this.panes.address = address;
    return this.run.whoWrote(address, 1);
  }
}

async function open() {
  const [run, source, recording] = await Promise.all([Run.load(), Source.load(), unpacked('recording')]);
  by('title').textContent = document.title = source.title;
  run.open(recording, source.rows, source.functions);
  let isStopped = false;
  by('stop').addEventListener('click', () => { isStopped = true; });
  while (!run.execute(PART) && !isStopped) {
    by('ending').textContent = `opening: ${run.place.end} instructions so far`;
    by('opening').hidden = false;
    await pause();
  }
  by('opening').hidden = true;
  by('ending').textContent = run.ending ?? 'stopped here: the run went on';
  by('main').hidden = false;
  new Page(run, source).goToBookmark();
  document.body.dataset.ready = 'yes';
}

open().catch(fail);
