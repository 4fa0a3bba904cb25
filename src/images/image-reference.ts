import { AlcoveError } from '../errors.ts';
import { builtinImage } from './image.ts';

/** As registries take them: host and port, path, tag, digest (distribution/reference grammar, without its length rules for parts). */
const grammar =
  /^[a-z0-9][a-z0-9._-]*(:\d{1,5}(?=\/))?(\/[a-z0-9][a-z0-9._-]*)*(:[\w][\w.-]{0,127})?(@sha256:[0-9a-f]{64})?$/i;

/** `debian` means `debian:latest`. */
export function withTag(reference: string): string {
  const hasTag = /:[^/]*$/.test(reference.replace(/@.*$/, '')) || reference.includes('@');
  return hasTag || reference === builtinImage ? reference : `${reference}:latest`;
}

/** @throws AlcoveError `InvalidInput` */
export function checkReference(reference: string): void {
  if (grammar.test(reference) && reference.length <= 512) return;
  throw new AlcoveError('InvalidInput', `${JSON.stringify(reference.slice(0, 128))} is no image reference`, {
    remedy: 'Write it as name:tag or host:port/path/name:tag.',
    details: { field: 'reference' },
  });
}

/** A name that a user gives an image. @throws AlcoveError `InvalidInput` */
export function checkName(name: string): void {
  const fail = (why: string) => {
    throw new AlcoveError(
      'InvalidInput',
      `an image cannot be named ${JSON.stringify(name.slice(0, 128))}: ${why}`,
      {
        remedy: 'Choose a name such as tools or tools:2.',
        details: { field: 'name' },
      },
    );
  };
  if (!grammar.test(name) || name.length > 512) fail('it is no reference');
  if (name === builtinImage) fail('that is the image Alcove brings');
  if (/^(sha256:)?[0-9a-f]{8,64}$/.test(name)) fail('it looks like a digest');
}
