/** Half-precision numbers (IEEE 754 binary16), which browsers do not all read by themselves. */

const table = new Float32Array(65536);
let ready = false;

function value(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0) return sign * 2 ** -14 * (fraction / 1024);
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * 2 ** (exponent - 15) * (1 + fraction / 1024);
}

/** The numbers of `bits` as float32: exact, for binary32 holds every binary16. */
export function f16ToF32(bits: Uint16Array): Float32Array {
  if (!ready) {
    for (let i = 0; i < 65536; i++) table[i] = value(i);
    ready = true;
  }
  const out = new Float32Array(bits.length);
  for (let i = 0; i < bits.length; i++) out[i] = table[bits[i]];
  return out;
}
