//! All interop tests in one program: linking is what costs.

mod servers;
