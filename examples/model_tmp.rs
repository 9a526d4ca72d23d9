#![allow(missing_docs, unreachable_pub, dead_code)]
use burn::module::Module;
use burn::nn::{Gelu, LayerNorm, LayerNormConfig, Linear, LinearConfig};
use burn::tensor::module::attention;
use burn::tensor::{Device, Tensor, activation::softmax};

#[derive(Module, Debug)]
pub struct Block {
    pub ln1: LayerNorm,
    pub qkv: Linear,
    pub proj: Linear,
    pub ln2: LayerNorm,
    pub fc1: Linear,
    pub fc2: Linear,
    #[module(skip)]
    pub heads: usize,
    #[module(skip)]
    pub fused: bool,
}

impl Block {
    pub fn new(dim: usize, heads: usize, fused: bool, d: &Device) -> Self {
        Self {
            ln1: LayerNormConfig::new(dim).init(d),
            qkv: LinearConfig::new(dim, 3 * dim).init(d),
            proj: LinearConfig::new(dim, dim).init(d),
            ln2: LayerNormConfig::new(dim).init(d),
            fc1: LinearConfig::new(dim, 4 * dim).init(d),
            fc2: LinearConfig::new(4 * dim, dim).init(d),
            heads,
            fused,
        }
    }
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let [b, n, c] = x.dims();
        let hd = c / self.heads;
        let qkv =
            self.qkv.forward(self.ln1.forward(x.clone())).reshape([b, n, 3, self.heads, hd]).permute([2, 0, 3, 1, 4]);
        let mut it = qkv.chunk(3, 0).into_iter().map(|t| t.squeeze_dim::<4>(0));
        let (q, k, v) = (it.next().unwrap(), it.next().unwrap(), it.next().unwrap());
        let a = if self.fused {
            attention(q, k, v, None, None, Default::default())
        } else {
            let s = q.matmul(k.transpose()) / (hd as f64).sqrt();
            softmax(s, 3).matmul(v)
        };
        let a = a.permute([0, 2, 1, 3]).reshape([b, n, c]);
        let x = x + self.proj.forward(a);
        let h = Gelu::new().forward(self.fc1.forward(self.ln2.forward(x.clone())));
        x + self.fc2.forward(h)
    }
}

#[derive(Module, Debug)]
pub struct Vit {
    pub patch: Linear,
    pub cls: burn::module::Param<Tensor<3>>,
    pub pos: burn::module::Param<Tensor<3>>,
    pub blocks: Vec<Block>,
    pub norm: LayerNorm,
    pub head: Linear,
    #[module(skip)]
    pub p: usize,
}

impl Vit {
    pub fn new(
        img: usize,
        p: usize,
        dim: usize,
        depth: usize,
        heads: usize,
        classes: usize,
        fused: bool,
        d: &Device,
    ) -> Self {
        let n = (img / p) * (img / p) + 1;
        let init = burn::nn::Initializer::Normal { mean: 0.0, std: 0.02 };
        Self {
            patch: LinearConfig::new(3 * p * p, dim).init(d),
            cls: init.init([1, 1, dim], d),
            pos: init.init([1, n, dim], d),
            blocks: (0..depth).map(|_| Block::new(dim, heads, fused, d)).collect(),
            norm: LayerNormConfig::new(dim).init(d),
            head: LinearConfig::new(dim, classes).init(d),
            p,
        }
    }
    pub fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        self.forward_subset(x, |_| true)
    }
    /// Runs only the blocks that `on` names: an elastic sub-network.
    pub fn forward_subset(&self, x: Tensor<4>, on: impl Fn(usize) -> bool) -> Tensor<2> {
        let [b, c, h, w] = x.dims();
        let p = self.p;
        let (gh, gw) = (h / p, w / p);
        let x = x.reshape([b, c, gh, p, gw, p]).permute([0, 2, 4, 1, 3, 5]).reshape([b, gh * gw, c * p * p]);
        let x = self.patch.forward(x);
        let dim = x.dims()[2];
        let cls = self.cls.val().expand([b, 1, dim]);
        let mut x = Tensor::cat(vec![cls, x], 1) + self.pos.val();
        for (_, blk) in self.blocks.iter().enumerate().filter(|(i, _)| on(*i)) {
            x = blk.forward(x);
        }
        let x = self.norm.forward(x);
        self.head.forward(x.slice([0..b, 0..1, 0..dim]).squeeze_dim::<2>(1))
    }
}
