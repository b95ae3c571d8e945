//! TLS through the whole gateway: from the first octet and after STARTTLS, with mail to the
//! built-in maildir.

mod client;
#[path = "../common/events.rs"]
mod events;
mod records;
#[path = "../common/config.rs"]
mod sample;
mod stage;

mod endless;
mod held;
mod implicit;
mod places;
mod starttls;
