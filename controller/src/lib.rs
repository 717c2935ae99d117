//! The controller: link, record, serve, alert and the console around the pure cores.

mod access;
pub mod alert;
mod ask;
pub mod bench;
pub mod broker;
mod cli;
pub mod clock;
pub mod config;
pub mod counts;
mod curves;
pub mod events;
pub mod flex;
pub mod forecaster;
pub mod hands;
pub mod history;
pub mod http;
pub mod influx;
mod kept;
pub mod learning;
pub mod link;
pub mod metrics;
pub mod observed;
pub mod parent;
pub mod picture;
pub mod policy;
pub mod record;
mod run;
pub mod serve;
mod session;
pub mod stop;
pub mod topology;
pub mod view;

pub use cli::{Cli, run};
