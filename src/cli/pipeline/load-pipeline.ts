import { readFileSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { stripTypeScriptTypes } from 'node:module';
import { dirname, extname, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { AlcoveError, cancelled, isAlcoveError } from '../../errors.ts';
import type { Pipeline } from '../../executor/index.ts';
import { invalidFlag } from '../invalid-flag.ts';
import { importModule } from './import-module.ts';

const extensions = ['.ts', '.mts', '.js', '.mjs'];

/**
 * The pipeline that a file exports: the value of its default export, or what that returns. Its base is the file's folder, and its
 * name the file's, where it says nothing else. Whether its steps are right is for whoever runs it to see.
 *
 * @throws AlcoveError `HostFile`, `PipelineInvalid`, `Cancelled`, all naming the file
 */
export async function loadPipeline(file: string, signal: AbortSignal): Promise<Pipeline> {
  if (file === '') throw invalidFlag('file', 'the path is empty');
  const path = resolve(file);
  await requireFile(file, path);
  const extension = extname(path);
  if (!extensions.includes(extension)) {
    throw invalid(file, `must be one of ${extensions.join(', ')}`, 'Rename it, or name another file.');
  }
  // What a file does while it loads cannot be stopped, but need not be waited for.
  using aborted = onAbort(signal, () => cancelled(`loading ${file}`, signal));
  const pipeline = await Promise.race([evaluate(file, path), aborted.promise]);
  const folder = dirname(path);
  const name = path.slice(folder.length + 1, -extension.length);
  return { name, ...pipeline, base: resolve(folder, pipeline.base ?? '.') };
}

async function evaluate(file: string, path: string): Promise<Pipeline> {
  let value: unknown;
  try {
    const module = await importModule(path);
    value = module.default;
    if (typeof value === 'function') value = await value();
    else value = await value;
  } catch (error) {
    if (isAlcoveError(error)) throw error;
    throw loadFailed(file, path, error);
  }
  if (value === undefined) {
    throw invalid(
      file,
      'has no default export, or one that returns nothing',
      'Write `export default { steps: { … } }`.',
    );
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw invalid(
      file,
      'exports by default what is no pipeline',
      'Write `export default { steps: { … } }`, or a function that returns such an object.',
    );
  }
  const { base } = value as { base?: unknown };
  if (base !== undefined && typeof base !== 'string') throw invalid(file, 'has a base that is not a path');
  return value as Pipeline;
}

async function requireFile(file: string, path: string): Promise<void> {
  try {
    if ((await stat(path)).isFile()) return;
  } catch (error) {
    throw new AlcoveError('HostFile', `cannot read ${file}: ${(error as Error).message}`, {
      details: { path },
      cause: error,
    });
  }
  throw new AlcoveError('HostFile', `cannot read ${file}: it is not a file`, { details: { path } });
}

function loadFailed(file: string, path: string, error: unknown): AlcoveError<'PipelineInvalid'> {
  const message = error instanceof Error ? error.message : String(error);
  const line = error instanceof Error ? (lineIn(path, error) ?? lineOfMistake(path, error)) : undefined;
  return new AlcoveError('PipelineInvalid', `cannot load ${file}${line ? `:${line}` : ''}: ${message}`, {
    remedy: 'Correct the file; ALCOVE_DEBUG=1 shows where it failed.',
    cause: error,
  });
}

/** The line of the file that an error names: of a syntax error the first line of its stack, else the innermost call. */
function lineIn(path: string, { stack = '' }: Error): string | undefined {
  for (const match of stack.matchAll(/((?:file:\/\/)?\/[^\n]*?):(\d+)(?::\d+)?\)?$/gm)) {
    const [, place = '', line] = match;
    if (place === path || (place.startsWith('file:') && fileURLToPath(place) === path)) return line;
  }
  return undefined;
}

/** V8 keeps the place of a module's syntax error to itself, so the file is read once more by a parser that tells. */
function lineOfMistake(path: string, error: Error): string | undefined {
  if (!(error instanceof SyntaxError)) return undefined;
  try {
    stripTypeScriptTypes(readFileSync(path, 'utf8'), { sourceUrl: path });
  } catch (found) {
    if (found instanceof Error) return lineIn(path, found);
  }
  return undefined; // It is in a file that this one imports.
}

function invalid(file: string, what: string, remedy?: string): AlcoveError<'PipelineInvalid'> {
  return new AlcoveError('PipelineInvalid', `${file} ${what}`, {
    remedy: remedy ?? 'Correct the file.',
  });
}

function onAbort(signal: AbortSignal, error: () => Error): Disposable & { promise: Promise<never> } {
  const { promise, reject } = Promise.withResolvers<never>();
  promise.catch(() => undefined); // Nobody may be racing any more.
  const fail = () => reject(error());
  if (signal.aborted) fail();
  signal.addEventListener('abort', fail, { once: true });
  return { promise, [Symbol.dispose]: () => signal.removeEventListener('abort', fail) };
}
