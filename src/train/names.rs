//! Parameters by name: the path of modules that leads to one, such as `blocks.0.query.weight`, and the layer it is in.

use super::safetensors::Values;
use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::tensor::{Tensor, TensorData};
use std::collections::BTreeMap;

/// The place that a walk over a module is at.
#[derive(Default)]
pub(super) struct Name(Vec<String>);

impl Name {
    pub(super) fn enter(&mut self, name: &str) {
        self.0.push(name.to_owned());
    }

    pub(super) fn exit(&mut self) {
        self.0.pop();
    }

    pub(super) fn get(&self) -> String {
        self.0.join(".")
    }

    /// The layer of the parameter here, in a model of `depth` blocks ([`super::AdamWConfig::layer_decay`] counts them).
    pub(super) fn layer(&self, depth: usize) -> usize {
        match self.0.first().map(String::as_str) {
            Some("embed" | "class_token" | "position") => 0,
            Some("blocks") => self.0[1].parse::<usize>().expect("blocks are numbered") + 1,
            _ => depth + 1,
        }
    }
}

/// All parameters of a model on the host, by name, each with its identity.
pub(super) fn parameters<M: Module>(model: &M) -> BTreeMap<String, (ParamId, Values)> {
    let mut parameters = Parameters::default();
    model.visit(&mut parameters);
    parameters.found
}

/// Collects parameters by name.
#[derive(Default)]
struct Parameters {
    path: Name,
    found: BTreeMap<String, (ParamId, Values)>,
}

impl ModuleVisitor for Parameters {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let value = param.val();
        let values = Values { shape: value.dims().to_vec(), values: host(value) };
        self.found.insert(self.path.get(), (param.id, values));
    }
}

/// Sets parameters by name: takes those that it sets out of `tensors`, under `prefix`.
pub(super) struct Fill<'a> {
    path: Name,
    prefix: &'static str,
    tensors: &'a mut BTreeMap<String, Values>,
    /// Identity and number of values of those set.
    pub(super) ids: BTreeMap<String, (ParamId, usize)>,
    /// The first that was not there, or was there in another shape.
    pub(super) missing: Option<String>,
}

impl<'a> Fill<'a> {
    pub(super) fn new(prefix: &'static str, tensors: &'a mut BTreeMap<String, Values>) -> Self {
        Self { path: Name::default(), prefix, tensors, ids: BTreeMap::new(), missing: None }
    }
}

impl ModuleMapper for Fill<'_> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let name = self.path.get();
        let (key, shape) = (format!("{}{name}", self.prefix), param.dims());
        if self.tensors.get(&key).is_none_or(|t| t.shape != shape) {
            let found = self.tensors.get(&key).map_or("is missing".into(), |t| format!("has the shape {:?}", t.shape));
            self.missing.get_or_insert(format!("{key} {found}; expected {shape:?}"));
            return param;
        }
        let found = self.tensors.remove(&key).expect("it was looked at just now");
        self.ids.insert(name, (param.id, found.values.len()));
        param.map(|old| Tensor::from_data(TensorData::new(found.values, shape), &old.device()))
    }
}

/// The values of a tensor of f32.
pub(super) fn host<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_to_vec().expect("parameters, moments and averages are f32")
}
