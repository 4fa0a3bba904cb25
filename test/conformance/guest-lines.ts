/** How many processes have this command line. Not with pgrep: Debian's static busybox has none. */
const count = (commandLine: string) => `ps -o args | grep -cx "${commandLine}"`;
/** A child is a copy of the shell before it is what it becomes. */
const untilTwo = `until [ $(${count('sleep 5000')}) -ge 2 ]; do sleep 0.05; done`;

/**
 * Every shell line the suite runs in a guest. A real guest's busybox understands them; a scripted one is given a behaviour
 * for each, by name.
 */
export const lines = {
  bothStreams: 'echo out; echo err >&2; exit 3',
  killItself: 'kill -9 $$',
  variables: 'echo "$A $B $C"',
  directory: 'pwd',
  userId: 'id -u',
  copyInput: 'cat',
  terminalSize: 'stty size',
  /** A process with two children, none of which ends by itself; says `up` when they are there. */
  tree: `sleep 5000 & sleep 5000 & ${untilTwo}; echo up; wait`,
  /** As {@link tree}, and deaf to TERM. */
  stubbornTree: `trap "" TERM; sleep 5000 & sleep 5000 & ${untilTwo}; echo up; while :; do wait; done`,
  countTree: `${count('sleep 5000')}; true`,
  /** Leaves a process in the background. */
  background: `sleep 6000 >/dev/null 2>&1 & until ${count('sleep 6000')} >/dev/null; do sleep 0.05; done; echo left`,
  countBackground: `${count('sleep 6000')}; true`,
  /** 4,000,000 bytes on stdout. */
  flood: 'yes 0123456 | head -c 4000000',
  writeOne: 'echo one > /root/note',
  writeTwo: 'echo two > /root/note',
  readNote: 'cat /root/note',
  /** Host name, machine id and random bytes, a line each. */
  identity: 'hostname; cat /etc/machine-id; head -c 16 /dev/urandom | md5sum',
  /** Sends a greeting to whoever connects first. */
  listen: 'echo hello | nc -l -p 7777',
  /** A moment in the guest's own time. */
  moment: 'sleep 0.05',
  wait: 'echo up; sleep 7000',
  /** Repeats one line of its input, and waits. */
  repeatAndWait: 'read word; echo "$word"; sleep 7000',
  /** Ends the machine from inside, unasked. */
  powerOff: 'poweroff -f; echo o > /proc/sysrq-trigger; sleep 100',
} as const;
