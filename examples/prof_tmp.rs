#![allow(missing_docs, unreachable_pub, dead_code)]
use burn::module::{Module, ModuleVisitor, Param};
use burn::nn::loss::CrossEntropyLossConfig;
use burn::optim::GradientsParams;
use burn::tensor::{Device, Distribution, Int, Tensor};
use std::time::Instant;
#[path = "model_tmp.rs"]
mod model;
use model::Vit;
struct Sum<'a>(&'a mut Vec<GradientsParams>, f32);
impl ModuleVisitor for Sum<'_> {
    fn visit_float<const D: usize>(&mut self, p: &Param<Tensor<D>>) {
        let g = self.0.iter_mut().map(|g| g.remove::<D>(p.id).unwrap()).reduce(|a, b| a + b).unwrap();
        self.1 += g.square().sum().into_scalar::<f32>();
    }
}
fn main() {
    let a: Vec<usize> = std::env::args().skip(1).map(|s| s.parse().unwrap()).collect();
    let (img, batch, chunk, threads, fused) = (a[0], a[1], a[2], a[3], a[4] == 1);
    let inner = Device::flex();
    let dev = inner.clone().autodiff();
    let model = Vit::new(img, 12, 128, 4, 4, 100, fused, &inner);
    let x: Tensor<4> = Tensor::random([batch, 3, img, img], Distribution::Normal(0.0, 1.0), &inner);
    let _ = model.forward(x.clone());
    let pools: Vec<_> = (0..threads).map(|_| rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap()).collect();
    let mut t = vec![];
    let n = batch / chunk;
    let mut norm = 0.0;
    for _ in 0..12 {
        let t0 = Instant::now();
        let next = std::sync::atomic::AtomicUsize::new(0);
        let slots: Vec<std::sync::Mutex<Option<(f32, GradientsParams)>>> = (0..n).map(|_| Default::default()).collect();
        std::thread::scope(|s| {
            for p in &pools {
                let (model, x, dev, next, slots) = (model.clone(), x.clone(), dev.clone(), &next, &slots);
                s.spawn(move || {
                    p.install(|| {
                        loop {
                            let i = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                            if i >= n {
                                break;
                            }
                            let m = model.clone().train();
                            let xi = Tensor::from_inner(x.clone().slice([i * chunk..(i + 1) * chunk]));
                            let y: Tensor<1, Int> = Tensor::from_data(
                                burn::tensor::TensorData::from(
                                    (0..chunk as i64).map(|i| i % 100).collect::<Vec<_>>().as_slice(),
                                ),
                                &dev,
                            );
                            let loss = CrossEntropyLossConfig::new().init(&dev).forward(m.forward(xi), y);
                            let l: f32 = loss.clone().into_scalar();
                            let g = GradientsParams::from_grads(loss.backward(), &m);
                            *slots[i].lock().unwrap() = Some((l, g));
                        }
                    })
                });
            }
        });
        let mut g: Vec<_> = slots.into_iter().map(|s| s.into_inner().unwrap().unwrap().1).collect();
        let mut s = Sum(&mut g, 0.0);
        model.visit(&mut s);
        norm = s.1;
        t.push(t0.elapsed().as_secs_f64() * 1e3);
    }
    t.sort_by(f64::total_cmp);
    println!(
        "img {img} batch {batch} chunk {chunk} threads {threads} fused {fused}: min {:.1} median {:.1} norm {norm}",
        t[0], t[6]
    );
}
