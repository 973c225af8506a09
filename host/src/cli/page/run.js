/* The run: the viewer's functions, with values of JavaScript. */

/** The bytes of a block of data: base64 of a zlib stream. */
async function unpacked(id) {
  try {
    const packed = Uint8Array.from(atob(document.getElementById(id).textContent), char => char.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream('deflate'));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  } catch {
    throw new Problem('this page is damaged: get it again, or make it again');
  }
}

/** What is wrong with the recording, in one sentence. */
class Problem extends Error {}

const REGISTERS = ['eax', 'ecx', 'edx', 'ebx', 'esp', 'ebp', 'esi', 'edi', 'eflags', 'eip'];
const MOVES = { step: 0, back: 1, line: 2, lineBack: 3, out: 4, outBack: 5 };

class Run {
  static async load() {
    const { instance } = await WebAssembly.instantiate(await unpacked('viewer'), {});
    return new Run(instance.exports);
  }

  constructor(functions) {
    this.functions = functions;
  }

  give(bytes) {
    const at = this.functions.view_input(bytes.length) >>> 0;
    new Uint8Array(this.functions.memory.buffer, at, bytes.length).set(bytes);
  }

  get output() {
    const { memory, view_output, view_output_len } = this.functions;
    return new Uint8Array(memory.buffer, view_output() >>> 0, view_output_len() >>> 0);
  }

  get text() {
    return new TextDecoder().decode(this.output.slice());
  }

  get data() {
    const { buffer, byteOffset, byteLength } = this.output;
    return new DataView(buffer, byteOffset, byteLength);
  }

  words() {
    const data = this.data;
    return Array.from({ length: data.byteLength / 4 }, (_, index) => data.getUint32(4 * index, true));
  }

  call(name, ...values) {
    const answer = this.functions['view_' + name](...values);
    if (answer < 0) throw new Problem(this.text);
    return answer === 1;
  }

  open(recording, rows, functions) {
    this.give(new Uint8Array(Uint32Array.from([...rows.flat(), ...functions]).buffer));
    this.functions.view_lines(rows.length);
    this.give(recording);
    this.call('open');
  }

  /** Executes so many more instructions. Whether the run has ended. */
  execute(instructions) {
    return this.call('execute', instructions);
  }

  get ending() {
    return this.call('ending') ? this.text : null;
  }

  /** Where the run is, begins and ends; and what is where in memory. */
  get place() {
    this.call('where');
    const data = this.data;
    const [position, beginning, end] = [0, 8, 16].map(at => data.getFloat64(at, true));
    const [heapEnd, stackStart, ramEnd] = [24, 28, 32].map(at => data.getUint32(at, true));
    return { position, beginning, end, heapEnd, stackStart, ramEnd };
  }

  goTo(count) {
    this.call('go_to', count);
  }

  move(name) {
    return this.call('move', MOVES[name]);
  }

  toLine(number, isBack) {
    return this.call('to_line', number, isBack ? 1 : 0);
  }

  whoWrote(address, len) {
    return this.call('who_wrote', address, len);
  }

  whoWroteRegister(index) {
    return this.call('who_wrote_register', index);
  }

  get registers() {
    this.call('registers');
    const words = this.words();
    return Object.fromEntries(REGISTERS.map((name, index) => [name, words[index]]));
  }

  memory(address, len) {
    this.call('memory', address, len);
    return this.output.slice();
  }

  instructions(address, most) {
    this.call('instructions', address, most);
    return this.text.split('\n').filter(line => line).map(line => {
      const [at, bytes, text] = line.split('\t');
      return { address: parseInt(at, 16), bytes, text };
    });
  }

  get calls() {
    this.call('calls');
    return this.words();
  }

  /** The bytes at ports, each with the count of instructions before it. */
  get transfers() {
    this.call('transfers', 0);
    const data = this.data;
    return Array.from({ length: data.byteLength / 16 }, (_, index) => ({
      before: data.getFloat64(16 * index, true),
      port: data.getUint16(16 * index + 12, true),
      isSent: data.getUint8(16 * index + 14) === 1,
      byte: data.getUint8(16 * index + 15),
    }));
  }

  /** Which calls led to where the run was: the innermost first. */
  get samples() {
    this.call('samples');
    const data = this.data;
    const samples = [];
    for (let at = 0; at < data.byteLength;) {
      const [count, len] = [data.getFloat64(at, true), data.getUint32(at + 8, true)];
      at += 12;
      const calls = Array.from({ length: len }, (_, index) => data.getUint32(at + 4 * index, true));
      samples.push({ count, calls });
      at += 4 * len;
    }
    return samples;
  }
}

