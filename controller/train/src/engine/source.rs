//! Where rows come from.

use crate::chance::Chance;

/// Rows of inputs and targets, written on demand and by several threads at once.
pub trait Source: Sync {
    /// Number of rows.
    fn rows(&self) -> usize;

    /// Numbers per row: inputs, targets.
    fn widths(&self) -> (usize, usize);

    /// Writes row `row`. While learning, `chance` is there to alter it (augmentation); it depends on
    /// seed, epoch and row alone.
    fn fill(&self, row: usize, chance: Option<&mut Chance>, inputs: &mut [f32], targets: &mut [f32]);
}

/// Rows in memory.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rows {
    /// Numbers per row.
    pub widths: (usize, usize),
    /// Inputs, row by row.
    pub inputs: Vec<f32>,
    /// Targets, row by row.
    pub targets: Vec<f32>,
}

impl Rows {
    /// None yet.
    pub fn new(inputs: usize, targets: usize) -> Self {
        Self { widths: (inputs, targets), inputs: Vec::new(), targets: Vec::new() }
    }

    /// Adds one.
    pub fn push(&mut self, inputs: &[f32], targets: &[f32]) {
        assert_eq!((inputs.len(), targets.len()), self.widths, "invariant: rows are as wide as announced");
        self.inputs.extend(inputs);
        self.targets.extend(targets);
    }
}

impl Source for Rows {
    fn rows(&self) -> usize {
        self.inputs.len() / self.widths.0.max(1)
    }

    fn widths(&self) -> (usize, usize) {
        self.widths
    }

    fn fill(&self, row: usize, _: Option<&mut Chance>, inputs: &mut [f32], targets: &mut [f32]) {
        let (i, t) = self.widths;
        inputs.copy_from_slice(&self.inputs[row * i..(row + 1) * i]);
        targets.copy_from_slice(&self.targets[row * t..(row + 1) * t]);
    }
}

/// Some rows of another source.
pub struct Subset<'a> {
    /// All.
    pub of: &'a dyn Source,
    /// Which.
    pub rows: Vec<usize>,
}

impl std::fmt::Debug for Subset<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Subset of {} rows", self.rows.len())
    }
}

impl Source for Subset<'_> {
    fn rows(&self) -> usize {
        self.rows.len()
    }

    fn widths(&self) -> (usize, usize) {
        self.of.widths()
    }

    fn fill(&self, row: usize, chance: Option<&mut Chance>, inputs: &mut [f32], targets: &mut [f32]) {
        self.of.fill(self.rows[row], chance, inputs, targets);
    }
}
