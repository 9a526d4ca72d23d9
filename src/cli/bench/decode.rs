//! `bandfeed bench decode`: bytes to pixels, with neither crop nor batch after it.

use super::options::{Common, Making, Shape, Target, at_own_magnitude};
use super::report::{Key, Kind, Report};
use super::rounds::{self, Done, Input, Window};
use super::show::Outlet;
use crate::decode::{Decoder, Limits, SeekPoints};
use crate::engine::resolution;
use crate::plan::{self, SampleKey};
use crate::{Recipe, Result};
use std::collections::HashSet;
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::Instant;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    making: Making,
    /// Which JPEG decoder: own (as the loader has it: libjpeg-turbo where it cannot or need not help), libjpeg-turbo, or both, a
    /// row each.
    #[arg(long, value_enum, default_value_t = DecoderChoice::Both)]
    decoder: DecoderChoice,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum DecoderChoice {
    Own,
    LibjpegTurbo,
    Both,
}

/// What a thread keeps: a decoder, the bytes of a file, and its seek points.
type State = (Decoder, Vec<u8>, SeekPoints);

const OWN: &str = "own";
const TURBO: &str = "libjpeg-turbo";

impl DecoderChoice {
    fn names(self) -> &'static [&'static str] {
        match self {
            Self::Own => &[OWN],
            Self::LibjpegTurbo => &[TURBO],
            Self::Both => &[OWN, TURBO],
        }
    }
}

/// Images that each thread decodes before the clock starts: its buffers have grown then.
const WARM: u64 = 8;

pub(super) fn run(args: &Args) -> Result<ExitCode> {
    let Args { common, making, decoder } = args;
    let outlet = Outlet::open(common, Kind::Decode)?;
    let recipe = making.recipe()?;
    let shape = Shape { batch_size: 1, crop: None, patch: 16 };
    let targets: Vec<Option<Target>> =
        std::iter::once(None).chain(common.targets(making, &recipe, shape)?.into_iter().map(Some)).collect();
    let input = Input::open(common)?;
    let mut rows = Vec::new();
    for workers in common.workers() {
        for &cache in common.cache.states() {
            for name in decoder.names() {
                for target in &targets {
                    let key = Key {
                        stage: target.as_ref().and_then(|t| t.number),
                        band: target.as_ref().map(|t| t.stage.band),
                        workers,
                        cache: Some(cache),
                        decoder: Some((*name).into()),
                        ..Key::default()
                    };
                    rows.push((key, target.as_ref()));
                }
            }
        }
    }
    let keys = rows.iter().map(|(key, _)| key.clone()).collect();
    let planned = at_own_magnitude(&recipe);
    let measured = rounds::run(common, keys, |place, round| {
        let (key, target) = &rows[place];
        window(args, &planned, &input, key, *target, round)
    })?;
    let report = Report::new(Kind::Decode, common, &*input.source, &recipe, making.scale_margin, measured);
    outlet.put(&report, &recipe, "")
}

/// Decodes the source's images in its order, over and over.
fn window(
    args: &Args,
    recipe: &Recipe,
    input: &Input,
    key: &Key,
    target: Option<&Target>,
    round: u64,
) -> Result<Window> {
    let Args { common, making, .. } = args;
    let (source, len) = (&*input.source, input.source.len() as u64);
    let state = |_| {
        let decoder = Decoder::new(Limits::default())?.scale_margin(making.scale_margin)?;
        let turbo = key.decoder.as_deref() == Some(TURBO);
        Ok((if turbo { decoder.without_own_decoder() } else { decoder }, Vec::new(), SeekPoints::default()))
    };
    let mut states: Vec<State> = (0..key.workers).map(state).collect::<Result<_>>()?;
    let bad = Mutex::new(HashSet::new());
    let work = |(decoder, buffer, points): &mut State, number: u64| {
        let index = number % len;
        let start = Instant::now();
        let bytes = source.read(index as usize, buffer)?;
        let read = start.elapsed();
        let before = decoder.own_decodes();
        let pixels = match target {
            None => {
                let all = bytes.len() as u64;
                decoder.decode(bytes).map(|image| (std::hint::black_box(image).size.pixels(), all))
            }
            Some(target) => match decoder.header(bytes) {
                Err(error) => Err(error),
                Ok(header) => {
                    let sample =
                        SampleKey { seed: common.seed + round, epoch: number / len, position: index, replay: 0 };
                    let plan = plan::train(sample, &target.stage, target.stage.magnitude, recipe, header.size)?;
                    let entry = source.seek_entry(index as usize).filter(|entry| entry.is_of(bytes));
                    let points = entry.filter(|entry| entry.unpack(points) == Ok(true)).map(|_| &*points);
                    let (region, need) = (plan.crop.region, resolution(&plan));
                    let patch = decoder.decode_region_from(bytes, &header, region, need, points);
                    patch.map(|patch| (std::hint::black_box(patch).size.pixels(), patch.bytes))
                }
            },
        };
        let decode = start.elapsed() - read;
        let (images, pixels, looked_at) = match pixels {
            Ok((pixels, bytes)) => (1, pixels, bytes),
            Err(_) => {
                bad.lock().expect("no holder panics").insert(index);
                (0, 0, 0)
            }
        };
        let own = decoder.own_decodes() - before;
        Ok(Done { images, bytes: looked_at, pixels, own, read, decode, ..Done::default() })
    };
    let limit = input.limit(key.cache);
    let window = rounds::race(&mut states, (common.seconds, limit, WARM), || input.prepare(key.cache), work)?;
    let bad_files = bad.into_inner().expect("no holder panics").len();
    Ok(Window { bad_files, ..window })
}
