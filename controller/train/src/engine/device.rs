//! Where it runs: `cpu` (all cores), `cpu:1` (so many threads), `cuda` or `cuda:0,1` (these GPUs, a replica on each). Chosen at
//! run time; CUDA must be built in (`--features cuda`) and have a driver.

use anyhow::Result;
use burn::backend::Autodiff;
use burn::tensor::backend::AutodiffBackend;
use burn_flex::{Flex, FlexDevice};
use serde::{Deserialize, Serialize};
use std::num::NonZeroUsize;
use std::str::FromStr;

/// Rows that a GPU takes at once at most: its memory holds what the network makes of all of them.
const MOST_ROWS: usize = 32_768;

/// A choice of device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Device {
    /// The processor.
    Cpu {
        /// Threads; nothing: one per core.
        threads: Option<NonZeroUsize>,
    },
    /// NVIDIA GPUs by number.
    Cuda(Vec<usize>),
}

/// Why a device cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// Not a device.
    #[error("{0:?} is not a device: cpu, cpu:THREADS, cuda or cuda:0,1 would be right")]
    Unknown(String),
    /// Not built in.
    #[error("{0} needs a build with CUDA: cargo build --release -p headroom-train --features cuda")]
    NotBuilt(String),
    /// No driver.
    #[error("{device} cannot be used: {why}")]
    NoDriver {
        /// What was asked for.
        device: String,
        /// What the system says.
        why: String,
    },
}

/// The devices and threads a training may use.
#[derive(Debug, Clone)]
pub struct Workers<D> {
    devices: Vec<D>,
    count: usize,
    /// Whether each takes its part of a batch in one piece.
    whole: bool,
}

/// Something to do on a device, whichever it is.
pub trait Job {
    /// What comes out.
    type Out;
    /// Does it.
    ///
    /// # Errors
    /// Its own.
    fn run<B: AutodiffBackend>(self, workers: &Workers<B::Device>) -> Result<Self::Out>;
}

impl<D> Workers<D> {
    /// `count` threads share the devices; there must be one device at least.
    pub fn new(devices: Vec<D>, count: usize) -> Self {
        assert!(!devices.is_empty(), "invariant: there is a device");
        Self { devices, count: count.max(1), whole: false }
    }

    /// A worker for each GPU, which takes its part of a batch in one piece: a GPU is idle between small pieces.
    pub fn gpus(devices: Vec<D>) -> Self {
        let count = devices.len();
        Self { whole: true, ..Self::new(devices, count) }
    }

    /// Where the network and the optimiser live.
    pub fn main(&self) -> &D {
        &self.devices[0]
    }

    /// How many work at once.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Rows of one shard of a batch of `batch` rows, where `asked` would be right for a core.
    pub(super) fn shard_rows(&self, batch: usize, asked: usize) -> usize {
        if self.whole { batch.div_ceil(self.count).clamp(asked, MOST_ROWS.max(asked)) } else { asked }
    }

    pub(super) fn device(&self, worker: usize) -> &D {
        &self.devices[worker % self.devices.len()]
    }
}

impl Default for Device {
    fn default() -> Self {
        Self::Cpu { threads: None }
    }
}

impl std::fmt::Display for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Cpu { threads: None } => f.write_str("cpu"),
            Self::Cpu { threads: Some(n) } => write!(f, "cpu:{n}"),
            Self::Cuda(gpus) => {
                let gpus: Vec<String> = gpus.iter().map(ToString::to_string).collect();
                write!(f, "cuda:{}", gpus.join(","))
            }
        }
    }
}

impl FromStr for Device {
    type Err = DeviceError;

    fn from_str(text: &str) -> Result<Self, DeviceError> {
        let unknown = || DeviceError::Unknown(text.to_owned());
        let (kind, rest) = text.split_once(':').map_or((text, None), |(kind, rest)| (kind, Some(rest)));
        match (kind, rest) {
            ("cpu", None) => Ok(Self::default()),
            ("cpu", Some(n)) => n.parse().map(|n| Self::Cpu { threads: Some(n) }).map_err(|_| unknown()),
            ("cuda", None) => Ok(Self::Cuda(vec![0])),
            ("cuda", Some(list)) => {
                let gpus: Vec<usize> =
                    list.split(',').map(|gpu| gpu.trim().parse().map_err(|_| unknown())).collect::<Result<_, _>>()?;
                let twice = gpus.iter().enumerate().any(|(i, gpu)| gpus[..i].contains(gpu));
                if twice { Err(unknown()) } else { Ok(Self::Cuda(gpus)) }
            }
            _ => Err(unknown()),
        }
    }
}

impl TryFrom<String> for Device {
    type Error = DeviceError;

    fn try_from(text: String) -> Result<Self, DeviceError> {
        text.parse()
    }
}

impl From<Device> for String {
    fn from(device: Device) -> Self {
        device.to_string()
    }
}

/// Does a job on a device.
///
/// # Errors
/// [`DeviceError`] if the device cannot be used, or the job's own.
pub fn on<J: Job>(device: &Device, job: J) -> Result<J::Out> {
    match device {
        Device::Cpu { threads } => {
            let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
            let workers = Workers::new(vec![FlexDevice], threads.map_or(cores, NonZeroUsize::get));
            job.run::<Autodiff<Flex>>(&workers)
        }
        #[cfg(not(feature = "cuda"))]
        Device::Cuda(_) => Err(DeviceError::NotBuilt(device.to_string()).into()),
        #[cfg(feature = "cuda")]
        Device::Cuda(gpus) => {
            super::cuda::check(gpus).map_err(|why| DeviceError::NoDriver { device: device.to_string(), why })?;
            let gpus: Vec<_> = gpus.iter().map(|gpu| burn::backend::cuda::CudaDevice::new(*gpu)).collect();
            job.run::<Autodiff<burn::backend::Cuda>>(&Workers::gpus(gpus))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gpu_takes_its_part_of_a_batch_in_one_piece() {
        let (cores, gpus) = (Workers::new(vec![()], 4), Workers::gpus(vec![(), ()]));
        assert_eq!(
            (cores.shard_rows(1000, 128), gpus.shard_rows(1000, 128), gpus.shard_rows(20, 128)),
            (128, 500, 128)
        );
        assert_eq!(gpus.shard_rows(10_000_000, 128), MOST_ROWS);
    }

    #[test]
    fn devices_are_written_as_they_are_read() {
        for text in ["cpu", "cpu:3", "cuda:0", "cuda:0,2"] {
            assert_eq!(text.parse::<Device>().unwrap().to_string(), text);
        }
        assert_eq!("cuda".parse::<Device>().unwrap(), Device::Cuda(vec![0]));
        for wrong in ["", "gpu", "cpu:0", "cpu:x", "cuda:", "cuda:1,1", "cuda:-1"] {
            assert!(wrong.parse::<Device>().unwrap_err().to_string().contains("cuda:0,1"), "{wrong}");
        }
    }
}
