//! What must hold whatever clients, upstream and operator do.

mod bdat;
mod chunks;
mod random;
mod scene;
