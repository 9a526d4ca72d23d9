//! The choice among candidates: the one furthest below the power law of loss and cost (`autoprog.md` §4.6 \[code\]).

use crate::error::{Error, Result};

/// What one rank has measured of each candidate.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    /// Cost of a step, in any unit, above 0.
    pub costs: Vec<f64>,
    /// Mean loss over the rank's part of the probe.
    pub losses: Vec<f64>,
}

/// A decision.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Choice {
    /// Index of the candidate.
    pub chosen: usize,
    /// Exponent b of the fit, loss = a cost^b: below 0 where more cost buys less loss.
    pub exponent: f64,
}

/// Fits `loss = a cost^b` over all candidates by least squares and takes the candidate with the least
/// `loss * cost^max(-b, 0)`; of equals the cheapest, and of these the first. Neither the unit of cost nor the scale of the losses
/// matters. Costs and losses are means over `ranks`, whose order does not matter: give each rank what all have measured, and all
/// choose the same. Candidates whose loss is not finite are left out.
///
/// # Errors
/// [`Error::Config`] if ranks have not measured as many candidates, a cost is not above 0, or no loss is finite.
pub fn choose(ranks: &[Measured]) -> Result<Choice> {
    let count = ranks.first().map_or(0, |rank| rank.costs.len());
    if count == 0 || ranks.iter().any(|rank| rank.costs.len() != count || rank.losses.len() != count) {
        return Err(Error::config("search", "ranks have to measure the same candidates, at least one"));
    }
    let mean = |value: &dyn Fn(&Measured) -> f64| {
        let mut values: Vec<f64> = ranks.iter().map(value).collect();
        // In an order of their own: sums of floats depend on it.
        values.sort_by(f64::total_cmp);
        values.iter().sum::<f64>() / values.len() as f64
    };
    let all: Vec<(f64, f64)> =
        (0..count).map(|i| (mean(&|rank| rank.costs[i]), mean(&|rank| rank.losses[i]))).collect();
    if let Some((cost, _)) = all.iter().find(|(cost, _)| !(cost.is_finite() && *cost > 0.0)) {
        return Err(Error::config("search", format!("a candidate costs {cost}: expected above 0")));
    }
    let finite: Vec<(f64, f64)> = all.iter().copied().filter(|(_, loss)| loss.is_finite()).collect();
    if finite.is_empty() {
        return Err(Error::config(
            "search",
            "no candidate has a finite loss: the supernet has run away; lower the rate",
        ));
    }
    let exponent = exponent(&finite);
    let weight = (-exponent).max(0.0);
    let unit = geometric_mean(&finite);
    let score = |&(cost, loss): &(f64, f64)| loss * (cost / unit).powf(weight);
    let better = |&a: &usize, &b: &usize| {
        score(&all[a]).total_cmp(&score(&all[b])).then(all[a].0.total_cmp(&all[b].0)).then(a.cmp(&b))
    };
    let chosen = (0..count).filter(|&i| all[i].1.is_finite()).min_by(better).expect("one loss is finite");
    Ok(Choice { chosen, exponent })
}

fn geometric_mean(points: &[(f64, f64)]) -> f64 {
    (points.iter().map(|(cost, _)| cost.ln()).sum::<f64>() / points.len() as f64).exp()
}

/// The b of the least-squares fit of `a cost^b`. For each b the best a is known in closed form, so this is a search along one
/// line: its lowest point on a grid, then closer by golden sections.
fn exponent(points: &[(f64, f64)]) -> f64 {
    const WIDEST: f64 = 8.0;
    const STEP: f64 = 0.02;
    let unit = geometric_mean(points).ln();
    let points: Vec<(f64, f64)> = points.iter().map(|&(cost, loss)| (cost.ln() - unit, loss)).collect();
    if points.iter().all(|(log, _)| log.abs() < 1e-9) {
        return 0.0;
    }
    let misfit = |b: f64| {
        let powers = || points.iter().map(|&(log, loss)| ((b * log).exp(), loss));
        let a = powers().map(|(p, loss)| p * loss).sum::<f64>() / powers().map(|(p, _)| p * p).sum::<f64>();
        powers().map(|(p, loss)| (loss - a * p).powi(2)).sum::<f64>()
    };
    let grid = (WIDEST / STEP) as i32;
    let lowest = (-grid..=grid)
        .map(|i| f64::from(i) * STEP)
        .min_by(|&a, &b| misfit(a).total_cmp(&misfit(b)))
        .expect("the grid has points");
    let golden = (5f64.sqrt() - 1.0) / 2.0;
    let (mut low, mut high) = (lowest - STEP, lowest + STEP);
    for _ in 0..60 {
        let width = golden * (high - low);
        let (left, right) = (high - width, low + width);
        if misfit(left) <= misfit(right) { high = right } else { low = left }
    }
    (low + high) / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(costs: &[f64], losses: &[f64]) -> Choice {
        choose(&[Measured { costs: costs.to_vec(), losses: losses.to_vec() }]).unwrap()
    }

    #[test]
    fn a_known_law_is_recovered_and_what_lies_below_it_is_chosen() {
        let costs = [0.4, 0.7, 1.0, 1.3, 2.1, 3.7];
        for (a, b) in [(2.3, -0.31), (0.04, -1.7), (5.0, 0.2)] {
            let mut losses = costs.map(|t: f64| a * t.powf(b));
            assert!((one(&costs, &losses).exponent - b).abs() < 1e-6, "{a} {b}");
            losses[3] *= 0.97;
            let choice = one(&costs, &losses);
            // Where more cost buys nothing, loss alone counts, and the cheapest has the least.
            assert_eq!(choice.chosen, if b > 0.0 { 0 } else { 3 }, "{a} {b}");
        }
    }

    /// scipy 1.17: `curve_fit(lambda t, a, b: a * t**b, t, l, p0=(1, 1))`.
    #[test]
    fn the_fit_is_scipys() {
        let costs = [0.31, 0.45, 0.58, 0.62, 0.9, 1.2];
        let losses = [1.95, 1.91, 1.80, 1.84, 1.71, 1.69];
        assert!(
            (one(&costs, &losses).exponent - -0.115_739_785_367_673_28).abs() < 1e-6,
            "{}",
            one(&costs, &losses).exponent
        );
    }

    #[test]
    fn units_do_not_matter_and_neither_does_the_order_of_ranks() {
        let costs = vec![0.31, 0.45, 0.58, 0.62, 0.9, 1.2];
        let losses = vec![1.95, 1.91, 1.78, 1.84, 1.71, 1.69];
        let plain = one(&costs, &losses);
        for (unit, scale) in [(1e3, 1.0), (1.0, 0.01), (1e-9, 40.0)] {
            let by = |values: &[f64], factor: f64| values.iter().map(|v| v * factor).collect::<Vec<_>>();
            let choice = one(&by(&costs, unit), &by(&losses, scale));
            assert_eq!(choice.chosen, plain.chosen);
            assert!((choice.exponent - plain.exponent).abs() < 1e-6);
        }
        let rank = |k: f64| Measured {
            costs: costs.iter().map(|c| c * (1.0 + 0.1 * k)).collect(),
            losses: losses.iter().enumerate().map(|(i, l)| l + 0.013 * k * i as f64).collect(),
        };
        let ranks: Vec<Measured> = [0.0, 1.0, -0.3, 2.7].map(rank).into();
        let first = choose(&ranks).unwrap();
        for turn in 1..4 {
            let mut turned = ranks.clone();
            turned.rotate_left(turn);
            assert_eq!(choose(&turned).unwrap(), first);
        }
        assert_ne!(first, plain);
    }

    #[test]
    fn equals_go_to_the_cheapest_and_losses_that_ran_away_to_nobody() {
        assert_eq!(one(&[2.0, 1.0, 1.0], &[1.5, 1.5, 1.5]).chosen, 1);
        assert_eq!(one(&[1.0, 2.0], &[f64::NAN, 3.0]).chosen, 1);
        assert_eq!(one(&[3.0, 3.0], &[2.0, 1.0]).chosen, 1);
        let refused = |costs: &[f64], losses: &[f64]| {
            choose(&[Measured { costs: costs.to_vec(), losses: losses.to_vec() }]).unwrap_err().to_string()
        };
        assert!(refused(&[1.0], &[f64::INFINITY]).contains("no candidate has a finite loss"));
        assert!(refused(&[0.0], &[1.0]).contains("costs 0"));
        assert!(refused(&[1.0], &[]).contains("same candidates"));
    }
}
