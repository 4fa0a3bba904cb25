/** The object graph that owns one state directory. */
export type * from './alcove.ts';
export * from './doctor.ts';
export { openAlcove } from './open.ts';
