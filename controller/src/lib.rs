//! The controller: link, record, serve, alert and the console around the pure cores.

pub mod alert;
pub mod broker;
pub mod clock;
pub mod http;
pub mod influx;
pub mod link;
pub mod record;
pub mod stop;
