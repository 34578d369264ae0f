//! The bytes of a spec, as `docs/format.md` specifies them. One walk over the fields serves reading and writing.

use super::{
    Activation, AttnPositions, BlockSpec, Ffn, Head, MAX_KINDS, MAX_LAYERS, MAX_STACKS, Mask, Norm, NormPlace, Positions, RotaryScaling,
    Spec, SpecError, Stack, StackKind, range,
};

const VERSION: u16 = 1;
const HEAD_BYTES: usize = 64;
const STACK_BYTES: usize = 16;
const BLOCK_BYTES: usize = 96;
/// Layer tables are padded with zeros to a multiple of this.
const PAD: usize = 8;

/// Reads a record, or writes it: each call passes one field.
trait Fields {
    fn u8(&mut self, value: &mut u8) -> Result<(), SpecError>;

    fn bytes<const N: usize>(&mut self, value: &mut [u8; N]) -> Result<(), SpecError> {
        value.iter_mut().try_for_each(|b| self.u8(b))
    }

    fn u16(&mut self, value: &mut u16) -> Result<(), SpecError> {
        let mut b = value.to_le_bytes();
        self.bytes(&mut b)?;
        *value = u16::from_le_bytes(b);
        Ok(())
    }

    fn u32(&mut self, value: &mut u32) -> Result<(), SpecError> {
        let mut b = value.to_le_bytes();
        self.bytes(&mut b)?;
        *value = u32::from_le_bytes(b);
        Ok(())
    }

    fn f32(&mut self, value: &mut f32) -> Result<(), SpecError> {
        let mut bits = value.to_bits();
        self.u32(&mut bits)?;
        *value = f32::from_bits(bits);
        Ok(())
    }

    fn flag(&mut self, field: &'static str, value: &mut bool) -> Result<(), SpecError> {
        let mut b = u8::from(*value);
        self.u8(&mut b)?;
        *value = match b {
            0 => false,
            1 => true,
            value => return Err(SpecError::Unknown { field, value }),
        };
        Ok(())
    }

    fn pick<E: Copy>(&mut self, field: &'static str, value: &mut E, to: fn(E) -> u8, from: fn(u8) -> Option<E>) -> Result<(), SpecError> {
        let mut b = to(*value);
        self.u8(&mut b)?;
        *value = from(b).ok_or(SpecError::Unknown { field, value: b })?;
        Ok(())
    }

    /// Zeros up to `end`, an offset in the section.
    fn reserved(&mut self, end: usize) -> Result<(), SpecError>;
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Fields for Reader<'_> {
    fn u8(&mut self, value: &mut u8) -> Result<(), SpecError> {
        *value = *self.bytes.get(self.at).ok_or(SpecError::Length { expected: self.at + 1, got: self.bytes.len() })?;
        self.at += 1;
        Ok(())
    }

    fn reserved(&mut self, end: usize) -> Result<(), SpecError> {
        while self.at < end {
            let (at, mut b) = (self.at, 0);
            self.u8(&mut b)?;
            if b != 0 {
                return Err(SpecError::Reserved { at });
            }
        }
        Ok(())
    }
}

struct Writer<'a> {
    bytes: &'a mut [u8],
    at: usize,
}

impl Fields for Writer<'_> {
    fn u8(&mut self, value: &mut u8) -> Result<(), SpecError> {
        let got = self.bytes.len();
        *self.bytes.get_mut(self.at).ok_or(SpecError::Length { expected: self.at + 1, got })? = *value;
        self.at += 1;
        Ok(())
    }

    fn reserved(&mut self, end: usize) -> Result<(), SpecError> {
        (self.at..end).try_for_each(|_| self.u8(&mut 0))
    }
}

fn head_fields(f: &mut impl Fields, start: usize, spec: &mut Spec<'_>, n_stacks: &mut u8) -> Result<(), SpecError> {
    let mut version = VERSION;
    f.u16(&mut version)?;
    if version != VERSION {
        return Err(SpecError::Version { got: version });
    }
    f.u8(n_stacks)?;
    f.pick("head", &mut spec.head, |e| e as u8, Head::from_u8)?;
    f.u32(&mut spec.vocab)?;
    f.u32(&mut spec.hidden)?;
    f.u32(&mut spec.context)?;
    f.pick("positions", &mut spec.positions, |e| e as u8, Positions::from_u8)?;
    f.u8(&mut spec.token_types)?;
    f.pick("final_norm", &mut spec.final_norm, |e| e as u8, Norm::from_u8)?;
    f.flag("head_bias", &mut spec.head_bias)?;
    f.f32(&mut spec.final_norm_eps)?;
    f.f32(&mut spec.embed_scale)?;
    f.f32(&mut spec.head_scale)?;
    f.f32(&mut spec.head_soft_cap)?;
    f.reserved(start + HEAD_BYTES)
}

fn stack_fields(f: &mut impl Fields, start: usize, kind: &mut StackKind, n_kinds: &mut u8, n_layers: &mut u16) -> Result<(), SpecError> {
    f.pick("stack kind", kind, |e| e as u8, StackKind::from_u8)?;
    f.u8(n_kinds)?;
    f.u16(n_layers)?;
    f.reserved(start + STACK_BYTES)
}

fn block_fields(f: &mut impl Fields, start: usize, block: &mut BlockSpec) -> Result<(), SpecError> {
    f.pick("norm", &mut block.norm, |e| e as u8, Norm::from_u8)?;
    f.pick("norm_place", &mut block.norm_place, |e| e as u8, NormPlace::from_u8)?;
    f.flag("qkv_bias", &mut block.qkv_bias)?;
    f.flag("out_bias", &mut block.out_bias)?;
    f.flag("qk_norm", &mut block.qk_norm)?;
    f.pick("attention positions", &mut block.positions, |e| e as u8, AttnPositions::from_u8)?;
    f.pick("rotary_scaling", &mut block.rotary_scaling, |e| e as u8, RotaryScaling::from_u8)?;
    f.pick("mask", &mut block.mask, |e| e as u8, Mask::from_u8)?;
    f.pick("ffn", &mut block.ffn, |e| e as u8, Ffn::from_u8)?;
    f.pick("activation", &mut block.activation, |e| e as u8, Activation::from_u8)?;
    f.flag("ffn_bias", &mut block.ffn_bias)?;
    f.reserved(start + 12)?;
    f.f32(&mut block.norm_eps)?;
    f.u32(&mut block.heads)?;
    f.u32(&mut block.kv_heads)?;
    f.u32(&mut block.head_dim)?;
    f.u32(&mut block.rotary_dim)?;
    f.f32(&mut block.rotary_theta)?;
    f.f32(&mut block.rotary_magnitude)?;
    f.u32(&mut block.window)?;
    f.f32(&mut block.attn_scale)?;
    f.f32(&mut block.attn_soft_cap)?;
    f.u32(&mut block.ffn_dim)?;
    f.u32(&mut block.experts)?;
    f.u32(&mut block.experts_used)?;
    f.f32(&mut block.residual_scale)?;
    f.reserved(start + BLOCK_BYTES)
}

impl<'m> Spec<'m> {
    /// Reads and checks a spec.
    ///
    /// # Errors
    /// The first byte, field or rule that is not right.
    pub fn parse(bytes: &'m [u8]) -> Result<Self, SpecError> {
        let mut r = Reader { bytes, at: 0 };
        let placeholder = Stack { kind: StackKind::Decoder, kinds: [BlockSpec::default(); MAX_KINDS], n_kinds: 1, layers: &[] };
        let mut spec = Spec::with_stack(placeholder);
        let mut n_stacks = 0;
        head_fields(&mut r, 0, &mut spec, &mut n_stacks)?;
        range("stacks", n_stacks.into(), 1, MAX_STACKS as u64)?;
        for index in 0..n_stacks {
            let (mut kind, mut n_kinds, mut n_layers) = (StackKind::Decoder, 0, 0);
            let start = r.at;
            stack_fields(&mut r, start, &mut kind, &mut n_kinds, &mut n_layers)?;
            range("block kinds", n_kinds.into(), 1, MAX_KINDS as u64)?;
            range("layers", n_layers.into(), 1, MAX_LAYERS as u64)?;
            let mut kinds = [BlockSpec::default(); MAX_KINDS];
            for block in &mut kinds[..n_kinds.into()] {
                let start = r.at;
                block_fields(&mut r, start, block)?;
            }
            let layers_end = r.at + usize::from(n_layers);
            let layers = bytes.get(r.at..layers_end).ok_or(SpecError::Length { expected: layers_end, got: bytes.len() })?;
            r.at = layers_end;
            r.reserved(layers_end.next_multiple_of(PAD))?;
            let stack = Stack::new(kind, &kinds[..n_kinds.into()], layers)?;
            if index == 0 { spec.first = stack } else { spec.second = Some(stack) }
        }
        if r.at != bytes.len() {
            return Err(SpecError::Length { expected: r.at, got: bytes.len() });
        }
        spec.check()?;
        Ok(spec)
    }

    /// Writes the spec to the front of `out`; returns its length in bytes.
    ///
    /// # Errors
    /// If the spec breaks a rule ([`Spec::check`]) or `out` is too short.
    pub fn encode(&self, out: &mut [u8]) -> Result<usize, SpecError> {
        self.check()?;
        let mut w = Writer { bytes: out, at: 0 };
        let mut n_stacks = self.stacks().count() as u8;
        head_fields(&mut w, 0, &mut self.clone(), &mut n_stacks)?;
        for stack in self.stacks() {
            let start = w.at;
            stack_fields(&mut w, start, &mut stack.kind.clone(), &mut (stack.n_kinds as u8), &mut (stack.len() as u16))?;
            for block in stack.kinds() {
                let start = w.at;
                block_fields(&mut w, start, &mut block.clone())?;
            }
            stack.layers.iter().try_for_each(|&kind| w.u8(&mut kind.clone()))?;
            let end = w.at.next_multiple_of(PAD);
            w.reserved(end)?;
        }
        Ok(w.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spec_comes_back_and_a_cut_one_does_not() {
        let kinds = [BlockSpec::default(), BlockSpec { window: 16, ..BlockSpec::default() }];
        let spec = Spec { vocab: 10, hidden: 64, context: 32, ..Spec::decoder(&kinds, &[0, 1, 1]) };
        let mut bytes = [0xff; 512];
        let len = spec.encode(&mut bytes).unwrap();
        assert_eq!(Spec::parse(&bytes[..len]), Ok(spec));
        for end in (0..len).step_by(if cfg!(miri) { 31 } else { 1 }) {
            assert!(Spec::parse(&bytes[..end]).is_err(), "{end} of {len} bytes");
            assert!(spec.encode(&mut bytes[..end]).is_err(), "{end} of {len} bytes");
            bytes = [0xff; 512];
            spec.encode(&mut bytes).unwrap();
        }
    }
}
