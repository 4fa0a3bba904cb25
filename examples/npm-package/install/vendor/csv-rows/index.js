/**
 * The rows of a CSV text, each an array of its fields. As RFC 4180 says: fields may be quoted, a quote in one is doubled,
 * lines end with LF or CRLF.
 *
 * @param {Iterable<string>} pieces of the text, cut anywhere
 * @returns {Generator<string[]>}
 * @throws {SyntaxError} when a quote is not closed, or text follows one that is
 */
export function* csvRows(pieces) {
  let state = 'start'; // of a field; then 'plain', 'quoted', or 'closed' by a quote
  let field = '';
  let row = [];
  let line = 1;
  for (const piece of pieces) {
    for (const character of piece) {
      if (character === '\n') line++;
      if (state === 'quoted') {
        if (character === '"') state = 'closed';
        else field += character;
      } else if (character === '"' && state === 'closed') {
        field += '"';
        state = 'quoted';
      } else if (character === '"' && state === 'start') {
        state = 'quoted';
      } else if (character === ',' || character === '\n') {
        row.push(state === 'plain' ? withoutReturn(field, character) : field);
        field = '';
        state = 'start';
        if (character === '\n') {
          yield row;
          row = [];
        }
      } else if (state === 'closed' && character !== '\r') {
        throw new SyntaxError(`line ${line}: text after a closing quote`);
      } else if (state !== 'closed') {
        field += character;
        state = 'plain';
      }
    }
  }
  if (state === 'quoted') throw new SyntaxError(`line ${line}: a quote is not closed`);
  if (row.length > 0 || state !== 'start') yield [...row, field];
}

/** A carriage return belongs to the end of the line. */
function withoutReturn(field, end) {
  return end === '\n' && field.endsWith('\r') ? field.slice(0, -1) : field;
}
