//! The losses by epoch as a picture (SVG), without any library.

use crate::engine::Epoch;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 320.0;
const LEFT: f64 = 64.0;
const BOTTOM: f64 = 40.0;
const TOP: f64 = 24.0;

/// A picture of the training.
pub fn svg(epochs: &[Epoch]) -> String {
    let losses = || epochs.iter().flat_map(|e| [e.train_loss, e.validation_loss]);
    let low = losses().reduce(f64::min).unwrap_or(0.0);
    let high = losses().fold(0.0, f64::max).max(low + 1e-3);
    let x = |epoch: usize| LEFT + (WIDTH - LEFT - 16.0) * (epoch - 1) as f64 / (epochs.len().max(2) - 1) as f64;
    let y = |loss: f64| TOP + (HEIGHT - TOP - BOTTOM) * (high - loss) / (high - low);
    let line = |pick: fn(&Epoch) -> f64, colour: &str| {
        let points: Vec<String> = epochs.iter().map(|e| format!("{:.1},{:.1}", x(e.epoch), y(pick(e)))).collect();
        format!(r#"<polyline fill="none" stroke="{colour}" stroke-width="2" points="{}"/>"#, points.join(" "))
    };
    let grid: String = (0..=4)
        .map(|i| {
            let loss = low + (high - low) * f64::from(i) / 4.0;
            format!(
                r##"<line x1="{LEFT}" x2="{WIDTH}" y1="{y:.1}" y2="{y:.1}" stroke="#ddd"/><text x="{}" y="{:.1}" text-anchor="end">{loss:.4}</text>"##,
                LEFT - 6.0,
                y(loss) + 4.0,
                y = y(loss),
            )
        })
        .collect();
    format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" font-family="sans-serif" font-size="12"><rect width="100%" height="100%" fill="#fff"/>{grid}{}{}<text x="{LEFT}" y="16" fill="#1f6feb">training</text><text x="{}" y="16" fill="#d1242f">validation</text><text x="{}" y="{}" text-anchor="middle">epoch 1 to {}; normalised pinball loss</text></svg>
"##,
        line(|e| e.train_loss, "#1f6feb"),
        line(|e| e.validation_loss, "#d1242f"),
        LEFT + 80.0,
        WIDTH / 2.0,
        HEIGHT - 12.0,
        epochs.len(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_epoch_draws_without_a_number_that_is_none() {
        let epoch = Epoch { epoch: 1, train_loss: 0.3, validation_loss: 0.3, rate: 1e-3, rows_per_s: 1.0 };
        for epochs in [vec![], vec![epoch], vec![epoch, Epoch { epoch: 2, train_loss: 0.2, ..epoch }]] {
            let text = svg(&epochs);
            assert!(text.starts_with("<svg") && !text.contains("NaN") && !text.contains("inf"), "{text}");
        }
    }
}
