/** The host's end of the guest channel. `agent/PROTOCOL.md` describes what goes over the wire. */
export { type ConnectGuestOptions, connectGuest } from './connect-guest.ts';
export type * from './guest-channel.ts';
export { type LineOptions, LineSplitter, lines } from './lines.ts';
export { runCommand } from './run-command.ts';
export type { RunOptions } from './run-options.ts';
