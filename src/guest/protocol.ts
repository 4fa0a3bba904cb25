/** Constants of `agent/PROTOCOL.md`. The agent has the same in `agent/src/protocol.rs`; a test compares the two. */

export const protocolVersion = 2;

export const headerBytes = 16;
export const trailerBytes = 4;
export const maxPayloadBytes = 65_536;
export const maxFrameBytes = headerBytes + maxPayloadBytes + trailerBytes;

/** Credit that each direction of each stream and channel starts with. */
export const windowBytes = 262_144;
export const maxStreams = 1_024;
export const nonceBytes = 16;

export const frameType = {
  SYNC: 1,
  SYNC_ACK: 2,
  OPEN: 3,
  OPENED: 4,
  DATA: 5,
  EOF: 6,
  WINDOW: 7,
  CONTROL: 8,
  RESULT: 9,
  ERROR: 10,
  RESET: 11,
} as const;

export const channel = { MAIN: 0, STDERR: 1 } as const;

export const control = { SIGNAL: 1, RESIZE: 2 } as const;

export const op = {
  PING: 1,
  SETUP: 2,
  EXEC: 3,
  ATTACH: 4,
  LIST_DETACHED: 5,
  READ_FILE: 6,
  WRITE_FILE: 7,
  STAT: 8,
  LIST_DIR: 9,
  REMOVE: 10,
  RENAME: 11,
  MKDIR: 12,
  WATCH: 13,
  TAR_IN: 14,
  TAR_OUT: 15,
  DIAL: 16,
  FREEZE: 17,
  THAW: 18,
  CLOCK: 19,
  ENTROPY: 20,
  IDENTITY: 21,
  NETWORK: 22,
  USAGE: 23,
  SHUTDOWN: 24,
  RENEW: 25,
  HOOKS: 26,
  REHEARSE: 27,
} as const;

export const tag = {
  ARGV: 1,
  SHELL: 2,
  ENV: 3,
  CWD: 4,
  USER: 5,
  STDIN: 6,
  PTY: 7,
  TIMEOUT_MS: 8,
  GRACE_MS: 9,
  DRAIN_MS: 10,
  BACKGROUND: 11,
  DETACHED_ID: 12,
  PID: 13,
  EXIT_CODE: 14,
  SIGNAL: 15,
  TIMED_OUT: 16,
  DURATION_US: 17,
  DROPPED: 18,
  RUNNING: 19,
  PATH: 20,
  PATH2: 21,
  OFFSET: 22,
  LENGTH: 23,
  MODE: 24,
  UID: 25,
  GID: 26,
  APPEND: 27,
  PARENTS: 28,
  RECURSIVE: 29,
  KIND: 30,
  SIZE: 31,
  MTIME_NS: 32,
  TARGET: 33,
  CHANGE: 34,
  PORT: 35,
  NAME: 36,
  OUTPUT: 37,
  NO_DEVICES: 38,
  LOWER_SERIAL: 40,
  UPPER_SERIAL: 41,
  HOSTNAME: 42,
  MACHINE_ID: 43,
  UNIX_NS: 44,
  ENTROPY: 45,
  ADDRESS: 46,
  GATEWAY: 47,
  DNS: 48,
  MAX_MS: 49,
  SEAL: 50,
  MAC: 51,
  HOOKS: 52,
  PROTOCOL: 60,
  VERSION: 61,
  BOOT_ID: 62,
  READY: 63,
  KERNEL: 64,
  CODE: 65,
  MESSAGE: 66,
  ERRNO: 67,
  MEMORY_TOTAL: 70,
  MEMORY_AVAILABLE: 71,
  DISK_TOTAL: 72,
  DISK_USED: 73,
  CPU_US: 74,
  PROCESSES: 75,
  UPTIME_US: 76,
} as const;

/** Values of KIND. */
export const kind = { FILE: 1, DIRECTORY: 2, SYMLINK: 3, FIFO: 4, SOCKET: 5, CHAR: 6, BLOCK: 7 } as const;

/** Values of CHANGE. */
export const change = { CREATED: 1, MODIFIED: 2, REMOVED: 3, MOVED: 4, OVERFLOW: 5 } as const;

export type FrameType = (typeof frameType)[keyof typeof frameType];
export type Op = (typeof op)[keyof typeof op];
export type Tag = (typeof tag)[keyof typeof tag];
