//! Cross-entropy with smoothed labels, and how many of the answers are right.

use burn::tensor::{Tensor, activation::log_softmax};

/// Cross-entropy of scores `(N, classes)` against `targets` of the same shape: a value for each image, `(N, 1)`.
pub(super) fn cross_entropy(scores: Tensor<2>, targets: Tensor<2>) -> Tensor<2> {
    -(log_softmax(scores, 1) * targets).sum_dim(1)
}

/// How often the label was the best guess, and among the best five.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Hits {
    pub(super) top1: usize,
    pub(super) top5: usize,
}

/// Counts over scores, row by row `classes` each. An equal score of an earlier class counts as better, so that a model
/// that gives one score to all classes is right by chance only; a score that is not a number is never right.
pub(super) fn hits(scores: &[f32], classes: usize, labels: &[u32]) -> Hits {
    let mut hits = Hits::default();
    for (row, &label) in scores.chunks_exact(classes).zip(labels) {
        let label = label as usize;
        let own = row[label];
        let better = row.iter().enumerate().filter(|&(class, &s)| s > own || (s == own && class < label)).count();
        hits.top1 += usize::from(better < 1 && !own.is_nan());
        hits.top5 += usize::from(better < 5 && !own.is_nan());
    }
    hits
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mix::soft_targets;
    use burn::tensor::{Device, TensorData};

    fn targets(labels: &[u32], classes: usize, smoothing: f64, device: &Device) -> Tensor<2> {
        let rows = soft_targets(labels, None, classes, smoothing).unwrap();
        Tensor::from_data(TensorData::new(rows, [labels.len(), classes]), device)
    }

    #[test]
    fn loss_of_equal_scores_is_the_log_of_the_classes_whatever_the_smoothing() {
        let device = Device::flex();
        let scores = Tensor::from_data([[0.5f32; 4]; 3], &device);
        let loss: f32 = cross_entropy(scores, targets(&[0, 3, 1], 4, 0.1, &device)).sum().into_scalar();
        assert!((loss - 3.0 * 4f32.ln()).abs() < 1e-5, "{loss}");
    }

    #[test]
    fn smoothed_loss_agrees_with_hand_work() {
        // Scores (2, 0): log-softmax is (-0.126928, -2.126928); targets of label 0 with smoothing 0.1 are (0.95, 0.05).
        let device = Device::flex();
        let loss: f32 =
            cross_entropy(Tensor::from_data([[2.0f32, 0.0]], &device), targets(&[0], 2, 0.1, &device)).into_scalar();
        assert!((loss - 0.226_928).abs() < 1e-5, "{loss}");
    }

    #[test]
    fn hits_count_ranks_and_equal_scores_are_no_free_lunch() {
        let row = [6.0, 5.0, 4.0, 3.0, 2.0, 1.0];
        let scores = row.repeat(4);
        assert_eq!(hits(&scores, 6, &[0, 1, 4, 5]), Hits { top1: 1, top5: 3 });
        assert_eq!(hits(&[1.0; 12], 6, &[0, 5]), Hits { top1: 1, top5: 1 });
        assert_eq!(hits(&[f32::NAN; 6], 6, &[0]), Hits::default());
    }
}
