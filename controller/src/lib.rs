//! The controller: link, record, serve, alert and the console around the pure cores.
