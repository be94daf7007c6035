//! The dashboard, with requests as a browser sends them, over queues that oxmq and Node have filled.

mod access;
mod actions;
mod board;
mod browser;
mod bull_board;
mod changes;
mod chrome;
mod connections;
mod doctor;
mod hostile;
mod lists;
mod marked;
mod on_cluster;
mod pages;
mod persons;
mod rights;
mod shop;
mod site;
pub(crate) mod stuffed;
