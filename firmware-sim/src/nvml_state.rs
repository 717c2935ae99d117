//! The simulator's side of the NVML state file: creates and maps it, publishes telemetry, reads
//! what clients asked for, raises Xids. The library in `nvml/` is the other side. Physics is not here.
//! The one place of this crate with unsafe code: the mapping and the futex.
#![allow(unsafe_code)]

#[path = "../nvml/src/layout.rs"]
pub mod layout;

use layout::{EVENT_XID, Event, MAGIC, MAX_GPUS, NO_LIMIT, Region, VERSION};
use std::fs::{OpenOptions, Permissions};
use std::io;
use std::ops::Deref;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

pub use layout::{GpuConstants, GpuTelemetry};

/// Driver version told to clients. From 580.82 on, field ids 251 to 273 are numbered as in CUDA 13
/// Update 1; the library answers in that numbering, so this must not be lower.
pub const DRIVER_VERSION: &str = "580.95.05";
/// NVML version told to clients.
pub const NVML_VERSION: &str = "13.580.95.05";
/// CUDA 13.0, as 1000 major + 10 minor.
pub const CUDA_VERSION: u64 = 13_000;

/// What one board is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GpuIdentity {
    /// Product name.
    pub name: String,
    /// "GPU-xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx"; unique in the site.
    pub uuid: String,
    /// Board serial number.
    pub serial: String,
    /// Limits, memory, clocks, thresholds, PCI.
    pub constants: GpuConstants,
}

impl GpuIdentity {
    /// GPU `index` of an HGX H100 board in the rack with this name. UUID and serial follow from
    /// both, so that a GPU keeps them over a restart.
    ///
    /// Limits 200/700/700 W and T.Limit margins -8/-2/0/0 as captured from an H100 80GB HBM3
    /// (thamada/nvidia-smi); 87 degC for margin 0; PCI device 2330 (GH100 SXM5 80GB) on the buses of a DGX H100.
    pub fn h100_sxm(rack: &str, index: usize) -> Self {
        const MIB: u64 = 1 << 20;
        const BUSES: [u64; 8] = [0x1b, 0x43, 0x52, 0x61, 0x9d, 0xc3, 0xd1, 0xdf];
        let (high, low) = (mix(rack, index, 1), mix(rack, index, 2));
        Self {
            name: "NVIDIA H100 80GB HBM3".into(),
            uuid: format!(
                "GPU-{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
                high >> 32,
                (high >> 16) & 0xffff,
                high & 0xffff,
                low >> 48,
                low & 0xffff_ffff_ffff
            ),
            serial: format!("165{:010}", mix(rack, index, 3) % 10_000_000_000),
            constants: GpuConstants {
                power_limit_min_mw: 200_000,
                power_limit_max_mw: 700_000,
                power_limit_default_mw: 700_000,
                memory_total_bytes: 81_559 * MIB,
                memory_reserved_bytes: 551 * MIB,
                sm_clock_max_mhz: 1980,
                memory_clock_max_mhz: 2619,
                max_operating_celsius: 87,
                slowdown_margin_celsius: -2,
                shutdown_margin_celsius: -8,
                memory_max_celsius: 95,
                pci_domain: (index / BUSES.len()) as u64,
                pci_bus: BUSES[index % BUSES.len()],
                pci_device: 0,
                pci_device_id: 0x2330_10de,
                pci_subsystem_id: 0x16c1_10de,
                minor_number: index as u64,
                cores: 16_896,
            },
        }
    }
}

/// FNV-1a, then the finaliser of splitmix64: only has to be stable and to spread.
fn mix(rack: &str, index: usize, salt: u64) -> u64 {
    let bytes = rack.bytes().chain((index as u64).to_le_bytes()).chain(salt.to_le_bytes());
    let mut hash = bytes
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

/// What clients asked of one GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GpuRequests {
    /// Last in-band power limit, mW; the default limit at first. Within the board's constraints.
    pub power_limit_mw: u64,
    /// Limit in force, mW: the lower of `power_limit_mw` and the out-of-band limit.
    pub enforced_limit_mw: u64,
    /// Locked SM clocks, least and greatest, MHz.
    pub locked_clocks_mhz: Option<(u32, u32)>,
    /// Successful set calls so far.
    pub changes: u64,
    /// CLOCK_MONOTONIC of the last one, ns.
    pub changed_monotonic_ns: Option<u64>,
}

/// A mapped state file. May be shared between threads; for each GPU, one thread publishes.
pub struct NvmlState {
    region: Mapping,
}

impl std::fmt::Debug for NvmlState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NvmlState").field("gpu_count", &self.gpu_count()).finish_non_exhaustive()
    }
}

impl NvmlState {
    /// Creates the file with mode 0600 (or takes over one left by an earlier run, in place: clients
    /// that still map it go on) with every GPU idle at its default limit, and beats once.
    ///
    /// # Errors
    /// No GPU or more than 72, a link in place of the file, or what the file system says.
    pub fn create(path: &Path, gpus: &[GpuIdentity]) -> io::Result<Self> {
        if gpus.is_empty() || gpus.len() > MAX_GPUS {
            let text = format!("{}: {} GPUs, but a state file holds 1 to {MAX_GPUS}", path.display(), gpus.len());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let region = Mapping::open(path)?;
        region.magic.store(0, Ordering::SeqCst);
        region.version.store(VERSION, Ordering::Relaxed);
        region.size_bytes.store(size_of::<Region>() as u64, Ordering::Relaxed);
        region.driver_version.set(DRIVER_VERSION);
        region.nvml_version.set(NVML_VERSION);
        region.cuda_version.store(CUDA_VERSION, Ordering::Relaxed);
        for (gpu, identity) in region.gpus.iter().zip(gpus) {
            start(gpu, identity);
        }
        region.gpu_count.store(gpus.len() as u64, Ordering::Relaxed);
        let state = Self { region };
        state.beat();
        state.region.magic.store(MAGIC, Ordering::Release);
        Ok(state)
    }

    /// How many GPUs there are.
    pub fn gpu_count(&self) -> usize {
        self.region.gpus().len()
    }

    /// Publishes one sample, stamped with the time of this call.
    pub fn publish(&self, gpu: usize, telemetry: &GpuTelemetry) {
        self.gpu(gpu).publish(telemetry, unix_us());
    }

    /// What clients asked for so far.
    pub fn requests(&self, gpu: usize) -> GpuRequests {
        let gpu = self.gpu(gpu);
        let changes = gpu.requests.changes.load(Ordering::Acquire);
        let locked = gpu.requests.locked_clocks.load(Ordering::Relaxed);
        let changed = gpu.requests.changed_ns.load(Ordering::Relaxed);
        GpuRequests {
            power_limit_mw: gpu.requests.power_limit_mw.load(Ordering::Relaxed),
            enforced_limit_mw: gpu.enforced_limit_mw(),
            locked_clocks_mhz: (locked != 0).then_some(((locked >> 32) as u32, locked as u32)),
            changes,
            changed_monotonic_ns: (changed != 0).then_some(changed),
        }
    }

    /// Says that the simulator lives. Clients see every GPU lost 2 s after the last beat.
    pub fn beat(&self) {
        self.region.heartbeat_ns.store(monotonic_ns(), Ordering::Release);
        self.region.heartbeats.fetch_add(1, Ordering::Release);
    }

    /// Replaces the driver: clients of the old one get a version mismatch until they initialise anew.
    pub fn set_driver_version(&self, version: &str) {
        self.region.driver_version.set(version);
    }

    /// Delivers an Xid to every client that waits for events of this GPU.
    pub fn raise_xid(&self, gpu: usize, xid: u64) {
        assert!(gpu < self.gpu_count(), "invariant: GPU {gpu} was created");
        self.region.events.push(Event { gpu, kind: EVENT_XID, data: xid });
        wake(&self.region.events.count);
    }

    /// Makes a GPU fall off the bus, or brings it back.
    pub fn set_lost(&self, gpu: usize, lost: bool) {
        self.gpu(gpu).lost.store(u64::from(lost), Ordering::Release);
    }

    /// As after a reset of the GPU: what was asked of its driver is forgotten. The BMC's limit stays.
    pub fn forget_requests(&self, gpu: usize) {
        let gpu = self.gpu(gpu);
        let constants = gpu.constants.read().map(GpuConstants::unpack).expect("invariant: written by `create`");
        gpu.requests.power_limit_mw.store(constants.power_limit_default_mw, Ordering::Release);
        gpu.requests.locked_clocks.store(0, Ordering::Release);
    }

    /// Sets or lifts the limit of the BMC, mW. It wins when it is the lower one.
    pub fn set_out_of_band_limit(&self, gpu: usize, limit_mw: Option<u64>) {
        self.gpu(gpu).out_of_band_limit_mw.store(limit_mw.unwrap_or(NO_LIMIT), Ordering::Release);
    }

    fn gpu(&self, gpu: usize) -> &layout::Gpu {
        self.region.gpus().get(gpu).expect("invariant: this GPU was created")
    }
}

fn start(gpu: &layout::Gpu, identity: &GpuIdentity) {
    gpu.name.set(&identity.name);
    gpu.uuid.set(&identity.uuid);
    gpu.serial.set(&identity.serial);
    gpu.constants.write(identity.constants.pack());
    gpu.publish(&GpuTelemetry { performance_state: 8, ..GpuTelemetry::default() }, unix_us());
    gpu.out_of_band_limit_mw.store(NO_LIMIT, Ordering::Relaxed);
    gpu.lost.store(0, Ordering::Relaxed);
    gpu.persistence.store(1, Ordering::Relaxed);
    gpu.requests.power_limit_mw.store(identity.constants.power_limit_default_mw, Ordering::Relaxed);
    gpu.requests.locked_clocks.store(0, Ordering::Relaxed);
    gpu.requests.changed_ns.store(0, Ordering::Relaxed);
    gpu.requests.changes.store(0, Ordering::Relaxed);
}

/// A region in shared memory, unmapped when dropped.
struct Mapping(NonNull<Region>);

impl Mapping {
    /// Opens, grows when too short (never shrinks: that would kill every process that maps it) and maps.
    fn open(path: &Path) -> io::Result<Self> {
        let size = size_of::<Region>();
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600).custom_flags(libc::O_NOFOLLOW);
        let file = options.open(path)?;
        file.set_permissions(Permissions::from_mode(0o600))?;
        if file.metadata()?.len() < size as u64 {
            file.set_len(size as u64)?;
        }
        let (protection, fd) = (libc::PROT_READ | libc::PROT_WRITE, file.as_raw_fd());
        // SAFETY: a new shared mapping of an open file, at least as long as asked for.
        let address = unsafe { libc::mmap(std::ptr::null_mut(), size, protection, libc::MAP_SHARED, fd, 0) };
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        NonNull::new(address.cast()).map(Self).ok_or_else(|| io::Error::other("mapped at address 0"))
    }
}

impl Deref for Mapping {
    type Target = Region;

    fn deref(&self) -> &Region {
        // SAFETY: page-aligned, `size_of::<Region>()` long and mapped until `drop`. `Region` is atomics
        // only, so that any bytes are valid and other processes may change them meanwhile.
        unsafe { self.0.as_ref() }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: `open` made this mapping with this length, and no reference outlives `self`.
        unsafe { libc::munmap(self.0.as_ptr().cast(), size_of::<Region>()) };
    }
}

// SAFETY: owns the mapping, which is not tied to a thread; all access is through atomics.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

fn wake(word: &AtomicU32) {
    // SAFETY: FUTEX_WAKE reads nothing; the address is that of a live, aligned 32-bit word.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, i32::MAX) };
}

/// CLOCK_MONOTONIC, which all processes of a machine share, ns.
pub fn monotonic_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes one timespec to a live one; this clock exists on every Linux.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
    time.tv_sec.cast_unsigned() * 1_000_000_000 + time.tv_nsec.cast_unsigned()
}

fn unix_us() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_micros() as u64)
}
