import { chooseUid, type UidRange } from './unprivileged-user.ts';

/** User ids of the machines that are there, so that no two share one. */
export class UidPool {
  readonly #taken = new Set<number>();

  /** @returns `undefined` when machines run as the engine's own user */
  take(range: UidRange | undefined, machineName: string): number | undefined {
    if (!range) return undefined;
    const uid = chooseUid(range, machineName, this.#taken);
    this.#taken.add(uid);
    return uid;
  }

  /** Of a machine that was found again. */
  hold(uid: number | null | undefined): void {
    if (typeof uid === 'number') this.#taken.add(uid);
  }

  give(uid: number | null | undefined): void {
    if (typeof uid === 'number') this.#taken.delete(uid);
  }
}
