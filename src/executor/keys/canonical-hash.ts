import { createHash, type Hash } from 'node:crypto';

/**
 * SHA-256 over texts, each with its length before it, so that no two lists of texts have one encoding.
 *
 * @param domain keeps digests of one kind from being those of another
 */
export class CanonicalHash {
  readonly #hash: Hash = createHash('sha256');

  constructor(domain: string) {
    this.add(domain);
  }

  add(...texts: readonly string[]): this {
    for (const text of texts) this.#hash.update(`${Buffer.byteLength(text)}:${text}`);
    return this;
  }

  /** As hex; final. */
  digest(): string {
    return this.#hash.digest('hex');
  }
}
