import { AlcoveError } from '../errors.ts';

type Path = readonly PropertyKey[];

interface Origin {
  /** The key as its user wrote it. */
  name: Path;
  /** A file, a variable, … */
  where: string;
}

/** Where settings were made and by what name, so that an error names them as their user wrote them. */
export class Origins {
  readonly #file: string;
  readonly #origins = new Map<string, Origin>();

  /** @param file where everything was set of which nothing else is said */
  constructor(file: string) {
    this.#file = file;
  }

  set(path: Path, origin: Origin): void {
    this.#origins.set(path.join('.'), origin);
  }

  /** Of a value, or of one inside of it. */
  of(path: Path): Origin {
    for (let length = path.length; length > 0; length--) {
      const origin = this.#origins.get(path.slice(0, length).join('.'));
      if (origin) return { ...origin, name: [...origin.name, ...path.slice(length)] };
    }
    return { name: path, where: this.#file };
  }
}

/** An error that names a setting and where it was made. */
export function invalidSetting(name: Path, where: string, what: string): AlcoveError<'InvalidInput'> {
  const field = name.map(writtenKey).join('.');
  return new AlcoveError('InvalidInput', `${field} in ${where}: ${what}`, { details: { field } });
}

/** As TOML writes it: in quotes where it is more than letters, digits, `_` and `-`. */
function writtenKey(key: PropertyKey): string {
  const text = String(key);
  return /^[\w-]+$/.test(text) ? text : JSON.stringify(text);
}
