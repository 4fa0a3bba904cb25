/** Host folders, copied into a guest: what is in them for the key, and the copying. */
export { type InjectOptions, inject, injectedTree } from './inject.ts';
