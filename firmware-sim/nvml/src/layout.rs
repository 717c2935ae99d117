//! The state file that simulator and library map: one layout, compiled into both. Plain data and
//! atomics only. Who maps it, who beats and who waits is the business of the two sides.
//!
//! Writers: the simulator writes everything but `Requests` and `persistence`, which the library
//! writes. The enforced limit is derived and never stored, so that no writer can disagree with it.

use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering, fence};
use std::time::{Duration, Instant};

/// "HDRNVML" and a digit; stored last by the simulator, so that a half-made file is refused.
pub const MAGIC: u64 = u64::from_le_bytes(*b"HDRNVML1");
/// Raised with every change of this file.
pub const VERSION: u64 = 2;
/// GPUs that fit into one state file: a rack of 72 is the largest sold (GB200 NVL72).
pub const MAX_GPUS: usize = 72;
/// Xid events kept; a reader that lags further misses the oldest.
pub const EVENT_SLOTS: usize = 256;
/// A heartbeat older than this means that the simulator is gone: every GPU is lost.
pub const STALE_AFTER_NS: u64 = 2_000_000_000;
/// Out-of-band limit when there is none.
pub const NO_LIMIT: u64 = u64::MAX;
/// `NVML_EVENT_TYPE_XID_CRITICAL_ERROR` of nvml.h.
pub const EVENT_XID: u64 = 0x8;

/// A text of at most `N - 1` bytes, ended by 0.
#[repr(C)]
pub struct Text<const N: usize>([AtomicU8; N]);

impl<const N: usize> Text<N> {
    /// Stores `text`, cut to what fits.
    pub fn set(&self, text: &str) {
        let bytes = text.as_bytes().iter().copied().take(N - 1).chain(std::iter::repeat(0));
        for (cell, byte) in self.0.iter().zip(bytes) {
            cell.store(byte, Ordering::Relaxed);
        }
    }

    /// The bytes before the first 0.
    pub fn get(&self) -> Vec<u8> {
        self.0.iter().map(|cell| cell.load(Ordering::Relaxed)).take_while(|byte| *byte != 0).collect()
    }
}

/// What a shared 64-bit word can hold.
pub trait Word: Copy {
    /// As stored.
    fn pack(self) -> u64;
    /// As meant.
    fn unpack(word: u64) -> Self;
}

impl Word for u64 {
    fn pack(self) -> u64 {
        self
    }
    fn unpack(word: u64) -> Self {
        word
    }
}

impl Word for i64 {
    fn pack(self) -> u64 {
        self.cast_unsigned()
    }
    fn unpack(word: u64) -> Self {
        word.cast_signed()
    }
}

impl Word for bool {
    fn pack(self) -> u64 {
        u64::from(self)
    }
    fn unpack(word: u64) -> Self {
        word != 0
    }
}

macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$field_meta:meta])* $field:ident: $kind:ty,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        pub struct $name {
            $($(#[$field_meta])* pub $field: $kind,)*
        }

        impl $name {
            /// Length in 64-bit words.
            pub const WORDS: usize = [$(stringify!($field)),*].len();

            /// In the order of the fields.
            pub fn pack(&self) -> [u64; Self::WORDS] {
                [$(self.$field.pack()),*]
            }

            /// The reverse of `pack`.
            pub fn unpack(words: [u64; Self::WORDS]) -> Self {
                let [$($field),*] = words;
                Self { $($field: Word::unpack($field)),* }
            }
        }
    };
}

words! {
    /// All that changes on a GPU while it works. Everything is as NVML reports it.
    GpuTelemetry {
        /// Board power, mean of the last second, mW (`nvmlDeviceGetPowerUsage` on Hopper; field 185).
        power_average_mw: u64,
        /// Board power now, mW (field 186).
        power_instant_mw: u64,
        /// Energy since the driver was loaded, mJ. Never falls.
        energy_mj: u64,
        /// Core temperature, degC.
        temperature_celsius: i64,
        /// HBM temperature, degC (field 82).
        memory_temperature_celsius: i64,
        /// SM and graphics clock, MHz.
        sm_clock_mhz: u64,
        /// Memory clock, MHz.
        memory_clock_mhz: u64,
        /// Time with a kernel running, 0 to 100 %.
        utilization_percent: u64,
        /// Time with memory traffic, 0 to 100 %.
        memory_utilization_percent: u64,
        /// Memory in use by processes, bytes.
        memory_used_bytes: u64,
        /// Clock event reasons, bits as in nvml.h.
        throttle_reasons: u64,
        /// P-state, 0 (fastest) to 15.
        performance_state: u64,
        /// Time held by the power limit, ns (field 74).
        power_capped_ns: u64,
        /// Time in software thermal slowdown, ns (field 269).
        sw_thermal_ns: u64,
        /// Time in hardware thermal slowdown, ns (field 270).
        hw_thermal_ns: u64,
        /// Time held by the external power brake, ns (field 271).
        power_brake_ns: u64,
        /// Corrected ECC errors since the driver was loaded (field 3).
        ecc_corrected_volatile: u64,
        /// Uncorrected ECC errors since the driver was loaded (field 4).
        ecc_uncorrected_volatile: u64,
        /// Corrected ECC errors of the board's life (field 5).
        ecc_corrected_aggregate: u64,
        /// Uncorrected ECC errors of the board's life (field 6).
        ecc_uncorrected_aggregate: u64,
        /// Rows remapped for corrected errors (field 142).
        remapped_corrected_rows: u64,
        /// Rows remapped for uncorrected errors (field 143; 512 is the limit).
        remapped_uncorrected_rows: u64,
        /// A remap waits for a GPU reset (field 144).
        remap_pending: bool,
        /// A remap failed: the board is for replacement (field 145).
        remap_failed: bool,
        /// PCIe replays (field 94).
        pcie_replays: u64,
        /// PCIe sent, KB/s.
        pcie_tx_kb_per_s: u64,
        /// PCIe received, KB/s.
        pcie_rx_kb_per_s: u64,
        /// What the driver recommends, 0 none to 5 (field 230).
        recovery_action: u64,
        /// Process id of the compute process; 0: none.
        process_id: u64,
        /// Memory of that process, bytes.
        process_memory_bytes: u64,
    }
}

words! {
    /// What a board is and cannot change.
    GpuConstants {
        /// Least power limit that may be set, mW.
        power_limit_min_mw: u64,
        /// Greatest power limit that may be set, mW.
        power_limit_max_mw: u64,
        /// Power limit after the driver was loaded, mW.
        power_limit_default_mw: u64,
        /// Memory, bytes.
        memory_total_bytes: u64,
        /// Memory the driver keeps for itself, bytes.
        memory_reserved_bytes: u64,
        /// Greatest SM clock, MHz.
        sm_clock_max_mhz: u64,
        /// Greatest memory clock, MHz.
        memory_clock_max_mhz: u64,
        /// Temperature at which software slowdown starts: T.Limit margin 0, degC.
        max_operating_celsius: i64,
        /// Margin at which hardware slowdown starts, degC, negative.
        slowdown_margin_celsius: i64,
        /// Margin at which the board shuts down, degC, negative.
        shutdown_margin_celsius: i64,
        /// Memory temperature at which software slowdown starts, degC.
        memory_max_celsius: i64,
        /// PCI domain.
        pci_domain: u64,
        /// PCI bus.
        pci_bus: u64,
        /// PCI device.
        pci_device: u64,
        /// Device id in the upper, vendor id in the lower half.
        pci_device_id: u64,
        /// Subsystem id in the upper, its vendor in the lower half.
        pci_subsystem_id: u64,
        /// `/dev/nvidiaN`.
        minor_number: u64,
        /// SMs times 128 for Hopper.
        cores: u64,
    }
}

/// On a busy machine a writer may be kept from running in the middle of a write, for some ten milliseconds at a time.
const DEAD_AFTER: Duration = Duration::from_secs(1);

/// Words that are written as one and read as one.
#[repr(C)]
pub struct Seqlock<const N: usize> {
    sequence: AtomicU64,
    words: [AtomicU64; N],
}

impl<const N: usize> Seqlock<N> {
    /// Stores all words. One writer at a time.
    pub fn write(&self, words: [u64; N]) {
        // Odd says that a write is going on; `| 1` also heals a writer that died in the middle.
        let busy = self.sequence.load(Ordering::Relaxed) | 1;
        self.sequence.store(busy, Ordering::Relaxed);
        fence(Ordering::Release);
        for (cell, word) in self.words.iter().zip(words) {
            cell.store(word, Ordering::Relaxed);
        }
        self.sequence.store(busy.wrapping_add(1), Ordering::Release);
    }

    /// All words of one write; `None` when a writer stays in the middle for [`DEAD_AFTER`] (it died).
    pub fn read(&self) -> Option<[u64; N]> {
        let mut waits_since = None;
        for attempt in 0_u64.. {
            let before = self.sequence.load(Ordering::Acquire);
            if before & 1 == 0 {
                let words = std::array::from_fn(|index| self.words[index].load(Ordering::Relaxed));
                fence(Ordering::Acquire);
                if self.sequence.load(Ordering::Relaxed) == before {
                    return Some(words);
                }
            }
            if attempt < 100 {
                std::hint::spin_loop();
                continue;
            }
            if waits_since.get_or_insert_with(Instant::now).elapsed() > DEAD_AFTER {
                break;
            }
            std::thread::yield_now();
        }
        None
    }
}

/// What clients asked of a GPU. Single words, so that many clients may write.
#[repr(C)]
pub struct Requests {
    /// Last in-band power limit, mW.
    pub power_limit_mw: AtomicU64,
    /// Least locked clock in the upper, greatest in the lower half, MHz; 0: not locked.
    pub locked_clocks: AtomicU64,
    /// CLOCK_MONOTONIC of the last change, ns; 0: none yet.
    pub changed_ns: AtomicU64,
    /// Successful set calls so far; raised after the words above.
    pub changes: AtomicU64,
}

/// One GPU.
#[repr(C)]
pub struct Gpu {
    /// Product name.
    pub name: Text<96>,
    /// "GPU-xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx".
    pub uuid: Text<96>,
    /// Board serial number.
    pub serial: Text<32>,
    /// Written once, before the magic.
    pub constants: Seqlock<{ GpuConstants::WORDS }>,
    /// Telemetry, followed by the time of the sample, us since 1970.
    pub telemetry: Seqlock<{ GpuTelemetry::WORDS + 1 }>,
    /// Limit by the BMC, mW; [`NO_LIMIT`]: none.
    pub out_of_band_limit_mw: AtomicU64,
    /// 1: fallen off the bus.
    pub lost: AtomicU64,
    /// See [`Requests`].
    pub requests: Requests,
    /// 1: persistence mode on. Written by the library.
    pub persistence: AtomicU64,
}

impl Gpu {
    /// The limit in force: the lower of the requested and the out-of-band one, mW.
    pub fn enforced_limit_mw(&self) -> u64 {
        let requested = self.requests.power_limit_mw.load(Ordering::Acquire);
        requested.min(self.out_of_band_limit_mw.load(Ordering::Acquire))
    }

    /// Telemetry and the time of the sample in us since 1970; `None` when its writer died in the middle.
    pub fn telemetry(&self) -> Option<(GpuTelemetry, u64)> {
        let words = self.telemetry.read()?;
        let (telemetry, stamp) = words.split_at(GpuTelemetry::WORDS);
        Some((GpuTelemetry::unpack(telemetry.try_into().ok()?), *stamp.first()?))
    }

    /// Publishes telemetry sampled at `unix_us`.
    pub fn publish(&self, telemetry: &GpuTelemetry, unix_us: u64) {
        let mut words = [unix_us; GpuTelemetry::WORDS + 1];
        words[..GpuTelemetry::WORDS].copy_from_slice(&telemetry.pack());
        self.telemetry.write(words);
    }

    /// Records that a set call succeeded at `now_ns` (CLOCK_MONOTONIC).
    pub fn requested(&self, now_ns: u64) {
        self.requests.changed_ns.store(now_ns, Ordering::Relaxed);
        self.requests.changes.fetch_add(1, Ordering::Release);
    }
}

/// One event: GPU, kind, detail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// Index of the GPU.
    pub gpu: usize,
    /// One bit of nvml.h's event types, such as [`EVENT_XID`].
    pub kind: u64,
    /// The Xid.
    pub data: u64,
}

/// The last [`EVENT_SLOTS`] events. One writer.
#[repr(C)]
pub struct Events {
    /// Events so far, wrapping: the futex word that readers sleep on.
    pub count: AtomicU32,
    padding: AtomicU32,
    slots: [Seqlock<4>; EVENT_SLOTS],
}

impl Events {
    /// Appends; the caller then wakes the sleepers on `count`.
    pub fn push(&self, event: Event) {
        let number = self.count.load(Ordering::Relaxed);
        let words = [u64::from(number), event.gpu as u64, event.kind, event.data];
        self.slots[number as usize % EVENT_SLOTS].write(words);
        self.count.store(number.wrapping_add(1), Ordering::Release);
    }

    /// The event with this number; `None` when it has been overwritten.
    pub fn get(&self, number: u32) -> Option<Event> {
        let [at, gpu, kind, data] = self.slots[number as usize % EVENT_SLOTS].read()?;
        (at == u64::from(number)).then_some(Event { gpu: gpu as usize, kind, data })
    }
}

/// The whole file.
#[repr(C)]
pub struct Region {
    /// [`MAGIC`].
    pub magic: AtomicU64,
    /// [`VERSION`].
    pub version: AtomicU64,
    /// `size_of::<Region>()` of the writer.
    pub size_bytes: AtomicU64,
    /// GPUs in use, 1 to [`MAX_GPUS`].
    pub gpu_count: AtomicU64,
    /// Raised by every beat.
    pub heartbeats: AtomicU64,
    /// CLOCK_MONOTONIC of the last beat, ns.
    pub heartbeat_ns: AtomicU64,
    /// 1000 major + 10 minor.
    pub cuda_version: AtomicU64,
    /// Such as "580.95.05".
    pub driver_version: Text<96>,
    /// Such as "13.580.95.05".
    pub nvml_version: Text<96>,
    /// See [`Events`].
    pub events: Events,
    /// The first `gpu_count` are in use.
    pub gpus: [Gpu; MAX_GPUS],
}

impl Region {
    /// Why this is not a state file of this version, or nothing.
    pub fn refusal(&self) -> Option<&'static str> {
        if self.magic.load(Ordering::Acquire) != MAGIC {
            return Some("no state file, or not finished");
        }
        let same = self.version.load(Ordering::Relaxed) == VERSION
            && self.size_bytes.load(Ordering::Relaxed) == size_of::<Region>() as u64;
        (!same).then_some("state file of another version")
    }

    /// The GPUs in use.
    pub fn gpus(&self) -> &[Gpu] {
        let count = self.gpu_count.load(Ordering::Relaxed).min(MAX_GPUS as u64);
        &self.gpus[..count as usize]
    }

    /// Whether the simulator has beaten lately, at `now_ns` (CLOCK_MONOTONIC).
    pub fn alive(&self, now_ns: u64) -> bool {
        now_ns.saturating_sub(self.heartbeat_ns.load(Ordering::Acquire)) <= STALE_AFTER_NS
    }
}
