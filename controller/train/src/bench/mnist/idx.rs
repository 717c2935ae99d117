//! The idx format of the MNIST files (LeCun, Cortes and Burges): a magic number, sizes as big-endian 32-bit numbers, then bytes. Images
//! as a source of rows, still or moving.

use crate::bench::read;
use crate::chance::Chance;
use crate::engine::Source;
use anyhow::{Result, bail, ensure};
use std::path::Path;
use std::sync::Arc;

/// A moving image is shifted by up to so many pixels each way.
const SHIFT: usize = 2;

/// Images with their classes.
#[derive(Debug, Clone)]
pub struct Images {
    pub height: usize,
    pub width: usize,
    /// How many classes the training images have.
    pub classes: usize,
    /// One per image.
    pub labels: Vec<u8>,
    pixels: Arc<Vec<u8>>,
    /// Of the first image in `pixels`.
    first: usize,
    /// Mean and deviation of all training pixels.
    scale: (f32, f32),
    moving: bool,
}

/// Training and test images of a directory.
///
/// # Errors
/// Every file that is missing or not as it should be.
pub fn read_all(dir: &Path) -> Result<(Images, Images)> {
    let mut wrong = Vec::new();
    let [train, test] = ["train", "t10k"].map(|part| match images(dir, part) {
        Ok(images) => Some(images),
        Err(why) => {
            wrong.extend(why);
            None
        }
    });
    let (Some(mut train), Some(mut test)) = (train, test) else { bail!("{}", wrong.join("\n  ")) };
    let size = |i: &Images| format!("{} x {}", i.height, i.width);
    ensure!(size(&train) == size(&test), "training images are {}, test images {}", size(&train), size(&test));
    let most = |i: &Images| i.labels.iter().copied().max().unwrap_or(0);
    ensure!(
        most(&test) <= most(&train),
        "the test labels go up to {}, those of the training to {}",
        most(&test),
        most(&train)
    );
    train.classes = usize::from(most(&train)) + 1;
    train.scale = scale(&train.pixels);
    (test.classes, test.scale) = (train.classes, train.scale);
    Ok((train, test))
}

fn images(dir: &Path, part: &str) -> Result<Images, Vec<String>> {
    let (pixels, labels) = (file(dir, part, "images", 3), file(dir, part, "labels", 1));
    let (pixels, labels) = match (pixels, labels) {
        (Ok(pixels), Ok(labels)) => (pixels, labels),
        (pixels, labels) => return Err([pixels.err(), labels.err()].into_iter().flatten().collect()),
    };
    let [n, height, width] = pixels.0[..] else { return Err(vec![format!("{part}: not three sizes")]) };
    let least = super::network::LEAST;
    let rules = [
        (labels.0 == [n], format!("{part} has {n} images and {} labels", labels.0[0])),
        (n >= 100, format!("{part} has {n} images, 100 at least are needed")),
        (
            height >= least && width >= least,
            format!("{part}: images of {height} x {width}, at least {least} x {least} are needed"),
        ),
    ];
    let wrong: Vec<String> = rules.into_iter().filter(|(holds, _)| !holds).map(|(_, why)| why).collect();
    if !wrong.is_empty() {
        return Err(wrong);
    }
    let (labels, pixels) = (labels.1, Arc::new(pixels.1));
    Ok(Images { height, width, classes: 0, labels, pixels, first: 0, scale: (0.0, 1.0), moving: false })
}

/// Sizes and bytes of one file.
fn file(dir: &Path, part: &str, what: &str, dimensions: usize) -> Result<(Vec<usize>, Vec<u8>), String> {
    let name = format!("{part}-{what}-idx{dimensions}-ubyte");
    let path = [name.clone(), format!("{name}.gz")].map(|n| dir.join(n)).into_iter().find(|p| p.exists());
    let Some(path) = path else { return Err(format!("{} has neither {name} nor {name}.gz", dir.display())) };
    let bytes = read(&path).map_err(|why| format!("{why:#}"))?;
    let word = |i: usize| bytes.get(4 * i..4 * i + 4).map(|b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]));
    // Two zeros, 8 for unsigned bytes, the number of dimensions.
    let magic = 0x0800 + dimensions as u32;
    if word(0) != Some(magic) {
        return Err(format!(
            "{}: starts with {:#010x}, {magic:#010x} would be right",
            path.display(),
            word(0).unwrap_or(0)
        ));
    }
    let Some(sizes) = (1..=dimensions).map(|i| word(i).map(|s| s as usize)).collect::<Option<Vec<_>>>() else {
        return Err(format!("{}: ends within its header", path.display()));
    };
    let body = bytes[4 + 4 * dimensions..].to_vec();
    let need = sizes.iter().try_fold(1_usize, |product, size| product.checked_mul(*size));
    if need != Some(body.len()) {
        return Err(format!("{}: {} bytes follow the header, {sizes:?} need {need:?}", path.display(), body.len()));
    }
    Ok((sizes, body))
}

fn scale(pixels: &[u8]) -> (f32, f32) {
    let n = pixels.len() as f64;
    let mean = pixels.iter().map(|p| f64::from(*p)).sum::<f64>() / n;
    let variance = pixels.iter().map(|p| (f64::from(*p) - mean).powi(2)).sum::<f64>() / n;
    (mean as f32, (variance.sqrt() as f32).max(1.0))
}

impl Images {
    /// The first `n` and the others.
    pub fn split(&self, n: usize) -> (Self, Self) {
        let part = |range: std::ops::Range<usize>| Self {
            first: self.first + range.start,
            labels: self.labels[range].to_vec(),
            ..self.clone()
        };
        (part(0..n), part(n..self.labels.len()))
    }

    /// The same, shifted at random while learning.
    pub fn moving(&self) -> Self {
        Self { moving: true, ..self.clone() }
    }
}

impl Source for Images {
    fn rows(&self) -> usize {
        self.labels.len()
    }

    fn widths(&self) -> (usize, usize) {
        (self.height * self.width, 1)
    }

    fn fill(&self, row: usize, chance: Option<&mut Chance>, inputs: &mut [f32], targets: &mut [f32]) {
        let (h, w) = (self.height, self.width);
        let image = &self.pixels[(self.first + row) * h * w..][..h * w];
        let (mean, deviation) = self.scale;
        let normal = |pixel: u8| (f32::from(pixel) - mean) / deviation;
        targets[0] = f32::from(self.labels[row]);
        let [down, right] = match chance {
            Some(chance) if self.moving => [chance.below(2 * SHIFT + 1), chance.below(2 * SHIFT + 1)],
            _ => [SHIFT, SHIFT],
        };
        inputs.fill(normal(0));
        for y in 0..h {
            // Row y comes from row y + SHIFT - down, if the image has it.
            let Some(from) = (y + SHIFT).checked_sub(down).filter(|from| *from < h) else { continue };
            let source = &image[from * w..][..w];
            for (x, out) in inputs[y * w..][..w].iter_mut().enumerate() {
                if let Some(pixel) = (x + SHIFT).checked_sub(right).and_then(|x| source.get(x)) {
                    *out = normal(*pixel);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(dir: &Path, name: &str, sizes: &[u32], bytes: &[u8]) {
        let mut all = vec![0, 0, 8, sizes.len() as u8];
        all.extend(sizes.iter().flat_map(|s| s.to_be_bytes()));
        all.extend(bytes);
        std::fs::write(dir.join(name), all).unwrap();
    }

    fn set(dir: &Path) {
        let pixels: Vec<u8> = (0..100 * 144).map(|i: u32| (i % 251) as u8).collect();
        let labels: Vec<u8> = (0..100).map(|i| i % 4).collect();
        for part in ["train", "t10k"] {
            write(dir, &format!("{part}-images-idx3-ubyte"), &[100, 12, 12], &pixels);
            write(dir, &format!("{part}-labels-idx1-ubyte"), &[100], &labels);
        }
    }

    #[test]
    fn images_are_read_normalised_and_shifted_only_while_learning() {
        let dir = tempfile::tempdir().unwrap();
        set(dir.path());
        let (train, test) = read_all(dir.path()).unwrap();
        assert_eq!((train.classes, test.classes, train.rows(), train.widths()), (4, 4, 100, (144, 1)));
        let (first, rest) = train.split(90);
        assert_eq!((first.rows(), rest.rows()), (90, 10));
        let row = |images: &Images, row, chance: Option<&mut Chance>| {
            let (mut x, mut y) = (vec![9.0; 144], vec![9.0]);
            images.fill(row, chance, &mut x, &mut y);
            (x, y[0])
        };
        assert_eq!(row(&train, 93, None), row(&rest, 3, None));
        assert_eq!(row(&train, 93, None).1, 1.0);
        let mut seen = std::collections::BTreeSet::new();
        for i in 0..200 {
            let shifted = row(&train.moving(), 5, Some(&mut Chance::keyed([i]))).0;
            seen.insert(shifted.iter().map(|v| v.to_bits()).collect::<Vec<_>>());
        }
        assert_eq!(seen.len(), (2 * SHIFT + 1).pow(2));
        assert!(seen.contains(&row(&train, 5, None).0.iter().map(|v| v.to_bits()).collect::<Vec<_>>()));
    }

    #[test]
    fn every_broken_file_is_named() {
        let dir = tempfile::tempdir().unwrap();
        set(dir.path());
        std::fs::write(dir.path().join("train-labels-idx1-ubyte"), [0, 0, 9, 1, 0, 0, 0, 1, 5]).unwrap();
        write(dir.path(), "t10k-images-idx3-ubyte", &[100, 12, 13], &[0; 7]);
        std::fs::remove_file(dir.path().join("t10k-labels-idx1-ubyte")).unwrap();
        let error = read_all(dir.path()).unwrap_err().to_string();
        for words in ["train-labels-idx1-ubyte: starts with", "t10k-images-idx3-ubyte: 7 bytes", "neither t10k-labels"]
        {
            assert!(error.contains(words), "{words}: {error}");
        }
    }
}
