/* The program's names, lines and sources. */

/** More lines than a file has. */
const LINES = 1 << 20;

const hex = (value, digits = 8) => value.toString(16).padStart(digits, '0');

class Source {
  static async load() {
    return new Source(JSON.parse(new TextDecoder().decode(await unpacked('names'))));
  }

  constructor({ title, files, rows, symbols }) {
    this.title = title;
    this.files = files.map(([name, text]) => ({ name, lines: text === null ? null : text.split('\n') }));
    this.rows = [];
    for (let at = 0; at + 3 < rows.length; at += 4) {
      const [start, end, file, line] = rows.slice(at, at + 4);
      if (file < 2048 && line < LINES) this.rows.push([start, end, file * LINES + line]);
    }
    this.symbols = symbols.map(([start, size, isCode, name]) => ({ start, size, isCode: isCode === 1, name }));
    this.symbols.sort((a, b) => a.start - b.start);
    this.lines = new Set(this.rows.map(row => row[2]));
  }

  get functions() {
    return this.symbols.filter(symbol => symbol.isCode).map(symbol => symbol.start);
  }

  /** The last one that begins at this address or before it. */
  static last(sorted, address, start) {
    let [low, high] = [0, sorted.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (start(sorted[middle]) <= address) low = middle + 1;
      else high = middle;
    }
    return sorted[low - 1];
  }

  /** The number of the line, the file's and the line in it. */
  lineAt(address) {
    const row = Source.last(this.rows, address, row => row[0]);
    if (!row || address >= row[1]) return null;
    return { number: row[2], file: Math.floor(row[2] / LINES), line: row[2] % LINES };
  }

  symbolAt(address) {
    const symbol = Source.last(this.symbols, address, symbol => symbol.start);
    return symbol && address < symbol.start + symbol.size ? symbol : null;
  }

  /** Such as `main+4`, or nothing. */
  nameAt(address) {
    const symbol = this.symbolAt(address);
    if (!symbol) return '';
    return symbol.start === address ? symbol.name : `${symbol.name}+${address - symbol.start}`;
  }

  placeAt(address) {
    const line = this.lineAt(address);
    return line ? `${this.files[line.file].name}:${line.line}` : '';
  }
}

