/**
 * The host's end of the guest channel. `agent/PROTOCOL.md` describes what goes over the wire.
 *
 * `wire/` turns bytes into frames and values, and back; `connection.ts` and `call.ts` carry calls over them;
 * `connected-guest.ts` is the {@link GuestChannel}. `run-command.ts` with `output/`, and `copy.ts` with `tar/`, are what is
 * built on a channel, whoever implements it.
 */
export { type ConnectGuestOptions, connectGuest } from './connect-guest.ts';
export { type CopyInOptions, type CopyOutOptions, copyIn, copyOut } from './copy.ts';
export { commandLabel } from './exec-request.ts';
export type * from './guest-channel.ts';
export { type LineOptions, LineSplitter, lines } from './output/lines.ts';
export { restOfCharacter, wholeCharacters } from './output/utf8.ts';
export { runCommand } from './run-command.ts';
export type { RunOptions } from './run-options.ts';
export { listTree, type Select, type SelectEntry, type TreeOptions } from './tar/host-tree.ts';
export { type PackOptions, packPath } from './tar/pack-path.ts';
export { scanTree } from './tar/scan-tree.ts';
export type { TreeEntry } from './tar/tree-entry.ts';
export type { TreeKind } from './tar/tree-kind.ts';
export { type UnpackLimits, type UnpackOptions, unpackTo } from './tar/unpack-to.ts';
