//! As PID 1: boots the VM and serves. Otherwise: `--serve-unix`.

#![no_main]
// Without Rust's own start-up, which aborts when an initramfs has no /dev/null and nothing is open on 0, 1 and 2.

use std::os::raw::{c_char, c_int};

#[no_mangle]
pub extern "C" fn main(_count: c_int, _arguments: *const *const c_char) -> c_int {
    alcove_agent::sys::single_arena();
    if std::process::id() == 1 {
        alcove_agent::boot::main();
    }
    let arguments: Vec<String> =
        std::env::args_os().map(|argument| argument.to_string_lossy().into()).collect();
    match arguments.get(1).map(String::as_str) {
        Some("--version") => {
            println!("{}", alcove_agent::guest::VERSION);
            return 0;
        }
        Some("--no-op") => return alcove_agent::rehearse::no_op(),
        Some("--rehearse") => return alcove_agent::rehearse::main(arguments.get(2..).unwrap_or(&[])),
        _ => {}
    }
    match alcove_agent::serve_unix::main(arguments.get(1..).unwrap_or(&[])) {
        Ok(()) => 0,
        Err(message) => {
            eprintln!("alcove-agent: {message}");
            1
        }
    }
}
