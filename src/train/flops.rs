//! What a model computes.

use super::config::VitConfig;

impl VitConfig {
    /// Floating-point operations of a forward pass over one image of `tokens` patches through `depth` blocks: two for each
    /// product in a matrix multiplication. Norms, softmax and activations, a few in a hundred, are not counted. The last
    /// block is computed for the class token alone where that is all the head needs ([`super::Vit::forward`]).
    pub fn forward_flops(&self, depth: usize, tokens: usize) -> f64 {
        let [dim, hidden, n] = [self.dim, self.hidden(), tokens + 1].map(|v| v as f64);
        // Tokens that ask, of n that are asked.
        let block = |asking: f64| {
            let keys_and_values = 2.0 * n * dim * dim;
            let query_and_project = 2.0 * asking * dim * dim;
            let attention = 2.0 * asking * n * dim;
            keys_and_values + query_and_project + attention + 2.0 * asking * dim * hidden
        };
        let embed = tokens as f64 * 3.0 * (self.patch * self.patch) as f64 * dim;
        let whole = depth.saturating_sub(1) as f64 * block(n);
        2.0 * (embed + whole + block(1.0) + dim * self.classes as f64)
    }

    /// The same of a step of training: three times the forward pass, as is usual; the backward pass has twice its products.
    pub fn training_flops(&self, depth: usize, tokens: usize) -> f64 {
        3.0 * self.forward_flops(depth, tokens)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deit_small_has_about_its_published_flops() {
        // 4.6 G multiplications and additions counted as one, of which the last block saves most of its twelfth.
        let flops = VitConfig::small(1000).forward_flops(12, 196) / 2.0;
        assert!((4.1e9..4.5e9).contains(&flops), "{flops}");
        let half = VitConfig::small(1000).forward_flops(6, 196) / 2.0;
        assert!((0.45..0.51).contains(&(half / flops)), "{half}");
    }
}
