//! The values of a model, by block.

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::Tensor;

/// A model's parameters, each group under the tag it is shown by: `parameters/blocks.0`, `parameters/embed` ...
pub(super) fn by_block(model: &impl Module) -> Vec<(String, Vec<f32>)> {
    let mut walk = Walk::default();
    model.visit(&mut walk);
    walk.groups
}

#[derive(Default)]
struct Walk {
    path: Vec<String>,
    groups: Vec<(String, Vec<f32>)>,
}

impl ModuleVisitor for Walk {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        // A list's members are numbered: `blocks`, `0`, ...
        let numbered = self.path.get(1).is_some_and(|name| name.bytes().all(|b| b.is_ascii_digit()));
        let shown = &self.path[..self.path.len().min(if numbered { 2 } else { 1 })];
        let tag = format!("parameters/{}", shown.join("."));
        let values = param.val().into_data().convert::<f32>().try_to_vec::<f32>().expect("converted to f32");
        match self.groups.iter_mut().find(|(name, _)| *name == tag) {
            Some((_, group)) => group.extend(values),
            None => self.groups.push((tag, values)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::{Device, Vit, VitConfig};

    #[test]
    fn every_parameter_is_in_one_block() {
        let config = VitConfig { dim: 8, depth: 3, heads: 2, patch: 4, ..VitConfig::tiny(5) };
        let model = Vit::new(&config, 16, 1, &Device::flex()).unwrap();
        let groups = by_block(&model);
        let values: usize = groups.iter().map(|(_, values)| values.len()).sum();
        assert_eq!(values, model.num_params());
        let names: Vec<&str> = groups.iter().map(|(name, _)| name.as_str()).collect();
        for name in ["parameters/blocks.0", "parameters/blocks.2", "parameters/head"] {
            assert!(names.contains(&name), "{names:?}");
        }
        assert!(names.len() < 12, "{names:?}");
    }
}
