import type { ImageConfig } from '../image.ts';
import type { Layer } from '../layers/layer.ts';

/** What a source of any kind comes down to: tars to lay over each other, and how to run what they hold. */
export interface ImageContents {
  /** The manifest's digest; a source without manifest is named by the digest of its one tar. */
  digest: string | 'of-the-tar';
  config: ImageConfig;
  layers: readonly Layer[];
}

/** Of sources that say nothing about how to run them. */
export const emptyConfig: ImageConfig = { env: {} };
