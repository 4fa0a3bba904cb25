/**
 * The results of `load` for each item, in the items' order, with up to `count` of them under way at once. When one
 * fails, or the loop is left, the others under way end by themselves, so `load` must leave nothing open.
 */
export async function* loadAhead<Item, Loaded>(
  items: AsyncIterable<Item>,
  count: number,
  load: (item: Item) => Promise<Loaded>,
): AsyncGenerator<Loaded, void, undefined> {
  const underWay: Promise<Loaded>[] = [];
  for await (const item of items) {
    const loading = load(item);
    loading.catch(() => {}); // Thrown when its turn comes, if it does.
    underWay.push(loading);
    if (underWay.length >= count) yield await next(underWay);
  }
  while (underWay.length > 0) yield await next(underWay);
}

async function next<Loaded>(underWay: Promise<Loaded>[]): Promise<Loaded> {
  return (await underWay.shift()) as Loaded; // Asked only while there is one.
}
