//! What must hold whatever clients, upstream and operator do.

mod chunks;
mod random;
mod scene;
