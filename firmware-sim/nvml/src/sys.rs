//! The four system calls that std does not offer: map, unmap, sleep on a shared word, monotonic time.

use std::ffi::{c_int, c_long, c_void};
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::ptr::NonNull;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

#[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
compile_error!("the NVML look-alike needs 64-bit Linux: futex and shared mapping");

#[repr(C)]
struct Timespec {
    seconds: i64,
    nanoseconds: i64,
}

unsafe extern "C" {
    fn mmap(address: *mut c_void, length: usize, prot: c_int, flags: c_int, fd: c_int, offset: i64) -> *mut c_void;
    fn munmap(address: *mut c_void, length: usize) -> c_int;
    fn clock_gettime(clock: c_int, time: *mut Timespec) -> c_int;
    fn syscall(number: c_long, ...) -> c_long;
}

const PROT_READ: c_int = 1;
const PROT_WRITE: c_int = 2;
const MAP_SHARED: c_int = 1;
const CLOCK_MONOTONIC: c_int = 1;
const FUTEX_WAIT: c_int = 0;
#[cfg(target_arch = "x86_64")]
const SYS_FUTEX: c_long = 202;
/// The number of the generic table: aarch64, riscv64.
#[cfg(not(target_arch = "x86_64"))]
const SYS_FUTEX: c_long = 98;

/// Maps the first `length` bytes of a file, shared.
pub fn map(file: &File, length: usize, writable: bool) -> io::Result<NonNull<c_void>> {
    let prot = if writable { PROT_READ | PROT_WRITE } else { PROT_READ };
    // SAFETY: a new mapping where the kernel likes; touches no memory that exists.
    let address = unsafe { mmap(std::ptr::null_mut(), length, prot, MAP_SHARED, file.as_raw_fd(), 0) };
    if address.addr() == usize::MAX {
        return Err(io::Error::last_os_error());
    }
    NonNull::new(address).ok_or_else(|| io::Error::other("mapped at address 0"))
}

/// # Safety
/// `address` and `length` are those of a mapping by `map` that nothing uses any more.
pub unsafe fn unmap(address: NonNull<c_void>, length: usize) {
    // SAFETY: by the contract above.
    unsafe { munmap(address.as_ptr(), length) };
}

/// Sleeps until another process wakes `word`, at most `timeout`; not at all if it is no longer `seen`.
pub fn sleep_on(word: &AtomicU32, seen: u32, timeout: Duration) {
    let time = Timespec {
        seconds: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
        nanoseconds: i64::from(timeout.subsec_nanos()),
    };
    // SAFETY: a live, aligned 32-bit word and a live timespec; both are only read.
    unsafe { syscall(SYS_FUTEX, word.as_ptr(), FUTEX_WAIT, seen, &raw const time) };
}

/// CLOCK_MONOTONIC, shared by all processes, ns.
pub fn monotonic_ns() -> u64 {
    let mut time = Timespec { seconds: 0, nanoseconds: 0 };
    // SAFETY: writes one timespec to a live one.
    unsafe { clock_gettime(CLOCK_MONOTONIC, &raw mut time) };
    time.seconds.cast_unsigned() * 1_000_000_000 + time.nanoseconds.cast_unsigned()
}
