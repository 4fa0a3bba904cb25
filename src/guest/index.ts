/** The host's end of the guest channel. `agent/PROTOCOL.md` describes what goes over the wire. */
export { type ConnectGuestOptions, connectGuest } from './connect-guest.ts';
export { type CopyInOptions, type CopyOutOptions, copyIn, copyOut } from './copy.ts';
export type * from './guest-channel.ts';
export { type LineOptions, LineSplitter, lines } from './lines.ts';
export { type PackOptions, packPath } from './pack-path.ts';
export { runCommand } from './run-command.ts';
export type { RunOptions } from './run-options.ts';
export { type UnpackLimits, type UnpackOptions, unpackTo } from './unpack-to.ts';
