/** The surface of the screen. */
import { rgb } from "./palette";
import { type CellColor, type CellsHow, eachCell, FONT, MARGIN, MONO, type Point, type Stroke, type Surface, type TextStyle } from "./surface";

/** Large maps and layers that were painted before. */
const rasters = new WeakMap<object, { as: string; raster: HTMLCanvasElement }>();

/** Up to so many cells are drawn each by itself. */
export const SMALL = 4096;

const hatches = new Map<string, CanvasPattern>();

/** Slanted lines of `color`, five pixels apart, as what to fill with. */
function hatching(of: CanvasRenderingContext2D, color: string): CanvasPattern {
  let found = hatches.get(color);
  if (!found) {
    const tile = document.createElement("canvas");
    tile.width = tile.height = 20; // four times as large as it is shown, so that it stays sharp on fine screens and in large files
    const c = tile.getContext("2d")!;
    c.strokeStyle = color;
    c.lineWidth = 3.4;
    for (const d of [-20, 0, 20]) {
      c.moveTo(d - 4, 24);
      c.lineTo(d + 24, -4);
    }
    c.stroke();
    found = of.createPattern(tile, "repeat")!;
    found.setTransform(new DOMMatrix().scale(0.25));
    hatches.set(color, found);
  }
  return found;
}

/** One pixel a cell. */
export function paint(rows: number, columns: number, color: CellColor): HTMLCanvasElement {
  const raster = document.createElement("canvas");
  [raster.width, raster.height] = [columns, rows];
  const context = raster.getContext("2d")!;
  const image = context.createImageData(columns, rows);
  const known = new Map<string, readonly number[]>();
  for (let r = 0; r < rows; r++)
    for (let k = 0; k < columns; k++) {
      const fill = color(r, k);
      if (!fill) continue;
      let parts = known.get(fill);
      if (!parts) known.set(fill, (parts = rgb(fill)));
      const at = 4 * (r * columns + k);
      image.data[at] = parts[0];
      image.data[at + 1] = parts[1];
      image.data[at + 2] = parts[2];
      image.data[at + 3] = 255;
    }
  context.putImageData(image, 0, 0);
  return raster;
}

export class CanvasSurface implements Surface {
  readonly context: CanvasRenderingContext2D;

  /** Sizes `canvas` to `width` x `height` CSS pixels at `scale` device pixels each, and clears it. With a ground there is a margin around. */
  constructor(
    canvas: HTMLCanvasElement,
    readonly width: number,
    readonly height: number,
    private readonly scale = globalThis.devicePixelRatio || 1,
    ground?: string,
  ) {
    const margin = ground ? MARGIN : 0;
    const [w, h] = [width, height].map((side) => Math.max(1, Math.round((side + 2 * margin) * scale)));
    if (canvas.width !== w) canvas.width = w;
    if (canvas.height !== h) canvas.height = h;
    this.context = canvas.getContext("2d")!;
    this.context.setTransform(1, 0, 0, 1, 0, 0);
    this.context.clearRect(0, 0, w, h);
    this.context.setTransform(scale, 0, 0, scale, margin * scale, margin * scale);
    if (ground) this.rect(-margin, -margin, width + 2 * margin, height + 2 * margin, ground);
  }

  rect(x: number, y: number, w: number, h: number, fill: string, alpha = 1, radius = 0): void {
    const c = this.context;
    c.globalAlpha = alpha;
    c.fillStyle = fill;
    if (radius) {
      c.beginPath();
      c.roundRect(x, y, w, h, radius);
      c.fill();
    } else c.fillRect(x, y, w, h);
    c.globalAlpha = 1;
  }

  outline(x: number, y: number, w: number, h: number, stroke: Stroke, radius = 0): void {
    this.stroke(stroke, (c) => (radius ? c.roundRect(x, y, w, h, radius) : c.rect(x, y, w, h)));
  }

  line(points: readonly Point[], stroke: Stroke): void {
    this.stroke(stroke, (c) => points.forEach(([x, y], i) => (i ? c.lineTo(x, y) : c.moveTo(x, y))));
  }

  curve([ax, ay]: Point, [bx, by]: Point, stroke: Stroke): void {
    const bend = (bx - ax) / 2;
    this.stroke(stroke, (c) => {
      c.moveTo(ax, ay);
      c.bezierCurveTo(ax + bend, ay, bx - bend, by, bx, by);
    });
  }

  curves(pairs: readonly (readonly [Point, Point])[], stroke: Stroke): void {
    this.stroke(stroke, (c) => {
      for (const [[ax, ay], [bx, by]] of pairs) {
        const bend = (bx - ax) / 2;
        c.moveTo(ax, ay);
        c.bezierCurveTo(ax + bend, ay, bx - bend, by, bx, by);
      }
    });
  }

  circle(x: number, y: number, r: number, fill: string, alpha = 1): void {
    const c = this.context;
    c.globalAlpha = alpha;
    c.fillStyle = fill;
    c.beginPath();
    c.arc(x, y, r, 0, 2 * Math.PI);
    c.fill();
    c.globalAlpha = 1;
  }

  text(x: number, y: number, text: string, style: TextStyle): void {
    const c = this.context;
    c.save();
    c.globalAlpha = style.alpha ?? 1;
    c.fillStyle = style.color;
    c.font = `${style.weight ?? 400} ${style.size}px ${style.mono ? MONO : FONT}`;
    c.textBaseline = "alphabetic";
    c.textAlign = { start: "left", middle: "center", end: "right" }[style.align ?? "start"] as CanvasTextAlign;
    c.translate(x, y);
    if (style.upright) {
      c.textAlign = "center";
      [...text].forEach((character, i) => c.fillText(character, 0, (i + 0.85) * style.size * 1.1));
    } else {
      if (style.rotate) c.rotate((style.rotate * Math.PI) / 180);
      c.fillText(text, 0, 0);
    }
    c.restore();
  }

  hatch(x: number, y: number, w: number, h: number, color: string): void {
    const c = this.context;
    c.fillStyle = hatching(c, color);
    c.fillRect(x, y, w, h);
  }

  cells(x: number, y: number, w: number, h: number, rows: number, columns: number, color: CellColor, { part, same }: CellsHow = {}): void {
    if (!rows || !columns) return;
    const c = this.context;
    // Small maps cell by cell, so that edges are crisp at any size; large ones as one picture.
    if (rows * columns <= SMALL) {
      eachCell(rows, columns, part, (r, k, left, top, right, bottom) => {
        const fill = color(r, k);
        if (!fill) return;
        const [x0, x1, y0, y1] = [x + left * w, x + right * w, y + top * h, y + bottom * h].map(Math.round);
        c.fillStyle = fill;
        c.fillRect(x0, y0, Math.max(1, x1 - x0), Math.max(1, y1 - y0));
      });
      return;
    }
    const kept = same && rasters.get(same.of);
    const raster = kept?.as === same?.as && kept ? kept.raster : paint(rows, columns, color);
    if (same) rasters.set(same.of, { as: same.as, raster });
    const [top, left, tall, wide] = part ?? [0, 0, rows, columns];
    c.imageSmoothingEnabled = wide > w || tall > h;
    c.drawImage(raster, left, top, wide, tall, x, y, w, h);
  }

  layer({ of, as }: { of: object; as: string }, alpha: number, draw: (surface: Surface) => void): void {
    const c = this.context;
    const name = `${this.width} ${this.height} ${this.scale} ${as}`;
    let kept = rasters.get(of);
    if (kept?.as !== name) {
      kept = { as: name, raster: document.createElement("canvas") };
      draw(new CanvasSurface(kept.raster, this.width, this.height, this.scale));
      rasters.set(of, kept);
    }
    c.globalAlpha = alpha;
    c.drawImage(kept.raster, 0, 0, this.width, this.height);
    c.globalAlpha = 1;
  }

  group(_label: string, draw: () => void): void {
    draw();
  }

  private stroke(stroke: Stroke, path: (c: CanvasRenderingContext2D) => void): void {
    const c = this.context;
    c.globalAlpha = stroke.alpha ?? 1;
    c.strokeStyle = stroke.color;
    c.lineWidth = stroke.width ?? 1;
    c.lineCap = stroke.cap ?? "butt";
    c.setLineDash(stroke.dash ? [...stroke.dash] : []);
    c.beginPath();
    path(c);
    c.stroke();
    c.globalAlpha = 1;
    c.setLineDash([]);
  }
}
