//! One binary for all integration tests, so that the support code is built once.

mod common;
mod faults;
mod interop;
mod worker;
