//! Every other name of NVML, so that no client misses a symbol: "not supported" is what a real board
//! says of what it lacks, and all clients show it as such.

use crate::code::{NOT_SUPPORTED, returned};
use crate::state::session;

macro_rules! stubs {
    ($($name:ident)*) => {$(
        /// Takes any arguments: in the C calling convention of 64-bit Linux the caller clears them away.
        #[unsafe(no_mangle)]
        pub extern "C" fn $name() -> u32 {
            returned(session().and(Err(NOT_SUPPORTED)))
        }
    )*};
}

include!("stubs/names.in");
