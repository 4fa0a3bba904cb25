/**
 * Ctrl-] as terminals send it: as ever; and to a program that asked for keys in full, by the kitty keyboard protocol (CSI 93;5u) or by
 * xterm's modifyOtherKeys (CSI 27;5;93~).
 */
const forms = ['\x1d', '\x1b[93;5u', '\x1b[27;5;93~'].map((form) => Buffer.from(form, 'latin1'));

/** Splits what was typed at the first Ctrl-]. */
export function untilDetachKey(chunk: Uint8Array): { keys: Uint8Array; detach: boolean } {
  const bytes = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
  const places = forms.map((form) => bytes.indexOf(form)).filter((place) => place >= 0);
  if (places.length === 0) return { keys: chunk, detach: false };
  return { keys: chunk.subarray(0, Math.min(...places)), detach: true };
}
