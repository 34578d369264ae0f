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

    /// Bits that the reference library computes (torch 1.12.1, CPU). Its power is not correctly rounded: one unit in
    /// the last place is allowed, once in a table.
    #[test]
    fn frequencies_are_those_of_the_reference_library() {
        let llama3 = Scaling::Llama3 { factor: 32.0, low: 1.0, high: 4.0, context: 8192.0 };
        let cases: [(Rotary, &[u32]); 3] = [
            (Rotary { theta: 100_000.0, scaling: Scaling::None }, &PLAIN),
            (Rotary { theta: 1_000_000.0, scaling: Scaling::None }, &WIDE),
            (Rotary { theta: 500_000.0, scaling: llama3 }, &LLAMA3),
        ];
        for (rotary, expected) in cases {
            let ours = rotary.frequencies(2 * expected.len() as u32);
            let distance: Vec<u32> = ours.iter().zip(expected).map(|(x, y)| x.to_bits().abs_diff(*y)).collect();
            assert!(distance.iter().all(|d| *d <= 1), "{rotary:?}: {distance:?}");
            assert!(distance.iter().filter(|d| **d != 0).count() <= 1, "{rotary:?}: {distance:?}");
        }
    }

    #[rustfmt::skip]
    const PLAIN: [u32; 32] = [
        0x3f800000, 0x3f32a506, 0x3ef953cf, 0x3eadfcff, 0x3e72d423, 0x3e297409, 0x3dec7fd6, 0x3da50956, 0x3d6655c2, 0x3d20bc1d,
        0x3ce054d2, 0x3c9c8b97, 0x3c5a7bf2, 0x3c187705, 0x3bd4ca15, 0x3b947dae, 0x3b4f3e38, 0x3b109edb, 0x3ac9d75c, 0x3a8cd9db,
        0x3a44948c, 0x3a092e02, 0x39bf74d7, 0x39859aa9, 0x393a7753, 0x39021f2b, 0x38b59b1b, 0x387d75d4, 0x3830df52, 0x37f6da96,
        0x37ac431d, 0x37706b6d,
    ];
    #[rustfmt::skip]
    const WIDE: [u32; 64] = [
        0x3f800000, 0x3f4e4bad, 0x3f263de0, 0x3f05f6ef, 0x3ed7e89b, 0x3eadfcff, 0x3e8c3504, 0x3e61f835, 0x3e361887, 0x3e12bd91,
        0x3dec7fd6, 0x3dbe94c6, 0x3d99940d, 0x3d778513, 0x3d47763f, 0x3d20bc1d, 0x3d0186e3, 0x3cd0c1a8, 0x3ca8398b, 0x3c879008,
        0x3c5a7bf2, 0x3c301052, 0x3c0de12d, 0x3be4aa46, 0x3bb8449c, 0x3b947dae, 0x3b6f520e, 0x3b40dac5, 0x3b1b690d, 0x3afa78f0,
        0x3ac9d75c, 0x3aa2a6f7, 0x3a83126f, 0x3a533f28, 0x3a2a3b44, 0x3a092e02, 0x39dd1725, 0x39b229fb, 0x398f9272, 0x39676492,
        0x393a7753, 0x39164324, 0x38f22ce2, 0x38c327b5, 0x389d43a4, 0x387d75d4, 0x384c3fbe, 0x382497ab, 0x3804a2b2, 0x37d5c441,
        0x37ac431d, 0x378ad0ed, 0x375fba4f, 0x37344a0e, 0x371148e3, 0x36ea2732, 0x36bcb0c1, 0x36980e02, 0x36751070, 0x36457bab,
        0x361f23e4, 0x36003dec, 0x35ceaf79, 0x35a68e4c,
    ];
    #[rustfmt::skip]
    const LLAMA3: [u32; 32] = [
        0x3f800000, 0x3f29e1c6, 0x3ee177bc, 0x3e959ee3, 0x3e4693b0, 0x3e03c6a0, 0x3daee4ad, 0x3d681e67, 0x3d1a08c8, 0x3ccc6f49,
        0x3c87a9c3, 0x3c340d6d, 0x3beef74f, 0x3b9e9402, 0x3b527720, 0x3aa9279b, 0x39e13620, 0x38cb98f7, 0x37a3418d, 0x3758ac81,
        0x370fc8f8, 0x36bed4f4, 0x367d45c3, 0x3628126b, 0x35df10c4, 0x359406cb, 0x35447610, 0x35025f34, 0x34ad07a7, 0x3465a54d,
        0x341864a7, 0x33ca41b0,
    ];
}
