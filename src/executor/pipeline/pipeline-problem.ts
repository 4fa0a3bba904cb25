import type { z } from 'zod';
import { AlcoveError } from '../../errors.ts';
import { nearestName } from './nearest-name.ts';
import { knownFields } from './pipeline-schema.ts';

type Issue = z.core.$ZodIssue;
type Path = readonly PropertyKey[];

/** @param step the step that has the problem; absent where it is the pipeline's */
export function pipelineInvalid(
  problem: string,
  { step, remedy }: { step?: string | undefined; remedy?: string | undefined } = {},
): AlcoveError<'PipelineInvalid'> {
  return new AlcoveError(
    'PipelineInvalid',
    `${step === undefined ? 'the pipeline' : `step ${step}`} ${problem}`,
    {
      details: step === undefined ? {} : { step },
      ...(remedy !== undefined && { remedy }),
    },
  );
}

/** What to do about a name that nobody has. */
export function meant(name: string, names: readonly string[]): string {
  const nearest = nearestName(name, names);
  return nearest === undefined ? `There are ${names.join(', ')}.` : `Did you mean "${nearest}"?`;
}

/** The first of what the schema found, as an error that names the step and the field. */
export function problemOf(error: z.ZodError): AlcoveError<'PipelineInvalid'> {
  const { issue, path } = mostTelling(error.issues, []);
  const [top, name, ...inStep] = path;
  const step = top === 'steps' && name !== undefined ? quotedIfOdd(String(name)) : undefined;
  const field = fieldName(step === undefined ? path : inStep);
  if (issue.code === 'unrecognized_keys') {
    const [unknown = ''] = issue.keys;
    const known = knownFields[placeOf(path)] ?? [];
    return pipelineInvalid(`has no field ${field}${field && '.'}${unknown}`, {
      step,
      remedy: meant(unknown, known),
    });
  }
  // The message about a record's key lies one level deeper, in the key's own issues.
  const what = issue.code === 'invalid_key' ? issue.issues[0]?.message : issue.message;
  return pipelineInvalid(field === '' ? String(what) : `has ${field}, which ${what}`, { step });
}

/** Of a union, what is wrong with the alternative that was meant; a field that is not known before what is missing in its stead. */
function mostTelling(issues: readonly Issue[], above: Path): { issue: Issue; path: Path } {
  const issue = issues.find(({ code }) => code === 'unrecognized_keys') ?? issues[0];
  if (issue === undefined) throw new TypeError('a schema refused a value and did not say why');
  const path = [...above, ...issue.path];
  const meantOne =
    issue.code === 'invalid_union'
      ? issue.errors.find((alternative) => !alternative.some(isOfAnotherKind))
      : undefined;
  return meantOne ? mostTelling(meantOne, path) : { issue, path };
}

/** The value is not what this alternative of a union is about at all. */
function isOfAnotherKind({ code, path }: Issue): boolean {
  return path.length === 0 && (code === 'invalid_type' || code === 'invalid_value');
}

/** The field that holds the object at `path`, or the list that does. */
function placeOf(path: Path): string {
  if (path.length === 2 && path[0] === 'steps') return 'steps';
  if (path.length === 1 && path[0] === 'cache') return 'compose'; // The pipeline's policy takes no key either.
  return String(path.findLast((part) => typeof part === 'string') ?? '');
}

function fieldName(path: Path): string {
  return path
    .map((part, at) => (typeof part === 'number' ? `[${part}]` : `${at > 0 ? '.' : ''}${String(part)}`))
    .join('');
}

function quotedIfOdd(name: string): string {
  return /^[\w.-]+$/.test(name) ? name : JSON.stringify(name);
}
