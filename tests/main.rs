//! One binary for all integration tests, so that the support code is built once.

mod acl;
mod common;
mod examples;
mod interop;
mod layers;
mod package;
