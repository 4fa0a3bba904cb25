//! The numbers of `PROTOCOL.md`. A test on the host's side reads this file and compares; keep one constant a line.

pub const PROTOCOL_VERSION: u32 = 1;
pub const PORT_NAME: &str = "alcove.agent";

pub const MAX_PAYLOAD: usize = 65536;
pub const INITIAL_CREDIT: u32 = 262144;
pub const MAX_STREAMS: usize = 1024;

pub const FRAME_SYNC: u8 = 1;
pub const FRAME_SYNC_ACK: u8 = 2;
pub const FRAME_OPEN: u8 = 3;
pub const FRAME_OPENED: u8 = 4;
pub const FRAME_DATA: u8 = 5;
pub const FRAME_EOF: u8 = 6;
pub const FRAME_WINDOW: u8 = 7;
pub const FRAME_CONTROL: u8 = 8;
pub const FRAME_RESULT: u8 = 9;
pub const FRAME_ERROR: u8 = 10;
pub const FRAME_RESET: u8 = 11;

pub const CONTROL_SIGNAL: u8 = 1;
pub const CONTROL_RESIZE: u8 = 2;

pub const CHANNEL_MAIN: u8 = 0;
pub const CHANNEL_STDERR: u8 = 1;

pub const OP_PING: u8 = 1;
pub const OP_SETUP: u8 = 2;
pub const OP_EXEC: u8 = 3;
pub const OP_ATTACH: u8 = 4;
pub const OP_LIST_DETACHED: u8 = 5;
pub const OP_READ_FILE: u8 = 6;
pub const OP_WRITE_FILE: u8 = 7;
pub const OP_STAT: u8 = 8;
pub const OP_LIST_DIR: u8 = 9;
pub const OP_REMOVE: u8 = 10;
pub const OP_RENAME: u8 = 11;
pub const OP_MKDIR: u8 = 12;
pub const OP_WATCH: u8 = 13;
pub const OP_TAR_IN: u8 = 14;
pub const OP_TAR_OUT: u8 = 15;
pub const OP_DIAL: u8 = 16;
pub const OP_FREEZE: u8 = 17;
pub const OP_THAW: u8 = 18;
pub const OP_CLOCK: u8 = 19;
pub const OP_ENTROPY: u8 = 20;
pub const OP_IDENTITY: u8 = 21;
pub const OP_NETWORK: u8 = 22;
pub const OP_USAGE: u8 = 23;
pub const OP_SHUTDOWN: u8 = 24;

pub const TAG_ARGV: u16 = 1;
pub const TAG_SHELL: u16 = 2;
pub const TAG_ENV: u16 = 3;
pub const TAG_CWD: u16 = 4;
pub const TAG_USER: u16 = 5;
pub const TAG_STDIN: u16 = 6;
pub const TAG_PTY: u16 = 7;
pub const TAG_TIMEOUT_MS: u16 = 8;
pub const TAG_GRACE_MS: u16 = 9;
pub const TAG_DRAIN_MS: u16 = 10;
pub const TAG_BACKGROUND: u16 = 11;
pub const TAG_DETACHED_ID: u16 = 12;
pub const TAG_PID: u16 = 13;
pub const TAG_EXIT_CODE: u16 = 14;
pub const TAG_SIGNAL: u16 = 15;
pub const TAG_TIMED_OUT: u16 = 16;
pub const TAG_DURATION_US: u16 = 17;
pub const TAG_DROPPED: u16 = 18;
pub const TAG_RUNNING: u16 = 19;
pub const TAG_PATH: u16 = 20;
pub const TAG_PATH2: u16 = 21;
pub const TAG_OFFSET: u16 = 22;
pub const TAG_LENGTH: u16 = 23;
pub const TAG_MODE: u16 = 24;
pub const TAG_UID: u16 = 25;
pub const TAG_GID: u16 = 26;
pub const TAG_APPEND: u16 = 27;
pub const TAG_PARENTS: u16 = 28;
pub const TAG_RECURSIVE: u16 = 29;
pub const TAG_KIND: u16 = 30;
pub const TAG_SIZE: u16 = 31;
pub const TAG_MTIME_NS: u16 = 32;
pub const TAG_TARGET: u16 = 33;
pub const TAG_CHANGE: u16 = 34;
pub const TAG_PORT: u16 = 35;
pub const TAG_LOWER_SERIAL: u16 = 40;
pub const TAG_UPPER_SERIAL: u16 = 41;
pub const TAG_HOSTNAME: u16 = 42;
pub const TAG_MACHINE_ID: u16 = 43;
pub const TAG_UNIX_NS: u16 = 44;
pub const TAG_ENTROPY: u16 = 45;
pub const TAG_ADDRESS: u16 = 46;
pub const TAG_GATEWAY: u16 = 47;
pub const TAG_DNS: u16 = 48;
pub const TAG_MAX_MS: u16 = 49;
pub const TAG_PROTOCOL: u16 = 60;
pub const TAG_VERSION: u16 = 61;
pub const TAG_BOOT_ID: u16 = 62;
pub const TAG_READY: u16 = 63;
pub const TAG_KERNEL: u16 = 64;
pub const TAG_CODE: u16 = 65;
pub const TAG_MESSAGE: u16 = 66;
pub const TAG_ERRNO: u16 = 67;
pub const TAG_MEMORY_TOTAL: u16 = 70;
pub const TAG_MEMORY_AVAILABLE: u16 = 71;
pub const TAG_DISK_TOTAL: u16 = 72;
pub const TAG_DISK_USED: u16 = 73;
pub const TAG_CPU_US: u16 = 74;
pub const TAG_PROCESSES: u16 = 75;
pub const TAG_UPTIME_US: u16 = 76;

pub const KIND_FILE: u8 = 1;
pub const KIND_DIRECTORY: u8 = 2;
pub const KIND_SYMLINK: u8 = 3;
pub const KIND_FIFO: u8 = 4;
pub const KIND_SOCKET: u8 = 5;
pub const KIND_CHAR: u8 = 6;
pub const KIND_BLOCK: u8 = 7;

pub const CHANGE_CREATED: u8 = 1;
pub const CHANGE_MODIFIED: u8 = 2;
pub const CHANGE_REMOVED: u8 = 3;
pub const CHANGE_MOVED: u8 = 4;
pub const CHANGE_OVERFLOW: u8 = 5;

/// How a message to the user names a field of a request.
pub fn tag_name(tag: u16) -> &'static str {
    match tag {
        TAG_ARGV => "ARGV",
        TAG_SHELL => "SHELL",
        TAG_ENV => "ENV",
        TAG_CWD => "CWD",
        TAG_USER => "USER",
        TAG_STDIN => "STDIN",
        TAG_PTY => "PTY",
        TAG_TIMEOUT_MS => "TIMEOUT_MS",
        TAG_GRACE_MS => "GRACE_MS",
        TAG_DRAIN_MS => "DRAIN_MS",
        TAG_BACKGROUND => "BACKGROUND",
        TAG_DETACHED_ID => "DETACHED_ID",
        TAG_SIGNAL => "SIGNAL",
        TAG_PATH => "PATH",
        TAG_PATH2 => "PATH2",
        TAG_OFFSET => "OFFSET",
        TAG_LENGTH => "LENGTH",
        TAG_MODE => "MODE",
        TAG_UID => "UID",
        TAG_GID => "GID",
        TAG_APPEND => "APPEND",
        TAG_PARENTS => "PARENTS",
        TAG_RECURSIVE => "RECURSIVE",
        TAG_PORT => "PORT",
        TAG_LOWER_SERIAL => "LOWER_SERIAL",
        TAG_UPPER_SERIAL => "UPPER_SERIAL",
        TAG_HOSTNAME => "HOSTNAME",
        TAG_MACHINE_ID => "MACHINE_ID",
        TAG_UNIX_NS => "UNIX_NS",
        TAG_ENTROPY => "ENTROPY",
        TAG_ADDRESS => "ADDRESS",
        TAG_GATEWAY => "GATEWAY",
        TAG_DNS => "DNS",
        TAG_MAX_MS => "MAX_MS",
        _ => "a field",
    }
}
