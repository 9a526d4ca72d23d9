//! Weights under timm's names and in PyTorch's layouts, and back.
//!
//! | here | timm's `VisionTransformer` |
//! |---|---|
//! | `class_token`, `position` | `cls_token`, `pos_embed` |
//! | `embed.weight` `(3 p p, D)` | `patch_embed.proj.weight` `(D, 3, p, p)`: transposed and folded |
//! | `query`, `key`, `value` of a block | `attn.qkv`, one below the other |
//! | `project`, `expand`, `contract` | `attn.proj`, `mlp.fc1`, `mlp.fc2` |
//! | `norm1.gamma`, `norm1.beta` | `norm1.weight`, `norm1.bias` |
//! | `ls1.gamma` | `ls1.gamma` |
//!
//! Matrices are input by output here and output by input there.

use super::config::VitConfig;
use super::safetensors::Values;
use std::collections::{BTreeMap, BTreeSet};

/// Parameters by name.
pub(super) type Tensors = BTreeMap<String, Values>;

/// The parts of `attn.qkv`, in its order.
const QKV: [&str; 3] = ["query", "key", "value"];
/// Modules of the model and of a block: ours, timm's.
const MODULES: [(&str, &str); 7] = [
    ("embed", "patch_embed.proj"),
    ("project", "attn.proj"),
    ("expand", "mlp.fc1"),
    ("contract", "mlp.fc2"),
    ("head", "head"),
    ("class_token", "cls_token"),
    ("position", "pos_embed"),
];

/// Names of a block's parameters begin with its place.
fn split_block(name: &str) -> (&str, &str) {
    let Some(rest) = name.strip_prefix("blocks.") else { return ("", name) };
    let length = "blocks.".len() + rest.find('.').map_or(rest.len(), |dot| dot + 1);
    name.split_at(length)
}

/// Ours to timm's.
pub(super) fn to_timm(config: &VitConfig, mut ours: Tensors) -> Tensors {
    let mut theirs = Tensors::new();
    for block in 0..config.depth {
        for kind in ["weight", "bias"] {
            let parts = QKV.map(|part| {
                let part = ours.remove(&format!("blocks.{block}.{part}.{kind}")).expect("a block has all three");
                transposed(part)
            });
            let mut shape = parts[0].shape.clone();
            shape[0] *= 3;
            let values = parts.into_iter().flat_map(|part| part.values).collect();
            theirs.insert(format!("blocks.{block}.attn.qkv.{kind}"), Values { shape, values });
        }
    }
    for (name, values) in ours {
        let (block, own) = split_block(&name);
        let (module, kind) = own.split_once('.').unwrap_or((own, ""));
        let module = MODULES.iter().find(|(ours, _)| *ours == module).map_or(module, |(_, theirs)| theirs);
        let kind = match kind {
            "gamma" if !module.starts_with("ls") => ".weight",
            "gamma" => ".gamma",
            "beta" => ".bias",
            "weight" => ".weight",
            "bias" => ".bias",
            _ => "",
        };
        let mut values = transposed(values);
        if module == "patch_embed.proj" && kind == ".weight" {
            values.shape = vec![config.dim, 3, config.patch, config.patch];
        }
        theirs.insert(format!("{block}{module}{kind}"), values);
    }
    theirs
}

/// Timm's to ours, whatever their names: those that no model here has keep theirs.
///
/// # Errors
/// What keeps a tensor from being cut or turned.
pub(super) fn from_timm(theirs: Tensors) -> Result<Tensors, String> {
    let mut ours = Tensors::new();
    for (name, mut values) in theirs {
        let (block, own) = split_block(&name);
        if let Some(kind) = own.strip_prefix("attn.qkv.") {
            if !values.shape.first().is_some_and(|rows| rows.is_multiple_of(3)) {
                return Err(format!("{name} of shape {:?} cannot be cut in three", values.shape));
            }
            let mut shape = values.shape;
            shape[0] /= 3;
            let length = values.values.len() / 3;
            for (part, values) in QKV.iter().zip(values.values.chunks(length.max(1))) {
                let part_values = Values { shape: shape.clone(), values: values.to_vec() };
                ours.insert(format!("{block}{part}.{kind}"), transposed(part_values));
            }
            continue;
        }
        let (module, kind) = match own.rsplit_once('.') {
            Some((module, kind)) => (module, format!(".{kind}")),
            None => (own, String::new()),
        };
        let kind = match kind.as_str() {
            ".weight" if module.starts_with("norm") => ".gamma",
            ".bias" if module.starts_with("norm") => ".beta",
            _ => &kind,
        };
        let module = MODULES.iter().find(|(_, theirs)| *theirs == module).map_or(module, |(ours, _)| ours);
        if module == "embed" && values.shape.len() == 4 {
            values.shape = vec![values.shape[0], values.shape[1..].iter().product()];
        }
        ours.insert(format!("{block}{module}{kind}"), transposed(values));
    }
    Ok(ours)
}

/// A matrix with its axes exchanged; anything else as it is.
fn transposed(matrix: Values) -> Values {
    let [rows, columns] = matrix.shape[..] else { return matrix };
    let values = (0..columns).flat_map(|c| (0..rows).map(move |r| (r, c)));
    let values = values.map(|(r, c)| matrix.values[r * columns + c]).collect();
    Values { shape: vec![columns, rows], values }
}

/// The shape of the model that timm's tensors are of. `heads` is not to be seen in them: without it, heads are 64 wide,
/// as in every published ViT and DeiT.
///
/// # Errors
/// What the file lacks, or has that no model here has.
pub(super) fn shape(theirs: &Tensors, heads: Option<usize>) -> Result<VitConfig, String> {
    for (name, what) in [
        ("dist_token", "a distilled DeiT, with two class tokens"),
        ("reg_token", "a model with register tokens"),
        ("norm_pre.weight", "a model with a norm before its blocks"),
        ("fc_norm.weight", "a model that reads the mean of all tokens"),
        ("blocks.0.attn.q_norm.weight", "a model with norms of queries and keys"),
    ] {
        if theirs.contains_key(name) {
            return Err(format!("it has {name}: {what}, which is not built here"));
        }
    }
    if let Some((name, values)) = theirs.iter().find(|(_, values)| values.shape.contains(&0)) {
        return Err(format!("{name} of shape {:?} has no values", values.shape));
    }
    let of = |name: &str| {
        theirs.get(name).map(|t| t.shape.as_slice()).ok_or_else(|| {
            format!("it has no {name}: expected the tensors of a timm VisionTransformer, such as deit_tiny_patch16_224")
        })
    };
    let &[dim, 3, patch, other] = of("patch_embed.proj.weight")? else {
        let shape = of("patch_embed.proj.weight")?;
        return Err(format!("patch_embed.proj.weight has the shape {shape:?}: expected (D, 3, patch, patch)"));
    };
    if patch != other {
        return Err(format!("patches of {patch} x {other}: expected squares"));
    }
    let numbers: BTreeSet<usize> =
        theirs.keys().filter_map(|name| name.strip_prefix("blocks.")?.split('.').next()?.parse().ok()).collect();
    let depth = numbers.iter().enumerate().take_while(|&(place, &number)| place == number).count();
    if let Some(beyond) = numbers.iter().nth(depth) {
        return Err(format!("it has a block {beyond} but no block {depth}: expected blocks.0, blocks.1 and so on"));
    }
    let &[hidden, _] = of("blocks.0.mlp.fc1.weight")? else {
        return Err("blocks.0.mlp.fc1.weight is no matrix".into());
    };
    let heads = match heads {
        Some(heads) => heads,
        None if dim.is_multiple_of(64) => dim / 64,
        None => {
            return Err(format!(
                "it does not say how many heads attention has, and {dim} is no multiple of the usual 64; add the metadata \
                 `timm` with {{\"num_heads\": N}}"
            ));
        }
    };
    let classes = theirs.get("head.weight").and_then(|t| t.shape.first().copied()).unwrap_or(0);
    let layer_scale = theirs.get("blocks.0.ls1.gamma").map(|_| 1e-5);
    Ok(VitConfig {
        dim,
        depth,
        heads,
        patch,
        mlp_ratio: ratio(dim, hidden),
        drop_path: 0.0,
        layer_scale,
        ..VitConfig::tiny(classes)
    })
}

/// The least ratio at or above `hidden / dim` whose product with `dim`, cut to a whole number as timm does it too, is
/// `hidden`: that of 453 / 224 itself is 452.
fn ratio(dim: usize, hidden: usize) -> f64 {
    let mut ratio = hidden as f64 / dim as f64;
    while ((dim as f64 * ratio) as usize) < hidden {
        ratio = ratio.next_up();
    }
    ratio
}

#[cfg(test)]
mod tests {
    use super::super::names::parameters;
    use super::super::vit::Vit;
    use super::*;
    use burn::tensor::Device;

    fn tensors(config: &VitConfig) -> Tensors {
        let model = Vit::new(config, 8, 3, &Device::flex()).unwrap();
        parameters(&model).into_iter().map(|(name, (_, values))| (name, values)).collect()
    }

    #[test]
    fn names_and_layouts_go_to_timms_and_come_back() {
        let config = VitConfig {
            dim: 6,
            depth: 2,
            heads: 2,
            patch: 4,
            mlp_ratio: 2.0,
            layer_scale: Some(0.1),
            ..VitConfig::tiny(3)
        };
        let ours = tensors(&config);
        assert!(ours.contains_key("blocks.1.ls2.gamma"), "{:?}", ours.keys());
        let theirs = to_timm(&config, ours.clone());
        for (name, shape) in [
            ("cls_token", vec![1, 1, 6]),
            ("pos_embed", vec![1, 5, 6]),
            ("patch_embed.proj.weight", vec![6, 3, 4, 4]),
            ("blocks.1.attn.qkv.weight", vec![18, 6]),
            ("blocks.1.attn.qkv.bias", vec![18]),
            ("blocks.0.norm2.weight", vec![6]),
            ("blocks.0.mlp.fc1.weight", vec![12, 6]),
            ("blocks.0.ls1.gamma", vec![6]),
            ("norm.bias", vec![6]),
            ("head.weight", vec![3, 6]),
        ] {
            assert_eq!(theirs.get(name).map(|t| &t.shape), Some(&shape), "{name} of {:?}", theirs.keys());
        }
        // Row 1 of the key matrix, which is row 6 + 1 of the three: our column 1.
        let key = &ours["blocks.0.key.weight"].values;
        let row: Vec<f32> = (0..6).map(|input| key[input * 6 + 1]).collect();
        assert_eq!(theirs["blocks.0.attn.qkv.weight"].values[7 * 6..8 * 6], row);
        let found = shape(&theirs, Some(2)).unwrap();
        assert_eq!(found, VitConfig { layer_scale: Some(1e-5), drop_path: 0.0, ..config });
        assert_eq!(from_timm(theirs).unwrap(), ours);
    }

    #[test]
    fn a_block_out_of_its_row_and_an_axis_of_nothing_are_refused() {
        let config = VitConfig { dim: 6, depth: 2, heads: 2, patch: 4, ..VitConfig::tiny(3) };
        let theirs = to_timm(&config, tensors(&config));
        let with = |name: &str, shape_of: Vec<usize>| {
            let mut other = theirs.clone();
            let values = vec![0.0; shape_of.iter().product()];
            other.insert(name.into(), Values { shape: shape_of, values });
            shape(&other, Some(2))
        };
        for number in ["3", "2000000000", "18446744073709551615"] {
            let reason = with(&format!("blocks.{number}.x"), vec![1]).unwrap_err();
            assert!(reason.contains(&format!("a block {number} but no block 2")), "{reason}");
        }
        // No number of a block: left for whoever looks for its tensor.
        assert_eq!(with("blocks.18446744073709551616.x", vec![1]).unwrap().depth, 2);
        assert_eq!(with("blocks.2.x", vec![1]).unwrap().depth, 3);
        for name in ["head.weight", "blocks.0.mlp.fc1.weight", "patch_embed.proj.weight", "extra"] {
            let reason = with(name, vec![1 << 40, 0]).unwrap_err();
            assert_eq!(reason, format!("{name} of shape [1099511627776, 0] has no values"));
        }
        let mut none = theirs.clone();
        none.retain(|name, _| !name.starts_with("blocks.0."));
        assert!(shape(&none, Some(2)).unwrap_err().contains("a block 1 but no block 0"));
    }

    #[test]
    fn the_hidden_width_comes_back_whatever_its_ratio() {
        let mut raised = 0;
        for dim in (16..=1664).step_by(16) {
            for hidden in 1..=6 * dim {
                let config = VitConfig { dim, mlp_ratio: ratio(dim, hidden), ..VitConfig::tiny(1) };
                assert_eq!(config.hidden(), hidden, "width {dim}");
                raised += usize::from(config.mlp_ratio != hidden as f64 / dim as f64);
            }
        }
        assert!(raised > 0);
        assert_eq!(
            [115, 453].map(|hidden| (224.0 * (hidden as f64 / 224.0)) as usize),
            [114, 452],
            "the plain quotient"
        );
    }

    #[test]
    fn models_of_another_kind_are_named() {
        let config = VitConfig { dim: 6, depth: 1, heads: 2, patch: 4, ..VitConfig::tiny(3) };
        let theirs = to_timm(&config, tensors(&config));
        assert!(shape(&theirs, None).unwrap_err().contains("how many heads"));
        let with = |name: &str| {
            let mut other = theirs.clone();
            other.insert(name.into(), Values { shape: vec![1], values: vec![0.0] });
            shape(&other, Some(2)).unwrap_err()
        };
        assert!(with("dist_token").contains("distilled"));
        assert!(with("fc_norm.weight").contains("mean of all tokens"));
        assert!(shape(&Tensors::new(), None).unwrap_err().contains("no patch_embed.proj.weight"));
    }
}
