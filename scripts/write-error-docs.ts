/** Prints `docs/errors.md` from the error table: `node scripts/write-error-docs.ts > docs/errors.md`. */
import { errorTable } from '../src/errors.ts';

/** The whole page, as it must stand in `docs/errors.md`. */
export function errorDocs(): string {
  const rows = Object.entries(errorTable).map(
    ([code, { status, exit, remedy }]) => `| \`${code}\` | ${status} | ${exit} | ${remedy} |`,
  );
  return `# Errors

Every error has a stable code, a message that says what happened to which thing, and a remedy. In the library it is an
\`AlcoveError\` with \`code\`, \`message\`, \`remedy\`, \`details\` and \`cause\`; the CLI prints message and remedy and exits with
the code's number (with \`--json\`: \`{ "error": { code, message, remedy, details } }\` on stderr). A command's own non-zero
exit is not an error: the CLI exits with it.

| code | HTTP status | exit | what to do, where the error does not say better |
|---|---|---|---|
${rows.join('\n')}
`;
}

if (import.meta.main) process.stdout.write(errorDocs());
