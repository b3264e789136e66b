"use strict";
// The viewer of one case: three planes of a volume that the browser decodes from two pictures.
// Voxels are in LPS order: x grows to the patient's left, y to the back, z to the head.

const WINDOWS = { "soft tissue": [40, 400], liver: [90, 180], lung: [-550, 1500], bone: [400, 1800] };
const PLANES = [{ name: "axial", axes: [0, 1] }, { name: "coronal", axes: [0, 2] }, { name: "sagittal", axes: [1, 2] }];

class Viewer {
  // elements: those of the dialog; classes: colours by class id
  constructor(planes, classes, moved) {
    this.classes = classes;
    this.moved = moved;
    this.canvases = PLANES.map((plane) => {
      const canvas = planes.appendChild(document.createElement("canvas"));
      canvas.addEventListener("wheel", (event) => { event.preventDefault(); this.scroll(plane, Math.sign(event.deltaY)); }, { passive: false });
      canvas.addEventListener("mousedown", (event) => this.point(plane, canvas, event));
      canvas.addEventListener("mousemove", (event) => { if (event.buttons & 1) this.point(plane, canvas, event); });
      return canvas;
    });
    this.window = "soft tissue";
    this.filled = false;
    this.hidden = new Set();
  }

  async open(data, spacing, at) {
    this.size = data.size;
    this.spacing = spacing;
    this.levels = data.levels;
    this.hu = await voxels(data.hu, data);
    this.labels = await voxels(data.labels, data);
    this.prediction = data.prediction ? await voxels(data.prediction, data) : null;
    this.at = at ? [...at] : data.size.map((n) => n >> 1);
    this.draw();
  }

  scroll(plane, step) {
    const across = [0, 1, 2].find((axis) => !plane.axes.includes(axis));
    this.go(this.at.map((n, axis) => (axis === across ? n + step : n)));
  }

  point(plane, canvas, event) {
    const box = canvas.getBoundingClientRect();
    const [a, b] = plane.axes;
    const next = [...this.at];
    next[a] = Math.floor(((event.clientX - box.left) / box.width) * this.size[a]);
    const down = Math.floor(((event.clientY - box.top) / box.height) * this.size[b]);
    next[b] = b === 2 ? this.size[2] - 1 - down : down;
    this.go(next);
  }

  go(at) {
    this.at = at.map((n, axis) => Math.max(0, Math.min(this.size[axis] - 1, n)));
    this.draw();
  }

  draw() {
    const shades = greyLevels(this.levels, WINDOWS[this.window]);
    PLANES.forEach((plane, n) => this.drawPlane(plane, this.canvases[n], shades));
    this.moved(this.at);
  }

  drawPlane(plane, canvas, shades) {
    const [a, b] = plane.axes;
    const width = this.size[a], height = this.size[b];
    const room = Math.max(240, window.innerWidth / 3 - 30);
    const scale = Math.min(room / (width * this.spacing[a]), 560 / (height * this.spacing[b]));
    canvas.width = Math.max(1, Math.round(width * this.spacing[a] * scale));
    canvas.height = Math.max(1, Math.round(height * this.spacing[b] * scale));
    const picture = new ImageData(width, height);
    const steps = [1, this.size[0], this.size[0] * this.size[1]];
    const across = 3 - a - b;
    const labels = new Uint8Array(width * height), predicted = new Uint8Array(width * height);
    for (let row = 0, to = 0; row < height; row++) {
      const line = b === 2 ? height - 1 - row : row;
      let from = this.at[across] * steps[across] + line * steps[b];
      for (let column = 0; column < width; column++, to++, from += steps[a]) {
        picture.data.fill(shades[this.hu[from]], 4 * to, 4 * to + 3);
        picture.data[4 * to + 3] = 255;
        labels[to] = this.labels[from];
        if (this.prediction) predicted[to] = this.prediction[from];
      }
    }
    if (this.prediction) this.fill(picture, predicted);
    else if (this.filled) this.fill(picture, labels);
    const context = canvas.getContext("2d");
    const small = new OffscreenCanvas(width, height);
    small.getContext("2d").putImageData(picture, 0, 0);
    context.drawImage(small, 0, 0, canvas.width, canvas.height);
    if (this.prediction || !this.filled) this.outline(context, labels, width, height);
    this.cross(context, plane);
  }

  fill(picture, classes) {
    classes.forEach((n, at) => {
      if (!n || this.hidden.has(n)) return;
      this.classes[n].rgb.forEach((value, channel) => {
        picture.data[4 * at + channel] = 0.6 * picture.data[4 * at + channel] + 0.4 * value;
      });
    });
  }

  // edges between pixels of different classes, in the canvas's own resolution
  outline(context, classes, width, height) {
    const dx = context.canvas.width / width, dy = context.canvas.height / height;
    const at = (x, y) => (x < 0 || y < 0 || x >= width || y >= height ? 0 : classes[y * width + x]);
    const paths = new Map();
    for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) {
      const n = at(x, y);
      if (!n || this.hidden.has(n)) continue;
      if (!paths.has(n)) paths.set(n, new Path2D());
      const path = paths.get(n);
      const side = (x0, y0, x1, y1) => { path.moveTo(x0 * dx, y0 * dy); path.lineTo(x1 * dx, y1 * dy); };
      if (at(x - 1, y) !== n) side(x, y, x, y + 1);
      if (at(x + 1, y) !== n) side(x + 1, y, x + 1, y + 1);
      if (at(x, y - 1) !== n) side(x, y, x + 1, y);
      if (at(x, y + 1) !== n) side(x, y + 1, x + 1, y + 1);
    }
    context.lineWidth = 1.5;
    for (const [n, path] of paths) { context.strokeStyle = this.classes[n].colour; context.stroke(path); }
  }

  cross(context, plane) {
    const [a, b] = plane.axes;
    const x = ((this.at[a] + 0.5) / this.size[a]) * context.canvas.width;
    const along = b === 2 ? this.size[2] - 1 - this.at[b] : this.at[b];
    const y = ((along + 0.5) / this.size[b]) * context.canvas.height;
    context.strokeStyle = "#fff6";
    context.lineWidth = 1;
    context.strokeRect(x, -1, 0, context.canvas.height + 2);
    context.strokeRect(-1, y, context.canvas.width + 2, 0);
  }
}

// Decodes tiled axial slices into one array, x fastest.
async function voxels(url, { size: [width, height, depth], columns }) {
  const image = new Image();
  image.src = url;
  await image.decode();
  const canvas = new OffscreenCanvas(image.width, image.height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(image, 0, 0);
  const found = new Uint8Array(width * height * depth);
  for (let slice = 0, to = 0; slice < depth; slice++) {
    const tile = context.getImageData((slice % columns) * width, Math.floor(slice / columns) * height, width, height).data;
    for (let from = 0; from < tile.length; from += 4) found[to++] = tile[from];
  }
  return found;
}

// The grey of each stored level under a window, of [level, width] in HU.
function greyLevels(levels, [level, width]) {
  return Uint8ClampedArray.from({ length: 256 }, (_, stored) => {
    const next = Math.max(1, levels.findIndex(([, mark]) => mark >= stored));
    const [[hu0, mark0], [hu1, mark1]] = [levels[next - 1], levels[next]];
    const hu = hu0 + ((stored - mark0) / (mark1 - mark0)) * (hu1 - hu0);
    return (255 * (hu - level + width / 2)) / width;
  });
}
