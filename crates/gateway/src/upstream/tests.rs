//! The upstream side, against a scripted server.
