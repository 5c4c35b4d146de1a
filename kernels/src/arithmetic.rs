//! Which arithmetic serves which dtype on which instruction set: one table.

use crate::isa::Isa;
use crate::pack::PanelDtype;

/// How layers are computed whose products are to have the precision of a dtype.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Arithmetic {
    /// How weights are packed.
    pub panels: PanelDtype,
    /// What products multiply and how they sum it, in words.
    pub products: &'static str,
    /// What attention multiplies, in words. Beside pairs of bfloat16 its exponentials are rounded to such; their sums are
    /// f32 everywhere. Of a last layer that is computed for the first token alone, all of attention is f32.
    pub attention: &'static str,
    /// What a layer stores of queries, keys and values, and inside its feed-forward network, in words. What goes from
    /// layer to layer is f32 everywhere.
    pub between: &'static str,
    /// Whether it stores them as pairs of bfloat16.
    pub(crate) pairs_between: bool,
}

/// Values and sums of f32.
const F32: &str = "f32";
const PAIRS: &str = "bfloat16, summed in f32";

impl Isa {
    /// The line of the table for a dtype's precision:
    ///
    /// | | `portable`, `avx2`, `avx512`, `simd128` | `avx512_bf16` | `amx` |
    /// |---|---|---|---|
    /// | f32 | f32 multiply-adds | as before it | weights and rows in three digits of a byte, tiles of bytes |
    /// | bf16 | weights in bfloat16, widened to f32 multiply-adds | pairs of bfloat16 | tiles of bfloat16 |
    /// | int8 | bytes, summed in i32 | bytes, summed in i32 | tiles of bytes, summed in i32 |
    ///
    /// Attention of all tokens follows the last two columns' bfloat16 in bf16 and int8, and is f32 elsewhere; `amx` alone
    /// stores pairs of bfloat16 between its steps.
    pub fn arithmetic(self, dtype: PanelDtype) -> Arithmetic {
        let (tiles, pairs) = (self.has_tiles(), self.multiplies_pairs());
        let precision = dtype.precision();
        let rounded = precision != PanelDtype::F32;
        let (panels, products) = match precision {
            PanelDtype::F32 | PanelDtype::Digits if tiles => {
                (PanelDtype::Digits, "three digits of a byte a value, multiplied in tiles and summed in i32")
            }
            PanelDtype::F32 | PanelDtype::Digits => (PanelDtype::F32, F32),
            PanelDtype::Bf16 if tiles => (PanelDtype::Bf16, "bfloat16 in tiles, summed in f32"),
            PanelDtype::Bf16 if pairs => (PanelDtype::Bf16, PAIRS),
            PanelDtype::Bf16 => (PanelDtype::Bf16, "weights in bfloat16, widened; rows and sums in f32"),
            PanelDtype::Int8 if tiles => (PanelDtype::Int8, "bytes in tiles, summed in i32"),
            PanelDtype::Int8 => (PanelDtype::Int8, "bytes, summed in i32"),
        };
        let pairs_between = rounded && tiles;
        Arithmetic {
            panels,
            products,
            attention: if rounded && (tiles || pairs) { PAIRS } else { F32 },
            between: if pairs_between { "bfloat16" } else { F32 },
            pairs_between,
        }
    }

    /// How weights are packed whose products are to have the precision of `dtype`.
    pub fn panel_dtype(self, dtype: PanelDtype) -> PanelDtype {
        self.arithmetic(dtype).panels
    }

    /// Whether products of such weights can be stored as [pairs](crate::RowFormat::Bf16Pairs) of bfloat16, which halves
    /// what the step after them reads: see [`linear`](crate::linear()) and [`attention`](crate::attention()).
    pub fn stores_pairs(self, dtype: PanelDtype) -> bool {
        self.arithmetic(dtype).pairs_between
    }
}
