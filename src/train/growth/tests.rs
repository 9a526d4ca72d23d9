use super::super::vit::Vit;
use super::*;
use crate::train::VitConfig;
use burn::module::{Param, ParamId};
use burn::nn::{Linear, LinearConfig};
use burn::tensor::{Device, Tensor};
use std::collections::BTreeSet;

fn vectors() -> serde_json::Value {
    serde_json::from_str(include_str!("../../../tests/data/schedule/auto_prog.json")).unwrap()
}

#[test]
fn sources_and_splits_are_the_published_ones() {
    let vectors = vectors();
    let maps = vectors["depth_growth"].as_object().unwrap();
    assert_eq!(maps.len(), 13);
    for (name, expected) in maps {
        let (before, after) = name.split_once("->").unwrap();
        let map = sources(before.parse().unwrap(), after.parse().unwrap());
        assert_eq!(serde_json::json!(map), expected["source"], "{name}");
        let new: Vec<usize> = (1..map.len()).filter(|&i| map[i] == map[i - 1]).collect();
        assert_eq!(serde_json::json!(new), expected["new"], "{name}");
    }
    for (depth, split) in vectors["volo_split"].as_object().unwrap() {
        assert_eq!(serde_json::json!(volo_split(depth.parse().unwrap())), *split, "{depth}");
    }
}

#[test]
fn every_source_is_taken_in_order_and_as_often_as_the_others_or_once_more() {
    for before in 1..12 {
        for after in before..30 {
            let map = sources(before, after);
            assert!(map.is_sorted() && map[0] == 0 && map[after - 1] == before - 1);
            let times: Vec<usize> = (0..before).map(|s| map.iter().filter(|&&from| from == s).count()).collect();
            assert!(times.is_sorted() && times[before - 1] - times[0] <= 1, "{before} to {after}: {times:?}");
        }
    }
}

/// Two groups, as VOLO has, and a head; not the bundled model.
#[derive(Module, Debug)]
struct Own {
    outlookers: Vec<Linear>,
    transformers: Vec<Linear>,
    head: Param<Tensor<1>>,
}

impl Own {
    fn new(depths: &[usize], value: f32) -> Self {
        let device = Device::flex();
        let mut next = value;
        let mut layer = |_| {
            next += 1.0;
            let mut layer = LinearConfig::new(2, 2).init(&device);
            layer.weight = Param::from_data([[next, next], [next, next]], &device);
            layer.bias = Some(Param::from_data([next, -next], &device));
            layer
        };
        let outlookers = (0..depths[0]).map(&mut layer).collect();
        let transformers = (0..depths[1]).map(&mut layer).collect();
        Self { outlookers, transformers, head: Param::from_data([value], &device) }
    }

    fn firsts(&self) -> Vec<f32> {
        let weights = self.outlookers.iter().chain(&self.transformers).map(|layer| layer.weight.val());
        let mut values: Vec<f32> = weights.map(|w| w.into_data().try_to_vec::<f32>().unwrap()[0]).collect();
        values.extend(self.head.val().into_data().try_to_vec::<f32>().unwrap());
        values
    }
}

impl Grow for Own {
    fn groups(&self) -> Vec<(String, usize)> {
        vec![("outlookers".into(), self.outlookers.len()), ("transformers".into(), self.transformers.len())]
    }

    fn with_depths(&self, depths: &[usize], seed: u64) -> Result<Self> {
        Ok(Self::new(depths, seed as f32))
    }

    fn ends_branch(&self, name: &str) -> bool {
        name == "weight"
    }
}

#[test]
fn a_model_of_two_groups_grows_each_by_itself_in_every_way() {
    let (model, mean) = (Own::new(&[2, 3], 0.0), Own::new(&[2, 3], 10.0));
    let grown = |by| deepen(&model, Some(&mean), &[3, 5], by, 100).unwrap().firsts();
    // Sources 0 1 1 and 0 1 1 2 2; the trained layers are 1 to 5, their means 11 to 15, fresh ones 101 and on.
    assert_eq!(grown(MoGrow::Copy), [1.0, 2.0, 2.0, 3.0, 4.0, 4.0, 5.0, 5.0, 0.0]);
    assert_eq!(grown(MoGrow::NewOnly), [1.0, 2.0, 12.0, 3.0, 4.0, 14.0, 5.0, 15.0, 0.0]);
    assert_eq!(grown(MoGrow::All), [11.0, 12.0, 12.0, 13.0, 14.0, 14.0, 15.0, 15.0, 10.0]);
    assert_eq!(grown(MoGrow::Random), [1.0, 2.0, 103.0, 3.0, 4.0, 106.0, 5.0, 108.0, 0.0]);
    assert_eq!(grown(MoGrow::Zero), [1.0, 2.0, 0.0, 3.0, 4.0, 0.0, 5.0, 0.0, 0.0]);
    let error = deepen(&model, None, &[3, 5], MoGrow::All, 0).unwrap_err().to_string();
    assert!(error.contains("no running mean"), "{error}");
    for depths in [&[1, 3][..], &[3], &[2, 3, 4]] {
        let error = deepen(&model, None, depths, MoGrow::Copy, 0).unwrap_err().to_string();
        assert!(error.contains("[2, 3], or more"), "{error}");
    }
}

#[test]
fn a_name_is_that_of_its_own_block() {
    let map = Sources::new(&[("blocks".into(), 6)], &[12]).unwrap();
    let of = |name: &str| (map.of(name).name, map.of(name).new);
    assert_eq!(of("blocks.1.norm1.gamma"), ("blocks.0.norm1.gamma".into(), true));
    assert_eq!(of("blocks.10.query.weight"), ("blocks.5.query.weight".into(), false));
    assert_eq!(of("blocks.11.query.weight"), ("blocks.5.query.weight".into(), true));
    for outside in ["head.weight", "position", "blocksize.1.x", "blocks.12.x"] {
        assert_eq!(of(outside), (outside.into(), false));
    }
    assert_eq!(map.of("blocks.3.project.bias").within.as_deref(), Some("project.bias"));
}

#[test]
fn the_bundled_model_has_fresh_identities_and_with_zeros_the_scores_it_had() {
    for layer_scale in [None, Some(0.5)] {
        let config = VitConfig { dim: 8, depth: 2, heads: 2, patch: 4, mlp_ratio: 2.5, ..VitConfig::tiny(3) };
        let config = VitConfig { layer_scale, ..config };
        let model = Vit::new(&config, 8, 3, &Device::flex()).unwrap();
        let images = || Tensor::<4>::ones([2, 3, 8, 8], &Device::flex()) * 0.3;
        let scores = |model: &Vit| model.forward(images(), None).into_data().try_to_vec::<f32>().unwrap();
        let zero = deepen(&model, None, &[5], MoGrow::Zero, 7).unwrap();
        assert_eq!(zero.blocks.len(), 5);
        let apart = scores(&zero).iter().zip(scores(&model)).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(apart < 1e-6, "{apart}");
        let copy = deepen(&model, None, &[3], MoGrow::Copy, 7).unwrap();
        assert_ne!(scores(&copy), scores(&model));
        let ids: Vec<ParamId> = parameters(&copy).values().map(|(id, _)| *id).collect();
        assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len());
        // New blocks of a random growth are drawn from the seed, layer scale included.
        let random = |seed| parameters(&deepen(&model, None, &[3], MoGrow::Random, seed).unwrap());
        let value = |seed, name: &str| random(seed)[name].1.values.clone();
        assert_eq!(value(1, "blocks.2.query.weight"), value(1, "blocks.2.query.weight"));
        assert_ne!(value(1, "blocks.2.query.weight"), value(2, "blocks.2.query.weight"));
        assert_eq!(value(1, "blocks.1.query.weight"), parameters(&model)["blocks.1.query.weight"].1.values);
        if let Some(scale) = layer_scale {
            assert_eq!(value(1, "blocks.2.ls1.gamma"), [scale as f32; 8]);
        }
    }
}
