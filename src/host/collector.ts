import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

/** So many bytes may go by before buffers that nobody uses are collected. */
const betweenBytes = 16 << 20;

type Collect = (options: { type: 'minor'; execution: 'sync' }) => void;

/**
 * Has the buffers of a stream collected as it goes by. By itself V8 looks when 64 MB of them have come together, and holds that much
 * for as long as the stream lasts; this looks every 16 MB, for about 1 ms.
 */
export class Collector {
  #passedBytes = 0;

  /** So many bytes went by. */
  passed(bytes: number): void {
    this.#passedBytes += bytes;
    if (this.#passedBytes < betweenBytes) return;
    this.#passedBytes = 0;
    collectYoung();
  }
}

let collect: Collect | undefined;

/** V8 gives its collector to contexts that are made while the flag is set. */
function collectYoung(): void {
  if (!collect) {
    setFlagsFromString('--expose-gc');
    collect = runInNewContext('gc') as Collect;
    setFlagsFromString('--no-expose-gc');
  }
  collect({ type: 'minor', execution: 'sync' });
}
