// Makes a picture smaller: from PNG in base64 to PNG in base64 with a palette of 256 colors (PNG specification, sections 4
// and 5). It has few flat colors, and shades of them at the edges of letters: what is not among the 256 that are there most
// is replaced by the nearest of them.
(async function (base64) {
  const image = new Image();
  image.src = "data:image/png;base64," + base64;
  await image.decode();
  const { width, height } = image;
  const context = new OffscreenCanvas(width, height).getContext("2d");
  context.drawImage(image, 0, 0);
  const { data } = context.getImageData(0, 0, width, height);
  const color = (pixel) => data[4 * pixel] << 16 | data[4 * pixel + 1] << 8 | data[4 * pixel + 2];
  const parts = (color) => [color >> 16, color >> 8 & 255, color & 255];

  const counts = new Map();
  for (let pixel = 0; pixel < width * height; pixel++) {
    counts.set(color(pixel), (counts.get(color(pixel)) ?? 0) + 1);
  }
  const sorted = [...counts.keys()].sort((a, b) => counts.get(b) - counts.get(a) || a - b);
  const palette = sorted.slice(0, 256);
  const entries = new Map(palette.map((color, entry) => [color, entry]));
  for (const color of sorted.slice(256)) {
    const distance = (other) => parts(color).reduce((sum, part, index) => sum + (part - parts(other)[index]) ** 2, 0);
    const nearest = palette.reduce((a, b) => distance(b) < distance(a) ? b : a);
    entries.set(color, entries.get(nearest));
  }

  // Each row begins with its filter: none.
  const rows = new Uint8Array((width + 1) * height);
  for (let pixel = 0; pixel < width * height; pixel++) {
    rows[pixel + Math.floor(pixel / width) + 1] = entries.get(color(pixel));
  }
  const zlib = new Blob([rows]).stream().pipeThrough(new CompressionStream("deflate"));
  const pixels = new Uint8Array(await new Response(zlib).arrayBuffer());

  const number = (value) => [value >>> 24, value >>> 16 & 255, value >>> 8 & 255, value & 255];
  const crc = (bytes) => ~bytes.reduce((crc, byte) => {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = crc >>> 1 ^ (crc & 1 ? 0xedb88320 : 0);
    return crc;
  }, -1);
  const chunk = (name, bytes) => {
    const named = [...name].map((letter) => letter.charCodeAt(0)).concat([...bytes]);
    return number(bytes.length).concat(named, number(crc(named)));
  };
  const png = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a].concat(
    chunk("IHDR", [...number(width), ...number(height), 8, 3, 0, 0, 0]),
    chunk("PLTE", palette.flatMap(parts)),
    chunk("IDAT", pixels),
    chunk("IEND", []),
  );
  return btoa(png.map((byte) => String.fromCharCode(byte)).join(""));
})
