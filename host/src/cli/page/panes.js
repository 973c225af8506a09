/* What is shown of a point: source, instructions, registers, calls, stack and memory. */

const by = id => document.getElementById(id);

/** An element with these properties and contents. */
function make(tag, properties, ...contents) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...contents);
  return element;
}

/** Scrolls a pane so that this part of it is seen, and nothing else. */
function reveal(pane, part) {
  const [top, height] = [part.offsetTop - pane.offsetTop, pane.clientHeight];
  if (top < pane.scrollTop + 20 || top > pane.scrollTop + height - 40) pane.scrollTop = top - height / 3;
}

class SourcePane {
  constructor(source) {
    this.source = source;
    this.file = null;
    for (const [index, file] of source.files.entries()) {
      if (file.lines) by('file').append(make('option', { value: index, textContent: file.name }));
    }
    by('file').addEventListener('change', () => this.show(Number(by('file').value)));
    by('source').addEventListener('click', event => {
      const row = event.target.closest('[data-line]');
      if (row) by('line-number').value = row.dataset.line;
    });
    const first = source.files.findIndex(file => file.lines);
    if (first < 0) by('source').textContent = 'There is no source in this page.';
    else this.show(first);
  }

  show(file) {
    if (this.file === file) return;
    this.file = file;
    by('file').value = file;
    by('source').replaceChildren(...this.source.files[file].lines.map((text, index) => {
      const hasCode = this.source.lines.has(file * LINES + index + 1);
      const number = make('span', { className: 'number', textContent: index + 1 });
      const row = make('div', { className: hasCode ? 'has-code' : '' }, number, text);
      row.dataset.line = index + 1;
      return row;
    }));
  }

  /** The line that is chosen: its number for the run. */
  get chosen() {
    const line = Number(by('line-number').value);
    return this.file === null || !Number.isInteger(line) || line < 1 ? null : this.file * LINES + line;
  }

  /** Marks the innermost of these calls that is in a file with source. */
  render(calls) {
    by('source').querySelector('.here')?.classList.remove('here');
    const lines = calls.map(address => this.source.lineAt(address));
    const here = lines.find(line => line && this.source.files[line.file].lines);
    if (!here) return;
    this.show(here.file);
    const row = by('source').children[here.line - 1];
    if (!row) return;
    row.classList.add('here');
    by('line-number').value = here.line;
    reveal(by('source'), row);
  }
}

class Panes {
  constructor(run, source) {
    this.run = run;
    this.source = source;
    this.sourcePane = new SourcePane(source);
    this.before = null;
    this.changedRegisters = new Set();
    this.address = null;
    const names = source.symbols.map(symbol => make('option', { value: symbol.name }));
    by('symbols').append(...names.slice(0, 5000));
  }

  render() {
    const [registers, calls] = [this.run.registers, this.run.calls];
    this.sourcePane.render(calls);
    this.renderCode(registers.eip);
    this.renderRegisters(registers);
    this.renderCalls(calls);
    this.renderStack(registers.esp);
    if (this.address === null) this.address = registers.esp;
    this.renderMemory();
    this.before = registers;
  }

  renderCode(eip) {
    const start = this.source.symbolAt(eip)?.start ?? eip;
    let instructions = this.run.instructions(start, 4096);
    let here = instructions.findIndex(instruction => instruction.address === eip);
    // The function's start does not lead here where there is data between.
    if (here < 0) [instructions, here] = [this.run.instructions(eip, 64), 0];
    const rows = [];
    let last = null;
    for (const { address, bytes, text } of instructions.slice(Math.max(here - 24, 0), here + 40)) {
      const place = this.source.placeAt(address);
      if (place && place !== last) rows.push(make('div', { className: 'line', textContent: place }));
      last = place;
      const row = make('div', {}, `${hex(address)}  ${text}`);
      row.title = bytes;
      if (address === eip) row.className = 'here';
      rows.push(row);
    }
    if (rows.length === 0) rows.push(make('div', { textContent: `${hex(eip)}  (no instruction)` }));
    by('code').replaceChildren(...rows);
    const row = by('code').querySelector('.here');
    if (row) reveal(by('code'), row);
  }

  renderRegisters(registers) {
    const isNew = name => this.before !== null && this.before[name] !== registers[name];
    by('registers').replaceChildren(...REGISTERS.map((name, index) => {
      const value = registers[name];
      const button = make('button', { type: 'button', textContent: 'who?', title: `go to the last write of ${name}` });
      button.dataset.register = index;
      return make('tr', {},
        make('td', { textContent: name }),
        make('td', { textContent: hex(value), className: isNew(name) ? 'changed' : '', id: `register-${name}` }),
        make('td', { textContent: value | 0, className: 'dim' }),
        make('td', {}, ...(name === 'eip' ? [] : [button])));
    }));
    const flags = [['CF', 0], ['PF', 2], ['AF', 4], ['ZF', 6], ['SF', 7], ['TF', 8], ['IF', 9], ['DF', 10], ['OF', 11]];
    by('flags').replaceChildren(...flags.map(([name, bit]) => {
      const isSet = (registers.eflags >>> bit & 1) === 1;
      const changed = this.before !== null && (this.before.eflags >>> bit & 1) !== (isSet ? 1 : 0);
      const className = `${isSet ? 'set' : ''} ${changed ? 'changed' : ''}`;
      return make('span', { className, textContent: `${name}=${isSet ? 1 : 0}` });
    }));
  }

  renderCalls(calls) {
    by('calls').replaceChildren(...calls.map(address =>
      make('li', {}, this.source.symbolAt(address)?.name ?? hex(address),
        make('span', { className: 'dim', textContent: ` ${this.source.placeAt(address)}` }))));
  }

  renderStack(esp) {
    const bytes = this.run.memory(esp, 48);
    const data = new DataView(bytes.buffer);
    const words = Array.from({ length: bytes.length >> 2 }, (_, index) => data.getUint32(4 * index, true));
    by('stack').replaceChildren(...words.map((word, index) => make('tr', {},
      make('td', { className: 'dim', textContent: hex(esp + 4 * index) }),
      make('td', { textContent: hex(word) }),
      make('td', { textContent: word > 0 ? this.source.nameAt(word) : '' }))));
  }

  /** The address in the field: a number, a register or a symbol. Nothing if it is none of them. */
  addressOf(text) {
    const word = text.trim();
    const index = REGISTERS.indexOf(word.toLowerCase());
    if (index >= 0) return this.run.registers[REGISTERS[index]];
    if (/^(0x)?[0-9a-f]{1,8}$/i.test(word)) return parseInt(word.replace(/^0x/i, ''), 16);
    return this.source.symbols.find(symbol => symbol.name === word)?.start ?? null;
  }

  renderMemory() {
    const { heapEnd, stackStart, ramEnd } = this.run.place;
    const start = Math.max(0, (this.address & ~15) >>> 0);
    const bytes = this.run.memory(start, 256);
    by('address').value = '0x' + hex(this.address);
    const rows = [];
    for (let at = 0; at < bytes.length; at += 16) {
      const row = make('div', {}, make('span', { className: 'dim', textContent: hex(start + at) + '  ' }));
      const part = bytes.slice(at, at + 16);
      for (const [index, byte] of part.entries()) {
        const cell = make('span', { className: 'byte', textContent: hex(byte, 2) });
        cell.dataset.address = start + at + index;
        if (start + at + index === this.address) cell.classList.add('chosen');
        row.append(cell, ' ');
      }
      row.append(' ' + Array.from(part, byte => byte > 31 && byte < 127 ? String.fromCharCode(byte) : '.').join(''));
      const end = start + at;
      const what = end >= stackStart ? 'stack' : end >= heapEnd ? 'guard' : this.source.nameAt(end);
      row.append(make('span', { className: 'dim', textContent: `  ${what}` }));
      rows.push(row);
    }
    if (rows.length === 0) rows.push(make('div', { textContent: `RAM ends at ${hex(ramEnd)}.` }));
    by('memory').replaceChildren(...rows);
  }
}

