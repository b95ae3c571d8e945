//! The priority of what is done for those who wait: below mail.

use rustix::process::setpriority_process;

/// Below mail, which runs at 0: a pit at work must not be felt there. With 19 the pit would starve
/// where mail takes all there is, and replies that come much too late are no good either.
pub(crate) const NICE: i32 = 10;

/// Lets the calling thread, which works for the pit, step behind mail.
pub(crate) fn step_behind_mail() {
    if let Err(error) = setpriority_process(None, NICE) {
        let thread = std::thread::current();
        tracing::warn!(
            target: "tarpit::pit",
            %error,
            thread = thread.name(),
            "the pit runs at the priority of mail: it was not allowed to take less"
        );
    }
}
