//! The hands of an SMTP tar pit.

pub mod config;
