//! All interop tests in one program: linking is what costs. One module for each promise.

mod auth;
mod clients;
mod crash;
mod doors;
mod drain;
mod evaluate;
mod faults;
mod fronts;
mod harvest;
mod identity;
mod injection;
mod leaving;
mod mail;
mod matrix;
mod pit;
mod prometheus;
mod queue;
mod recipes;
mod redirect;
mod relaying;
mod servers;
mod several;
mod smuggling;
mod thousand;
mod transparent;
mod unit;
