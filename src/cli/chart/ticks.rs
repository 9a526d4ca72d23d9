//! Where an axis has its marks, and how numbers are written on it.

/// The span of an axis and its marks, both in the values' unit.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Axis {
    pub(super) low: f64,
    pub(super) high: f64,
    pub(super) ticks: Vec<f64>,
    step: f64,
}

impl Axis {
    /// Marks at multiples of 1, 2 or 5 times a power of ten, about `wanted` of them, within exactly `low..=high`.
    pub(super) fn exact(low: f64, high: f64, wanted: usize) -> Self {
        // A single value gets a span around it; so do values too close for doubles to divide.
        let least = 1e-9 * low.abs().max(high.abs()).max(1e-3);
        let (low, high) = if high - low > least { (low, high) } else { (low - 0.5, high + 0.5) };
        let step = nice_step((high - low) / wanted.max(1) as f64);
        let slack = 1e-9 * step;
        let first = ((low - slack) / step).ceil() as i64;
        let last = ((high + slack) / step).floor() as i64;
        Self { low, high, ticks: (first..=last).map(|i| i as f64 * step).collect(), step }
    }

    /// Like [`Axis::exact`], with 5 % of air around the values, none below 0 where `from_zero`.
    pub(super) fn around(low: f64, high: f64, from_zero: bool, wanted: usize) -> Self {
        if !from_zero {
            let air = if high > low { 0.05 * (high - low) } else { (0.05 * high.abs()).max(1e-6) };
            return Self::exact(low - air, high + air, wanted);
        }
        let (low, high) = (low.min(0.0), high.max(0.0));
        let span = if high > low { high - low } else { 1.0 };
        let below = if low < 0.0 { 0.05 * span } else { 0.0 };
        Self::exact(low - below, high + 0.05 * span, wanted)
    }

    /// A mark's label: as many decimals as the marks' distance needs.
    pub(super) fn label(&self, value: f64) -> String {
        // Marks are multiples of the step, so a value far below it is a zero with a rounding.
        let value = if value.abs() < 1e-6 * self.step { 0.0 } else { value };
        let largest = self.low.abs().max(self.high.abs());
        if !(1e-3..1e6).contains(&largest) {
            return if value == 0.0 { "0".into() } else { trim_exponent(&format!("{value:.1e}")) };
        }
        let decimals = (-self.step.log10()).ceil().clamp(0.0, 9.0) as usize;
        format!("{value:.decimals$}")
    }
}

/// The smallest of 1, 2, 5 times a power of ten that is at least `rough`.
fn nice_step(rough: f64) -> f64 {
    let power = 10f64.powf(rough.log10().floor());
    let factor = [1.0, 2.0, 5.0].into_iter().find(|factor| factor * power >= rough * (1.0 - 1e-9)).unwrap_or(10.0);
    factor * power
}

/// `2.0e6` as `2e6`.
fn trim_exponent(text: &str) -> String {
    text.replace(".0e", "e")
}

/// A value on a bar: three significant digits, whole numbers in full.
pub(super) fn value(value: f64) -> String {
    if value == 0.0 {
        return "0".into();
    }
    if !(1e-3..1e6).contains(&value.abs()) {
        return trim_exponent(&format!("{value:.1e}"));
    }
    let decimals = (2.0 - value.abs().log10().floor()).clamp(0.0, 5.0) as usize;
    let text = format!("{value:.decimals$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: &Axis) -> Vec<String> {
        axis.ticks.iter().map(|tick| axis.label(*tick)).collect()
    }

    #[test]
    fn marks_are_round_numbers_within_the_span() {
        assert_eq!(labels(&Axis::exact(0.0, 1.0, 5)), ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        assert_eq!(labels(&Axis::exact(0.0, 235.0, 5)), ["0", "50", "100", "150", "200"]);
        assert_eq!(labels(&Axis::exact(-0.3, 0.3, 3)), ["-0.2", "0.0", "0.2"]);
        assert_eq!(labels(&Axis::exact(0.0, 4e6, 4)), ["0", "1e6", "2e6", "3e6", "4e6"]);
        assert_eq!(labels(&Axis::exact(0.0, 4e-4, 4)), ["0", "1e-4", "2e-4", "3e-4", "4e-4"]);
    }

    #[test]
    fn a_single_value_still_has_a_span() {
        for value in [0.0, 7.0, -3.0, 1e12] {
            for from_zero in [true, false] {
                let axis = Axis::around(value, value, from_zero, 5);
                assert!(axis.low < axis.high && axis.low <= value && value <= axis.high, "{axis:?}");
                assert!(!axis.ticks.is_empty() && axis.ticks.len() < 20, "{axis:?}");
            }
        }
    }

    #[test]
    fn values_are_written_with_three_digits() {
        assert_eq!([5.4444, 1.96, 1.0, 1347.2, 0.0123, 0.0].map(value), ["5.44", "1.96", "1", "1347", "0.0123", "0"]);
        assert_eq!([2_500_000.0, 0.00012].map(value), ["2.5e6", "1.2e-4"]);
    }
}
