import type { ImageSource } from '../images/index.ts';
import type { Invocation } from './invocation.ts';

/** Brings an image in and shows its digest. */
export function addImage(
  invocation: Invocation,
  source: ImageSource,
  name: string | undefined,
): Promise<number> {
  const { signal, progress } = invocation;
  return invocation.withEngine(async (alcove) => {
    const image = await alcove.images.add(source, {
      signal,
      onProgress: ({ step }) => progress.step(step),
      ...(name !== undefined && { name }),
    });
    await invocation.show(image, () => image.digest);
    return 0;
  });
}
