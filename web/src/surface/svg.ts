/** The surface of files: SVG with text as text, the same calls in the same order as on the screen. */
import { paint, SMALL } from "./canvas";
import { type CellColor, type CellsHow, eachCell, FONT, MARGIN, MONO, type Point, type Stroke, type Surface, type TextStyle } from "./surface";

export function escapeXml(text: string): string {
  return text.replace(/[\u0000-\u0008\u000b\u000c\u000e-\u001f]/g, "\ufffd").replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);
}

const n = (value: number): string => String(Math.round(value * 100) / 100);

export class SvgSurface implements Surface {
  private out: string[] = [];
  private hatches = new Map<string, string>();

  /** A picture with a ground of its own has a margin around it. */
  private readonly margin: number;

  constructor(
    readonly width: number,
    readonly height: number,
    private readonly title = "",
    ground?: string,
  ) {
    this.margin = ground ? MARGIN : 0;
    if (ground) this.rect(-MARGIN, -MARGIN, width + 2 * MARGIN, height + 2 * MARGIN, ground);
  }

  /** The whole document. */
  toString(): string {
    const patterns = [...this.hatches].map(
      ([color, id]) =>
        `<pattern id="${id}" width="5" height="5" patternUnits="userSpaceOnUse" patternTransform="rotate(-45)"><path d="M0 0H5" stroke="${color}"/></pattern>`,
    );
    const size = [this.width, this.height].map((side) => n(side + 2 * this.margin));
    return (
      `<svg xmlns="http://www.w3.org/2000/svg" width="${size[0]}" height="${size[1]}" viewBox="${-this.margin} ${-this.margin} ${size.join(" ")}" font-family="${escapeXml(FONT)}">` +
      (this.title ? `<title>${escapeXml(this.title)}</title>` : "") +
      (patterns.length ? `<defs>${patterns.join("")}</defs>` : "") +
      this.out.join("") +
      "</svg>\n"
    );
  }

  rect(x: number, y: number, w: number, h: number, fill: string, alpha = 1, radius = 0): void {
    const rounded = radius ? ` rx="${n(radius)}"` : "";
    const faint = alpha < 1 ? ` fill-opacity="${n(alpha)}"` : "";
    this.out.push(`<rect x="${n(x)}" y="${n(y)}" width="${n(w)}" height="${n(h)}"${rounded} fill="${fill}"${faint}/>`);
  }

  outline(x: number, y: number, w: number, h: number, stroke: Stroke, radius = 0): void {
    const rounded = radius ? ` rx="${n(radius)}"` : "";
    this.out.push(`<rect x="${n(x)}" y="${n(y)}" width="${n(w)}" height="${n(h)}"${rounded} fill="none"${pen(stroke)}/>`);
  }

  line(points: readonly Point[], stroke: Stroke): void {
    this.out.push(`<path d="M${points.map(([x, y]) => `${n(x)} ${n(y)}`).join("L")}" fill="none"${pen(stroke)}/>`);
  }

  curve([ax, ay]: Point, [bx, by]: Point, stroke: Stroke): void {
    const bend = (bx - ax) / 2;
    this.out.push(`<path d="M${n(ax)} ${n(ay)}C${n(ax + bend)} ${n(ay)} ${n(bx - bend)} ${n(by)} ${n(bx)} ${n(by)}" fill="none"${pen(stroke)}/>`);
  }

  curves(pairs: readonly (readonly [Point, Point])[], stroke: Stroke): void {
    for (const [a, b] of pairs) this.curve(a, b, stroke);
  }

  circle(x: number, y: number, r: number, fill: string, alpha = 1): void {
    const faint = alpha < 1 ? ` fill-opacity="${n(alpha)}"` : "";
    this.out.push(`<circle cx="${n(x)}" cy="${n(y)}" r="${n(r)}" fill="${fill}"${faint}/>`);
  }

  text(x: number, y: number, text: string, style: TextStyle): void {
    const attributes = [
      `x="${n(x)}" y="${n(y)}" font-size="${n(style.size)}" fill="${style.color}"`,
      style.upright ? 'writing-mode="vertical-rl" style="text-orientation:upright"' : `text-anchor="${style.align ?? "start"}"`,
      style.weight === 600 ? 'font-weight="600"' : "",
      style.mono ? `font-family="${escapeXml(MONO)}"` : "",
      style.alpha !== undefined && style.alpha < 1 ? `fill-opacity="${n(style.alpha)}"` : "",
      style.rotate ? `transform="rotate(${n(style.rotate)} ${n(x)} ${n(y)})"` : "",
    ];
    this.out.push(`<text ${attributes.filter(Boolean).join(" ")}>${escapeXml(text)}</text>`);
  }

  hatch(x: number, y: number, w: number, h: number, color: string): void {
    if (!this.hatches.has(color)) this.hatches.set(color, `hatch-${this.hatches.size}`);
    this.out.push(`<rect x="${n(x)}" y="${n(y)}" width="${n(w)}" height="${n(h)}" fill="url(#${this.hatches.get(color)})"/>`);
  }

  cells(x: number, y: number, w: number, h: number, rows: number, columns: number, color: CellColor, { part }: CellsHow = {}): void {
    const [top, left, tall, wide] = part ?? [0, 0, rows, columns];
    // Hundreds of thousands of squares open nowhere: so many are a picture of one pixel each.
    if (tall * wide > 4 * SMALL && typeof document !== "undefined") {
      const picture = `<image width="${columns}" height="${rows}" style="image-rendering:pixelated" href="${paint(rows, columns, color).toDataURL()}"/>`;
      this.out.push(`<svg x="${n(x)}" y="${n(y)}" width="${n(w)}" height="${n(h)}" viewBox="${[left, top, wide, tall].map(n).join(" ")}" preserveAspectRatio="none">${picture}</svg>`);
      return;
    }
    eachCell(rows, columns, part, (r, c, x0, y0, x1, y1) => {
      const fill = color(r, c);
      if (fill) this.rect(x + x0 * w, y + y0 * h, (x1 - x0) * w, (y1 - y0) * h, fill);
    });
  }

  layer(_same: { of: object; as: string }, alpha: number, draw: (surface: Surface) => void): void {
    this.out.push(`<g opacity="${n(alpha)}">`);
    draw(this);
    this.out.push("</g>");
  }

  group(label: string, draw: () => void): void {
    this.out.push(`<g aria-label="${escapeXml(label)}">`);
    draw();
    this.out.push("</g>");
  }
}

function pen(stroke: Stroke): string {
  return [
    ` stroke="${stroke.color}"`,
    stroke.width !== undefined && stroke.width !== 1 ? ` stroke-width="${n(stroke.width)}"` : "",
    stroke.dash?.length ? ` stroke-dasharray="${stroke.dash.join(" ")}"` : "",
    stroke.alpha !== undefined && stroke.alpha < 1 ? ` stroke-opacity="${Math.round(stroke.alpha * 1000) / 1000}"` : "",
    stroke.cap === "round" ? ' stroke-linecap="round"' : "",
  ].join("");
}
