/* The calls of the run over its instructions: a flame chart of samples, with bytes at ports as ticks. */

const ROW = 9;

class Chart {
  constructor(source, samples, console, place) {
    this.source = source;
    this.console = console;
    this.place = place;
    // The outermost call first.
    this.samples = samples.map(({ count, calls }) => ({
      count,
      names: calls.map(address => this.source.symbolAt(address)?.name ?? '').reverse(),
    }));
  }

  /** The count of instructions at this part of the width. */
  countAt(part) {
    const { beginning, end } = this.place;
    return Math.round(beginning + part * (end - beginning));
  }

  render(position) {
    const canvas = by('chart');
    const [width, height] = [canvas.clientWidth, 72];
    const scale = window.devicePixelRatio || 1;
    [canvas.width, canvas.height] = [width * scale, height * scale];
    const context = canvas.getContext('2d');
    context.scale(scale, scale);
    // What a variable of the style is here, in light or dark.
    const color = name => {
      canvas.style.color = `var(${name})`;
      return getComputedStyle(canvas).color;
    };
    const { beginning, end } = this.place;
    const x = count => end > beginning ? (count - beginning) / (end - beginning) * width : 0;
    context.font = '8px system-ui, sans-serif';
    const colors = [color('--frame-a'), color('--frame-b')];
    const [dark, dim, read] = [color('--text'), color('--dim'), color('--read')];
    for (let depth = 0; depth * ROW < height - 8; depth += 1) {
      for (let first = 0; first < this.samples.length;) {
        const name = this.samples[first].names[depth];
        let next = first + 1;
        while (next < this.samples.length && this.samples[next].names[depth] === name) next += 1;
        if (name !== undefined) {
          const left = x(this.samples[first].count);
          const right = next < this.samples.length ? x(this.samples[next].count) : width;
          const hash = Array.from(name).reduce((sum, char) => sum + char.charCodeAt(0), depth);
          context.fillStyle = colors[hash % 2];
          context.fillRect(left, depth * ROW, Math.max(right - left - .5, .5), ROW - 1);
          if (right - left > 40) {
            context.fillStyle = dark;
            const short = name.replace(/<[^>]*>/g, '').split('::').pop();
            context.fillText(short, left + 2, depth * ROW + 7, right - left - 4);
          }
        }
        first = next;
      }
    }
    for (const byte of this.console.bytes.slice(0, 20000)) {
      context.fillStyle = byte.isSent ? dim : read;
      context.fillRect(x(byte.before), height - 6, 1, 6);
    }
    context.fillStyle = color('--new');
    context.fillRect(Math.min(x(position), width - 2), 0, 2, height);
  }
}

