/** `npm run example-image`: makes the image that the examples run in, and imports it. */
import { build } from '../scripts/build.ts';
import { setUp } from '../scripts/setup.ts';
import { openAlcove } from '../src/index.ts';
import { exampleImage, exampleImageTar } from './image-tar.ts';

setUp('test');
build();
const path = await exampleImageTar((step) => console.error(`example-image: ${step} …`));
await using alcove = await openAlcove();
console.error(`example-image: importing it as ${exampleImage} …`);
await alcove.images.add({ kind: 'tar', path }, { name: exampleImage });
console.error(`example-image: done. Next:
  npx alcove pipeline run examples/c-project/pipeline.ts
  npx alcove pipeline run examples/npm-package/pipeline.ts`);
