//! What an engine runs on, as users say it.

use super::{Cpu, Engine};
use crate::decode::{Limits, SCALE_MARGIN};
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A device by name: `cpu`, `wgpu`, `wgpu:NAME` or `auto`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum DeviceName {
    /// The machine's cores.
    #[default]
    Cpu,
    /// A GPU through Vulkan, Metal or DX12: the best there is, or with a name that adapter ([`crate::gpu::adapters`]). Software
    /// adapters are taken by name only.
    Wgpu(Option<String>),
    /// A GPU where one can be used, else the machine's cores; and if the GPU fails at work, the cores go on.
    Auto,
}

impl std::str::FromStr for DeviceName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.split_once(':') {
            None if text == "cpu" => Ok(Self::Cpu),
            None if text == "auto" => Ok(Self::Auto),
            None if text == "wgpu" => Ok(Self::Wgpu(None)),
            Some(("wgpu", name)) if !name.is_empty() => Ok(Self::Wgpu(Some(name.to_owned()))),
            _ => Err(Error::config("device", format!("`{text}` is not known; use cpu, wgpu, wgpu:NAME or auto"))),
        }
    }
}

impl TryFrom<String> for DeviceName {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<DeviceName> for String {
    fn from(name: DeviceName) -> Self {
        name.to_string()
    }
}

impl std::fmt::Display for DeviceName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Wgpu(None) => f.write_str("wgpu"),
            Self::Wgpu(Some(name)) => write!(f, "wgpu:{name}"),
            Self::Auto => f.write_str("auto"),
        }
    }
}

/// An engine, and the one that goes on if it fails.
#[derive(Clone)]
pub struct Engines {
    /// What makes the batches.
    pub engine: Arc<dyn Engine>,
    /// What makes them after [`Error::Device`], where the user allowed it.
    pub fallback: Option<Arc<dyn Engine>>,
}

/// How an engine decodes.
#[derive(Debug, Clone, PartialEq)]
pub struct EngineOptions {
    /// Limits on what files may ask for.
    pub limits: Limits,
    /// See [`Cpu::scale_margin`].
    pub scale_margin: f64,
    /// See [`Cpu::strict`].
    pub strict: bool,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self { limits: Limits::default(), scale_margin: SCALE_MARGIN, strict: false }
    }
}

impl EngineOptions {
    fn cpu(&self) -> Cpu {
        Cpu::new(self.limits.clone()).scale_margin(self.scale_margin).strict(self.strict)
    }
}

impl DeviceName {
    /// The engine, with batches in host memory.
    ///
    /// # Errors
    /// [`Error::NoDevice`] if a GPU was asked for and none of that name can be used.
    pub fn open(&self, options: &EngineOptions) -> Result<Engines> {
        let cpu = || -> Arc<dyn Engine> { Arc::new(options.cpu()) };
        match self {
            Self::Cpu => Ok(Engines { engine: cpu(), fallback: None }),
            #[cfg(feature = "wgpu")]
            Self::Wgpu(name) => {
                let device = crate::gpu::Device::open(name.as_deref())?;
                Ok(Engines { engine: Arc::new(super::Wgpu::new(device, options)?), fallback: None })
            }
            #[cfg(not(feature = "wgpu"))]
            Self::Wgpu(_) => Err(Error::NoDevice {
                device: self.to_string(),
                reason: "this build has no wgpu engine; build it with `--features wgpu`".to_owned(),
            }),
            #[cfg(feature = "wgpu")]
            Self::Auto => match crate::gpu::Device::open(None).and_then(|device| super::Wgpu::new(device, options)) {
                Ok(engine) => Ok(Engines { engine: Arc::new(engine), fallback: Some(cpu()) }),
                Err(error @ Error::Device { .. }) => {
                    tracing::warn!("{error}; the cpu engine is taken");
                    Ok(Engines { engine: cpu(), fallback: None })
                }
                Err(error @ Error::NoDevice { .. }) => {
                    tracing::info!("device auto takes the cpu: {error}");
                    Ok(Engines { engine: cpu(), fallback: None })
                }
                Err(error) => Err(error),
            },
            #[cfg(not(feature = "wgpu"))]
            Self::Auto => Ok(Engines { engine: cpu(), fallback: None }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for text in ["cpu", "wgpu", "wgpu:llvmpipe", "wgpu:0", "auto"] {
            let name: DeviceName = text.parse().unwrap();
            assert_eq!(name.to_string(), text);
        }
        for text in ["", "gpu", "wgpu:", "cpu:0", "cuda"] {
            let error = text.parse::<DeviceName>().unwrap_err().to_string();
            assert!(error.contains("use cpu, wgpu, wgpu:NAME or auto"), "{error}");
        }
    }
}
