/* What the guest read and sent, a byte at a time: each leads to the instruction that transferred it. */

const CONSOLE = 0xe9;
const DIAGNOSTICS = 0xea;

/** How many bytes are shown before and behind the point. */
const SHOWN = 1500;

class Console {
  constructor(transfers) {
    this.bytes = transfers.filter(transfer => transfer.port === CONSOLE || transfer.port === DIAGNOSTICS);
    if (this.bytes.length === 0) by('console').textContent = 'The guest read and sent nothing.';
  }

  /** The number of bytes before this point. */
  before(position) {
    const last = Source.last(this.bytes.map((_, index) => index), position - 1, index => this.bytes[index].before);
    return last === undefined ? 0 : last + 1;
  }

  render(position) {
    if (this.bytes.length === 0) return;
    const now = this.before(position);
    const from = Math.max(now - SHOWN, 0);
    const shown = this.bytes.slice(from, now + SHOWN);
    const spans = shown.map(({ byte, isSent, before }, index) => {
      const isText = byte === 10 || (byte > 31 && byte < 127);
      const text = isText ? String.fromCharCode(byte) : `\\x${hex(byte, 2)}`;
      const span = make('span', { className: isSent ? 'sent' : 'read', textContent: text });
      if (from + index >= now) span.classList.add('later');
      if (before === position) span.classList.add('here');
      span.dataset.byte = from + index;
      return span;
    });
    const cut = from > 0 ? [make('span', { className: 'dim', textContent: `(${from} bytes before) ` })] : [];
    by('console').replaceChildren(...cut, ...spans);
    const next = by('console').querySelector('.later');
    if (next) reveal(by('console'), next);
  }

  /** The count of instructions before the byte that comes next, or came last. Nothing if there is none. */
  neighbour(position, isBack) {
    if (isBack) return this.bytes[this.before(position) - 1]?.before ?? null;
    return this.bytes.slice(this.before(position)).find(byte => byte.before > position)?.before ?? null;
  }
}

