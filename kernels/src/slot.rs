//! The unit of packed memory.

use half::bf16;

/// 32 bits of packed memory. They hold one f32, two bfloat16, four bytes, or the two 16-bit parts of a sum or of a zero
/// point: which of them follows from the [dtype](crate::PanelDtype) of panels, and of a left-hand side from the product
/// that it is made for. A slot is loaded into a lane of a vector as it is.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[repr(transparent)]
pub(crate) struct Slot(u32);

// SAFETY: it is a `u32` in all but name, for which zeros are valid.
unsafe impl bytemuck::Zeroable for Slot {}
// SAFETY: as above; every value is valid and there is no padding.
unsafe impl bytemuck::Pod for Slot {}

impl Slot {
    pub(crate) const ZERO: Self = Self(0);

    #[inline(always)]
    pub(crate) fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    #[inline(always)]
    pub(crate) fn bits(self) -> u32 {
        self.0
    }

    /// Two values rounded to bfloat16, the first in the low bits.
    #[inline(always)]
    pub(crate) fn pair(values: [f32; 2]) -> Self {
        let [first, second] = values.map(|x| u32::from(bf16::from_f32(x).to_bits()));
        Self(second << 16 | first)
    }

    /// Values of f32, one in each slot.
    #[inline(always)]
    pub(crate) fn of_floats(values: &[f32]) -> &[Self] {
        bytemuck::cast_slice(values)
    }

    /// Memory of f32, to write slots.
    #[inline(always)]
    pub(crate) fn of_floats_mut(values: &mut [f32]) -> &mut [Self] {
        bytemuck::cast_slice_mut(values)
    }

    /// The values of slots that hold one f32 each.
    #[inline(always)]
    pub(crate) fn floats(slots: &[Self]) -> &[f32] {
        bytemuck::cast_slice(slots)
    }

    /// The same to write: slots whatever they held before.
    #[inline(always)]
    pub(crate) fn floats_mut(slots: &mut [Self]) -> &mut [f32] {
        bytemuck::cast_slice_mut(slots)
    }
}
