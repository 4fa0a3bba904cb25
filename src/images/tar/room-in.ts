import type { Writable } from 'node:stream';

/** Waits until a stream takes more, or never will. */
export function roomIn(stream: Writable): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      for (const event of ['drain', 'close']) stream.off(event, done);
      resolve();
    };
    for (const event of ['drain', 'close']) stream.on(event, done);
  });
}
