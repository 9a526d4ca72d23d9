//! Loss and gradient of a batch: cut into chunks, one CPU thread each, summed in the order of the chunks.
//!
//! The CPU backend runs most element-wise operations on one thread, so a batch keeps one core busy and the others wait.
//! Chunks of a batch are independent up to the sum of their gradients: each thread differentiates whole chunks, which
//! uses all cores (`benches/train.rs` takes the number of threads and the size of a chunk). The sum is made in order, so
//! one thread and sixteen give the same bits.

use super::block::DropPath;
use super::config::{TrainConfig, VitConfig};
use super::loss::{self, Hits};
use super::shrink;
use super::vit::Vit;
use crate::batch::Batch;
use crate::error::{Error, Result};
use crate::schedule::Shrink;
use burn::module::{Module, ModuleVisitor, Param, ParamId};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor, TensorData};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

/// Sum over images of the gradients of their losses, by parameter; each tensor flat. A parameter that took no part has
/// none.
#[derive(Debug, Default, Clone)]
pub struct Gradients {
    pub(super) tensors: BTreeMap<ParamId, Tensor<1>>,
    /// Sum of the losses.
    pub(super) loss: f64,
    /// Number of images.
    pub(super) images: usize,
    /// Loss of each image, in the order of the batches.
    pub(super) losses: Vec<f32>,
}

impl Gradients {
    /// Adds another sum.
    pub fn add(&mut self, other: Self) {
        for (id, tensor) in other.tensors {
            let sum = match self.tensors.remove(&id) {
                Some(sum) => sum + tensor,
                None => tensor,
            };
            self.tensors.insert(id, sum);
        }
        self.loss += other.loss;
        self.images += other.images;
        self.losses.extend(other.losses);
    }

    /// Mean loss of an image.
    pub fn mean_loss(&self) -> f64 {
        self.loss / self.images as f64
    }

    /// Loss of each image, in the order in which the batches were added.
    pub fn losses(&self) -> &[f32] {
        &self.losses
    }

    /// Number of images summed over.
    pub fn images(&self) -> usize {
        self.images
    }
}

/// CPU threads that work on chunks. Each runs the backend's own parallel loops by itself: the chunks are the
/// parallelism.
#[derive(Debug)]
pub(super) struct Workers {
    pools: Vec<rayon::ThreadPool>,
}

impl Workers {
    /// # Errors
    /// [`Error::Config`] if the system gives no threads.
    pub(super) fn new(threads: usize) -> Result<Self> {
        let pool = |_| {
            rayon::ThreadPoolBuilder::new()
                .num_threads(1)
                .thread_name(|_| "bandfeed-train".into())
                .build()
                .map_err(|e| Error::config("threads", format!("{threads}: {e}")))
        };
        Ok(Self { pools: (0..threads.max(1)).map(pool).collect::<Result<_>>()? })
    }

    /// Runs `work(0..count)` on all threads and hands the results to `take` in order, on the calling thread.
    fn in_order<T: Send>(&self, count: usize, work: impl Fn(usize) -> T + Sync, mut take: impl FnMut(T)) {
        let next = AtomicUsize::new(0);
        let (sender, results) = mpsc::channel();
        std::thread::scope(|scope| {
            for pool in self.pools.iter().take(count) {
                let (sender, next, work) = (sender.clone(), &next, &work);
                scope.spawn(move || {
                    pool.install(|| {
                        loop {
                            let index = next.fetch_add(1, Ordering::Relaxed);
                            if index >= count || sender.send((index, work(index))).is_err() {
                                break;
                            }
                        }
                    });
                });
            }
            drop(sender);
            let (mut early, mut due) = (BTreeMap::new(), 0);
            for (index, result) in results {
                early.insert(index, result);
                while let Some(result) = early.remove(&due) {
                    take(result);
                    due += 1;
                }
            }
        });
    }
}

/// Where a batch stands in a run: it begins at image `place` of optimiser step `step`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) step: u64,
    pub(super) place: usize,
}

/// Gradient of the losses of `batch`, whose images are made smaller by `shrink`. The losses are multiplied by `scale` on the way
/// back, and their gradients divided by it.
///
/// # Errors
/// [`Error::Config`] if a label is no class of the model or the images do not have the model's size.
pub(super) fn of_batch(
    model: &Vit,
    config: &TrainConfig,
    workers: &Workers,
    batch: &Batch,
    shrink: Option<Shrink>,
    Place { step, place }: Place,
    scale: f64,
) -> Result<Gradients> {
    let chunks = Chunks::new(model, batch, config.chunk, shrink)?;
    let targets = targets(batch, config.model.classes, config.label_smoothing)?;
    let drop_path = batch.stage.growth.drop_path.unwrap_or(config.model.drop_path);
    let shape = VitConfig { depth: model.blocks.len(), drop_path, ..config.model.clone() };
    let mut sum = Ok(Gradients::default());
    let one = |index| {
        let (images, labels) = chunks.get(index);
        let n = labels.len();
        let device = chunks.device.clone().autodiff();
        let targets = chunks.targets(index, &targets, &device);
        let drop = DropPath::draw(&shape, config.seed, step, place + index * chunks.size, n, &device);
        let copy = model.clone().train().frozen(config.freeze);
        let scores = copy.forward_in(config.precision, Tensor::from_inner(images), drop.as_ref());
        let each = loss::cross_entropy(scores, targets);
        let losses = each.to_data().try_to_vec::<f32>().expect("losses are f32");
        let loss = if scale == 1.0 { each.sum() } else { each.sum() * scale };
        let from = GradientsParams::from_grads(loss.backward(), &copy);
        let mut flat = Flat { tensors: BTreeMap::new(), from, scale };
        copy.visit(&mut flat);
        let loss = losses.iter().map(|&loss| f64::from(loss)).sum();
        Ok(Gradients { tensors: flat.tensors, loss, images: n, losses })
    };
    workers.in_order(chunks.count(), one, |part: Result<Gradients>| match (&mut sum, part) {
        (Ok(sum), Ok(part)) => sum.add(part),
        (sum @ Ok(_), Err(error)) => *sum = Err(error),
        (Err(_), _) => {}
    });
    sum
}

/// Losses (without smoothing) and right answers of a batch, whose images are made smaller by `shrink`.
///
/// # Errors
/// As [`of_batch`].
pub(super) fn score(
    model: &Vit,
    config: &TrainConfig,
    workers: &Workers,
    batch: &Batch,
    shrink: Option<Shrink>,
) -> Result<(f64, Hits)> {
    let chunks = Chunks::new(model, batch, config.chunk, shrink)?;
    let classes = config.model.classes;
    let targets = targets(batch, classes, 0.0)?;
    let mut sum = Ok((0.0, Hits::default()));
    let one = |index| {
        let (images, labels) = chunks.get(index);
        let targets = chunks.targets(index, &targets, &chunks.device);
        let scores = model.forward(images, None);
        let loss = loss::cross_entropy(scores.clone(), targets).sum().into_scalar::<f32>();
        let scores = scores.into_data().try_to_vec::<f32>().expect("scores are f32");
        Ok((f64::from(loss), loss::hits(&scores, classes, labels)))
    };
    workers.in_order(chunks.count(), one, |part: Result<(f64, Hits)>| match (&mut sum, part) {
        (Ok((loss, hits)), Ok((l, h))) => {
            *loss += l;
            hits.top1 += h.top1;
            hits.top5 += h.top5;
        }
        (sum @ Ok(_), Err(error)) => *sum = Err(error),
        (Err(_), _) => {}
    });
    sum
}

/// Scores of a batch's images, row by row.
///
/// # Errors
/// [`Error::Config`] if the images do not have the model's size.
pub(super) fn scores(model: &Vit, chunk: usize, workers: &Workers, batch: &Batch) -> Result<Vec<f32>> {
    let chunks = Chunks::new(model, batch, chunk, None)?;
    let mut all = Vec::new();
    let one = |index| {
        let (images, _) = chunks.get(index);
        model.forward(images, None).into_data().try_to_vec::<f32>().expect("scores are f32")
    };
    workers.in_order(chunks.count(), one, |scores: Vec<f32>| all.extend(scores));
    Ok(all)
}

/// [`Batch::soft_targets`], whose complaint about a label is turned to the model.
fn targets(batch: &Batch, classes: usize, smoothing: f64) -> Result<Vec<f32>> {
    if let Some(label) = batch.labels.iter().find(|&&label| label as usize >= classes) {
        let reason = format!("label {label} in the data, but the model has {classes} classes");
        return Err(Error::config("model.classes", reason));
    }
    batch.soft_targets(classes, smoothing)
}

/// A batch cut into runs of images.
struct Chunks<'a> {
    images: &'a [f32],
    labels: &'a [u32],
    band: usize,
    size: usize,
    device: Device,
    shrink: Option<Shrink>,
}

impl<'a> Chunks<'a> {
    fn new(model: &Vit, batch: &'a Batch, size: usize, shrink: Option<Shrink>) -> Result<Self> {
        let ([n, _, h, w], own) = (batch.images.shape(), model.band() as usize);
        let band = if shrink.is_some() { batch.stage.band as usize } else { own };
        let seen = shrink.map_or(own, |shrink| shrink.side() as usize);
        if (n, h, w, seen) != (batch.labels.len(), band, band, own) {
            let smaller = if shrink.is_some() { format!(" made smaller to {seen}") } else { String::new() };
            return Err(Error::config(
                "batch",
                format!("{n} images of {w}x{h}{smaller} with {} labels, but the model is at {own}", batch.labels.len()),
            ));
        }
        let device = model.position.val().device();
        Ok(Self { images: batch.images.as_slice(), labels: &batch.labels, band, size, device, shrink })
    }

    fn count(&self) -> usize {
        self.labels.len().div_ceil(self.size)
    }

    fn range(&self, index: usize) -> std::ops::Range<usize> {
        let first = index * self.size;
        first..(first + self.size).min(self.labels.len())
    }

    fn get(&self, index: usize) -> (Tensor<4>, &'a [u32]) {
        let range = self.range(index);
        let pixels = 3 * self.band * self.band;
        let values = self.images[range.start * pixels..range.end * pixels].to_vec();
        let shape = [range.len(), 3, self.band, self.band];
        let images = Tensor::from_data(TensorData::new(values, shape), &self.device);
        let images = match self.shrink {
            Some(by) => shrink::shrink(images, by),
            None => images,
        };
        (images, &self.labels[range])
    }

    /// The chunk's rows of the batch's targets.
    fn targets(&self, index: usize, all: &[f32], device: &Device) -> Tensor<2> {
        let (range, classes) = (self.range(index), all.len() / self.labels.len());
        let rows = all[range.start * classes..range.end * classes].to_vec();
        Tensor::from_data(TensorData::new(rows, [range.len(), classes]), device)
    }
}

/// Takes the gradients of a model's parameters as flat tensors.
struct Flat {
    tensors: BTreeMap<ParamId, Tensor<1>>,
    from: GradientsParams,
    scale: f64,
}

impl ModuleVisitor for Flat {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = self.from.remove::<D>(param.id) {
            let len = gradient.shape().num_elements();
            let gradient = gradient.reshape([len]);
            self.tensors.insert(param.id, if self.scale == 1.0 { gradient } else { gradient / self.scale });
        }
    }
}
