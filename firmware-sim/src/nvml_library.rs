//! The NVML look-alike, built by `build.rs` and carried inside this program. What it does is in `nvml/`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The name under which NVML's clients look for it.
pub const FILE_NAME: &str = "libnvidia-ml.so.1";

/// The shared library.
pub const BYTES: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/libnvidia-ml.so.1"));

/// Writes the library into `dir` under [`FILE_NAME`] and says where. An older one is replaced in one
/// step, so that processes that have it loaded keep what they have.
///
/// # Errors
/// What the file system says.
pub fn write_to(dir: &Path) -> io::Result<PathBuf> {
    let path = dir.join(FILE_NAME);
    let unfinished = dir.join(format!(".{FILE_NAME}.{}", std::process::id()));
    fs::write(&unfinished, BYTES)?;
    fs::rename(&unfinished, &path)?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_library_is_written_whole_and_again() {
        let dir = tempfile::tempdir().unwrap();
        for _ in 0..2 {
            let path = write_to(dir.path()).unwrap();
            assert_eq!(fs::read(path).unwrap(), BYTES);
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
