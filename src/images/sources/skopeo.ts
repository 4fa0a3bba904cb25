import { AlcoveError, isAlcoveError } from '../../errors.ts';
import { runTool } from '../../host/index.ts';
import { fullDiskOr } from '../full-disk.ts';
import { networkEnvironment } from '../tool-environment.ts';
import { architecture } from './platform.ts';

/** What skopeo works with; all names are relative to `tmpDir`, since it takes a colon in a path for the end of it. */
export interface SkopeoContext {
  tmpDir: string;
  /** For messages. */
  name: string;
  /** What goes wrong with a file is the file's fault; with a registry it may be the network's. */
  origin: 'registry' | 'file';
  signal: AbortSignal;
}

/**
 * Copies an image to `<tmpDir>/<to>` as its source has it, byte by byte: the `dir` transport converts nothing, so digests stay,
 * and skopeo compares each blob with its digest.
 */
export async function copyImage(
  from: string,
  to: string,
  context: SkopeoContext,
  flags: readonly string[] = [],
): Promise<void> {
  await skopeo(['copy', '--quiet', '--remove-signatures', ...flags, from, `dir:${to}`], context);
}

/** The manifest, or index of manifests, that a registry has under a reference, as it is. */
export async function inspectRaw(
  from: string,
  context: SkopeoContext,
  flags: readonly string[] = [],
): Promise<string> {
  return (await skopeo(['inspect', '--raw', ...flags, from], context)).stdout;
}

async function skopeo(args: readonly string[], context: SkopeoContext): Promise<{ stdout: string }> {
  const { tmpDir, signal } = context;
  const platform = ['--override-os', 'linux', '--override-arch', architecture];
  try {
    return await runTool('skopeo', ['--insecure-policy', '--tmpdir', tmpDir, ...platform, ...args], {
      cwd: tmpDir,
      env: networkEnvironment(tmpDir),
      signal,
      maxOutputBytes: 8 << 20, // Registries take manifests of up to 4 MiB.
    });
  } catch (error) {
    throw isAlcoveError(error, 'ToolFailed') ? explain(error, context) : error;
  }
}

/** What skopeo 1.9 and the registries say, by their words, and what that is to us. */
const meanings: readonly { words: RegExp; as: (message: string) => AlcoveError }[] = [
  {
    words: /more than one image in oci|tar archive contains \d+ images/i,
    as: (message) =>
      new AlcoveError('InvalidInput', message, {
        remedy: 'Say which of its images is meant.',
        details: { field: 'reference' },
      }),
  },
  {
    words: /manifest unknown|name unknown|no descriptor found|not found in|repository .*not found/i,
    as: (message) =>
      new AlcoveError('ImageNotFound', message, { remedy: 'Look at the name and the tag of the image.' }),
  },
  {
    words: /unauthorized|authentication required|access to the resource is denied/i,
    as: (message) =>
      new AlcoveError('ToolFailed', message, { remedy: 'Log in to the registry with `skopeo login`.' }),
  },
  {
    words: /did not match|does not match digest|unsupported manifest|parsing manifest/i,
    as: (message) => new AlcoveError('ImageInvalid', message),
  },
  {
    words: /server gave HTTP response to HTTPS client/i,
    as: (message) =>
      new AlcoveError('ToolFailed', message, {
        remedy: 'If the registry speaks plain HTTP, turn TLS off for it.',
      }),
  },
];

function explain(error: AlcoveError, { name, tmpDir, origin }: SkopeoContext): unknown {
  const known = fullDiskOr(error, tmpDir);
  if (known !== error) return known;
  const said = /msg="(.*)"/s.exec(error.message)?.[1]?.replaceAll('\\"', '"') ?? error.message;
  const message = `cannot get ${name}: ${said.trim()}`;
  const meaning = meanings.find(({ words }) => words.test(said));
  if (!meaning && origin === 'registry') return error;
  const explained = meaning ? meaning.as(message) : new AlcoveError('ImageInvalid', message);
  explained.cause = error;
  return explained;
}
