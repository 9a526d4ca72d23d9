//! Matrix products in 16 bits, everything else in f32.
//!
//! What the CPU backend does with 16-bit tensors was found by trying: it has every operation that a step needs, sums in
//! f32, and multiplies bfloat16 matrices by turning them into f32 and back. So 16 bits follow the numbers of an
//! accelerator here and save no time: on two cores of an AMD EPYC with AVX-512, shared with other work, the gradient of 64
//! images at 96 px took 1.6 times as long in bfloat16 as in f32 and 2.6 times in half precision (`benches/train.rs`).

use super::config::Precision;
use crate::error::{Error, Result};
use burn::nn::Linear;
use burn::tensor::{Device, FloatDType, Tensor, module};
use serde::{Deserialize, Serialize};

impl Precision {
    /// The 16-bit type, if it is one.
    fn low(self) -> Option<FloatDType> {
        match self {
            Self::F32 => None,
            Self::Bf16 => Some(FloatDType::BF16),
            Self::F16 => Some(FloatDType::F16),
        }
    }

    /// Refuses a type that `device` does not compute in: a product of two small matrices is tried.
    ///
    /// # Errors
    /// [`Error::Config`].
    pub(super) fn check(self, device: &Device) -> Result<()> {
        let Some(low) = self.low() else { return Ok(()) };
        let refuse = |why: String| {
            let reason = format!("{self}: {device:?} does not multiply matrices of this type ({why}); use f32");
            Err(Error::config("precision", reason))
        };
        if !device.supports_dtype(low) {
            return refuse("it has no such tensors".into());
        }
        // 3 x 1/2 + 5 x 1/4 is exact in every type.
        let (a, b) =
            (Tensor::<2>::from_floats([[3.0, 5.0]], device), Tensor::<2>::from_floats([[0.5], [0.25]], device));
        let product = raised(lowered(a, self).matmul(lowered(b, self)), self);
        match product.into_data().try_to_vec::<f32>() {
            Ok(values) if values == [2.75] => Ok(()),
            Ok(values) => refuse(format!("3 x 1/2 + 5 x 1/4 came out as {values:?}")),
            Err(error) => refuse(error.to_string()),
        }
    }
}

/// `x` in the 16-bit type, if there is one.
pub(super) fn lowered<const D: usize>(x: Tensor<D>, precision: Precision) -> Tensor<D> {
    match precision.low() {
        Some(low) => x.cast(low),
        None => x,
    }
}

/// `x` in f32.
pub(super) fn raised<const D: usize>(x: Tensor<D>, precision: Precision) -> Tensor<D> {
    match precision.low() {
        Some(_) => x.cast(FloatDType::F32),
        None => x,
    }
}

/// A linear layer, in the 16-bit type if there is one and with a result of that type. The cast of the weights is part of
/// what is differentiated, so that their gradients are f32.
pub(super) fn linear<const D: usize>(layer: &Linear, x: Tensor<D>, precision: Precision) -> Tensor<D> {
    if precision == Precision::F32 {
        return layer.forward(x);
    }
    let bias = layer.bias.as_ref().map(|bias| lowered(bias.val(), precision));
    module::linear(lowered(x, precision), lowered(layer.weight.val(), precision), bias)
}

/// What the loss is multiplied by before the backward pass in half precision, so that small gradients are not lost.
///
/// PyTorch's GradScaler: it begins at 65536, halves when a gradient overflows (that step changes no weight) and doubles
/// after 2000 steps in a row that did not.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct LossScale {
    /// A power of two.
    pub(super) factor: f64,
    /// Steps since it changed.
    steps: u64,
}

impl Default for LossScale {
    fn default() -> Self {
        Self { factor: 65536.0, steps: 0 }
    }
}

impl LossScale {
    /// Steps without overflow after which the scale is doubled (PyTorch's GradScaler).
    const GROW_AFTER: u64 = 2000;
    /// A gradient that overflows at this scale still is not one of too large a scale.
    const LEAST: f64 = 1.0 / 16384.0;

    /// After a step whose gradient was finite.
    pub(super) fn good(&mut self) {
        self.steps += 1;
        if self.steps >= Self::GROW_AFTER {
            *self = Self { factor: self.factor * 2.0, steps: 0 };
        }
    }

    /// After a step whose gradient was not; whether a smaller scale may help.
    pub(super) fn overflowed(&mut self) -> bool {
        *self = Self { factor: self.factor / 2.0, steps: 0 };
        self.factor >= Self::LEAST
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cpu_computes_in_sixteen_bits_with_their_rounding() {
        let device = Device::flex();
        for (precision, next) in [(Precision::Bf16, 257.0), (Precision::F16, 2049.0)] {
            precision.check(&device).unwrap();
            // One more than the significand has bits for: rounded to the even neighbour.
            let x = Tensor::<2>::from_floats([[next]], &device);
            let rounded = raised(lowered(x, precision), precision).into_scalar::<f32>();
            assert_eq!(rounded, next - 1.0, "{precision}");
        }
    }

    #[test]
    fn the_scale_halves_at_once_and_doubles_after_two_thousand_steps() {
        let mut scale = LossScale::default();
        assert!(scale.overflowed());
        assert_eq!(scale.factor, 32768.0);
        (0..1999).for_each(|_| scale.good());
        assert_eq!(scale.factor, 32768.0);
        scale.good();
        assert_eq!(scale, LossScale::default());
        let mut halvings = 1;
        while scale.overflowed() {
            halvings += 1;
        }
        assert_eq!(halvings, 31);
    }
}
