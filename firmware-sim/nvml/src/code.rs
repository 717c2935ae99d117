//! NVML's return codes, and how an exported function comes to return one.

/// An `nvmlReturn_t` other than success.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Code(pub u32);

/// What the body of an exported function yields.
pub type Done = Result<(), Code>;

pub const SUCCESS: u32 = 0;
pub const UNINITIALIZED: Code = Code(1);
pub const INVALID_ARGUMENT: Code = Code(2);
pub const NOT_SUPPORTED: Code = Code(3);
pub const NO_PERMISSION: Code = Code(4);
pub const NOT_FOUND: Code = Code(6);
pub const INSUFFICIENT_SIZE: Code = Code(7);
pub const DRIVER_NOT_LOADED: Code = Code(9);
pub const TIMEOUT: Code = Code(10);
pub const GPU_IS_LOST: Code = Code(15);
pub const LIB_RM_VERSION_MISMATCH: Code = Code(18);
pub const ARGUMENT_VERSION_MISMATCH: Code = Code(25);
pub const UNKNOWN: Code = Code(999);

/// As a C caller sees it.
pub fn returned(done: Done) -> u32 {
    done.map_or_else(|code| code.0, |()| SUCCESS)
}

/// Exports each function with the C calling convention under its own name. The body yields `Done`.
macro_rules! exports {
    ($($(#[$meta:meta])* fn $name:ident($($arg:ident: $kind:ty),* $(,)?) $body:block)*) => {$(
        $(#[$meta])*
        #[unsafe(no_mangle)]
        pub extern "C" fn $name($($arg: $kind),*) -> u32 {
            fn body($($arg: $kind),*) -> $crate::code::Done $body
            $crate::code::returned(body($($arg),*))
        }
    )*};
}
pub(crate) use exports;

/// What `nvmlErrorString` says; the texts of the real library.
pub fn text(code: u32) -> &'static std::ffi::CStr {
    match code {
        0 => c"Success",
        1 => c"Uninitialized",
        2 => c"Invalid Argument",
        3 => c"Not Supported",
        4 => c"Insufficient Permissions",
        5 => c"Already Initialized",
        6 => c"Not Found",
        7 => c"Insufficient Size",
        8 => c"Insufficient External Power",
        9 => c"Driver Not Loaded",
        10 => c"Timeout",
        11 => c"Interrupt Request Issue",
        12 => c"NVML Shared Library Not Found",
        13 => c"Function Not Found",
        14 => c"Corrupted infoROM",
        15 => c"GPU is lost",
        16 => c"GPU requires reset",
        17 => c"GPU access blocked by the operating system",
        18 => c"Driver/library version mismatch",
        19 => c"In use by another client",
        20 => c"Insufficient Memory",
        21 => c"No data",
        22 => c"The requested vgpu operation is not available on target device, because ECC is enabled",
        23 => c"Insufficient Resources",
        24 => c"Requested frequency is not supported",
        25 => c"The provided version is invalid/unsupported",
        26 => c"The requested functionality has been deprecated",
        27 => c"The system is not ready for the request",
        28 => c"No GPUs were found",
        29 => c"Resource not in correct state to perform requested operation",
        30 => c"Reset not supported for requested device(s)",
        _ => c"Unknown Error",
    }
}
