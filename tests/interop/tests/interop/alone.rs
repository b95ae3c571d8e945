//! Tests that need the machine for themselves: they compare times, or fill it. `cargo xtask test` runs
//! them after the others, one after the other; beside others they would judge those.

pub(crate) mod fifteen_thousand;
mod flood;
