//! Rotary frequencies, computed step by step as the reference library does, in f32.
//!
//! At position 8,000 a frequency that differs in its last bit turns a channel by half a thousandth of a radian, so the
//! order of these operations is part of a model. The one operation that libraries round differently is the power: here
//! it is taken in f64 and rounded once.

use super::config::{Config, ConfigError};
use kinglet::spec::RotaryScaling;

const DEFAULT_THETA: f64 = 10_000.0;

/// How a model's frequencies are made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rotary {
    pub(super) theta: f64,
    scaling: Scaling,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Scaling {
    None,
    Linear { factor: f64 },
    Llama3 { factor: f64, low: f64, high: f64, context: f64 },
}

impl Rotary {
    /// Reads `rope_theta` and `rope_scaling`, or the newer `rope_parameters`, which holds both.
    pub(super) fn read(config: &Config) -> Result<Self, ConfigError> {
        let outer_theta = config.number("rope_theta")?;
        let old = config.object("rope_scaling")?.map(|c| Self::from_object(&c, outer_theta)).transpose()?;
        let new = config.object("rope_parameters")?.map(|c| Self::from_object(&c, outer_theta)).transpose()?;
        match (old, new) {
            (Some(old), Some(new)) if old != new => Err(ConfigError::Contradiction {
                key: "rope_parameters".into(),
                got: format!("{new:?}"),
                other: "rope_scaling".into(),
                expected: format!("{old:?}"),
            }),
            (old, new) => Ok(new.or(old).unwrap_or(Self { theta: outer_theta.unwrap_or(DEFAULT_THETA), scaling: Scaling::None })),
        }
    }

    fn from_object(object: &Config, outer_theta: Option<f64>) -> Result<Self, ConfigError> {
        let theta = object.number("rope_theta")?;
        if let (Some(inner), Some(outer)) = (theta, outer_theta)
            && inner != outer
        {
            return Err(ConfigError::Contradiction {
                key: object.named("rope_theta"),
                got: inner.to_string(),
                other: "rope_theta".into(),
                expected: outer.to_string(),
            });
        }
        let old_name = object.text("type")?;
        let name = object.text("rope_type")?.or(old_name);
        let scaling = match name.as_deref() {
            // Factors beside the type "default" have no effect in the reference library.
            None | Some("default") => {
                for key in ["factor", "original_max_position_embeddings"] {
                    object.number(key)?;
                }
                Scaling::None
            }
            Some("linear") => {
                object.number("original_max_position_embeddings")?;
                Scaling::Linear { factor: object.need_number("factor")? }
            }
            Some("llama3") => {
                let scaling = Scaling::Llama3 {
                    factor: object.need_number("factor")?,
                    low: object.need_number("low_freq_factor")?,
                    high: object.need_number("high_freq_factor")?,
                    context: object.need_number("original_max_position_embeddings")?,
                };
                if let Scaling::Llama3 { low, high, .. } = scaling
                    && high <= low
                {
                    return Err(ConfigError::Value {
                        key: object.named("high_freq_factor"),
                        expected: format!("more than low_freq_factor, {low}"),
                        got: high.to_string(),
                    });
                }
                scaling
            }
            Some(got) => {
                let supported = "default, linear, llama3".into();
                return Err(ConfigError::Unsupported { key: object.named("rope_type"), got: got.into(), supported });
            }
        };
        object.refuse_unread("the keys of its rope_type")?;
        Ok(Self { theta: theta.or(outer_theta).unwrap_or(DEFAULT_THETA), scaling })
    }

    pub(super) fn kind(&self) -> RotaryScaling {
        match self.scaling {
            Scaling::None => RotaryScaling::None,
            Scaling::Linear { .. } => RotaryScaling::Linear,
            Scaling::Llama3 { .. } => RotaryScaling::Llama3,
        }
    }

    /// Radians per position of the `dim / 2` pairs of channels.
    pub(super) fn frequencies(&self, dim: u32) -> Vec<f32> {
        (0..dim / 2).map(|i| self.scale(self.base(2 * i, dim))).collect()
    }

    /// `1 / theta^(i / dim)`.
    fn base(&self, i: u32, dim: u32) -> f32 {
        let exponent = i as f32 / dim as f32;
        let power = f64::from(self.theta as f32).powf(f64::from(exponent)) as f32;
        1.0 / power
    }

    fn scale(&self, frequency: f32) -> f32 {
        match self.scaling {
            Scaling::None => frequency,
            Scaling::Linear { factor } => frequency / factor as f32,
            Scaling::Llama3 { factor, low, high, context } => {
                let (low_wavelength, high_wavelength) = ((context / low) as f32, (context / high) as f32);
                let wavelength = (1.0 / frequency) * (2.0 * std::f64::consts::PI) as f32;
                if wavelength > low_wavelength {
                    frequency / factor as f32
                } else if wavelength < high_wavelength {
                    frequency
                } else {
                    let smooth = ((1.0 / wavelength) * context as f32 - low as f32) / (high - low) as f32;
                    (1.0 - smooth) * frequency / factor as f32 + smooth * frequency
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_scaling_frequencies_are_powers_of_theta() {
        let rotary = Rotary { theta: 10_000.0, scaling: Scaling::None };
        assert_eq!(rotary.frequencies(8), [1.0, 0.1, 0.01, 0.001]);
    }

    #[test]
    fn llama3_keeps_high_frequencies_and_divides_low_ones() {
        let scaling = Scaling::Llama3 { factor: 8.0, low: 1.0, high: 4.0, context: 64.0 };
        let (plain, scaled) = (Rotary { theta: 1e4, scaling: Scaling::None }, Rotary { theta: 1e4, scaling });
        let pairs: Vec<_> = plain.frequencies(16).into_iter().zip(scaled.frequencies(16)).collect();
        // Wavelengths 6, 20, 63, 199, ...: below 16 kept, above 64 divided by 8, between them in between.
        assert_eq!(pairs[0].0, pairs[0].1);
        for (plain, scaled) in &pairs[1..3] {
            assert!(*scaled < *plain && *scaled > plain / 8.0, "{plain} {scaled}");
        }
        for (plain, scaled) in &pairs[3..] {
            assert_eq!(plain / 8.0, *scaled);
        }
    }
}
