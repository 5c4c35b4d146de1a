//! AMX: products of tiles of 16 rows x 64 bytes, beside AVX-512 for all else. A tile of a product is two by two of
//! them.
//!
//! Their intrinsics are unstable, so they are assembly. Between the pieces of it sums stay in tile registers, which the
//! compiler does not use. The design of the tile follows Intel's optimization manual (248966, chapter on AMX).

mod digits;
mod pending;

use std::arch::asm;
use std::arch::x86_64::*;

use super::avx512::{Avx512, Bf16};
use crate::operand::FloatProduct;
use crate::output::{Columns, Output};
use crate::product::Product;
use crate::simd::Simd;
use crate::slot::Slot;
use crate::tile::Tile;
pub(crate) use digits::TileDigits;
use pending::{Pending, Sums, TileProduct};

/// Rows of a tile register, and lines of a panel in one.
const ROWS: usize = 16;

/// Slots in a line of a tile register.
const LINE: usize = 16;

/// Proof that the CPU has AMX with products of bytes and of bfloat16, and that the system lets this process use it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Amx(());

impl Amx {
    pub(crate) fn detect() -> Option<Self> {
        // Bits of leaf 7: bfloat16, tiles, bytes; of the register of enabled features: configuration and data of tiles.
        const CPU: u32 = 1 << 22 | 1 << 24 | 1 << 25;
        const ENABLED: u64 = 1 << 17 | 1 << 18;
        if !is_x86_feature_detected!("xsave") || __cpuid_count(7, 0).edx & CPU != CPU {
            return None;
        }
        #[target_feature(enable = "xsave")]
        fn enabled() -> u64 {
            // SAFETY: register 0 is there wherever the system has enabled XSAVE.
            unsafe { _xgetbv(0) }
        }
        // SAFETY: the line above has seen XSAVE enabled.
        let enabled = unsafe { enabled() };
        (enabled & ENABLED == ENABLED && is_permitted()).then_some(Self(()))
    }

    /// Runs `f` with all eight tile registers 16 rows x 64 bytes.
    #[inline(always)]
    pub(crate) fn with_tiles<R>(self, f: impl FnOnce(Tiles) -> R) -> R {
        #[repr(C, align(64))]
        struct Config {
            palette: u8,
            start_row: u8,
            reserved: [u8; 14],
            line_bytes: [u16; 16],
            rows: [u8; 16],
        }
        // Of sixteen registers that a configuration has room for, the CPU has eight.
        static CONFIG: Config = Config {
            palette: 1,
            start_row: 0,
            reserved: [0; 14],
            line_bytes: [64, 64, 64, 64, 64, 64, 64, 64, 0, 0, 0, 0, 0, 0, 0, 0],
            rows: [16, 16, 16, 16, 16, 16, 16, 16, 0, 0, 0, 0, 0, 0, 0, 0],
        };
        struct Release;
        impl Drop for Release {
            fn drop(&mut self) {
                // SAFETY: AMX is there, or nothing would have been configured.
                unsafe { asm!("tilerelease", options(nomem, nostack, preserves_flags)) }
            }
        }
        // SAFETY: `self` proves AMX; the configuration is 64 bytes of the only palette there is.
        unsafe {
            asm!("ldtilecfg [{}]", in(reg) &raw const CONFIG, options(readonly, nostack, preserves_flags))
        };
        let _release = Release;
        f(Tiles(()))
    }
}

/// Asks the system for the state of tiles, which it does not save unless asked.
#[cfg(target_os = "linux")]
fn is_permitted() -> bool {
    const REQUEST_PERMISSION: libc::c_ulong = 0x1023;
    const TILE_DATA: libc::c_ulong = 18;
    // SAFETY: the call takes two numbers and changes what this process may use, nothing that it has.
    unsafe { libc::syscall(libc::SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0 }
}

#[cfg(not(target_os = "linux"))]
fn is_permitted() -> bool {
    false
}

/// Proof that tile registers are configured. Whoever is given one by [`Amx::with_tiles`] neither lets it outlive the
/// call nor makes another within.
#[derive(Clone, Copy)]
pub(crate) struct Tiles(());

/// Products of bytes.
#[derive(Clone, Copy)]
pub(crate) struct TileBytes(pub(crate) Tiles, pub(crate) Bf16);

/// Products of pairs of bfloat16, whose slots are those of the vectors' products.
#[derive(Clone, Copy)]
pub(crate) struct TilePairs(pub(crate) Tiles, pub(crate) Bf16);

/// What a line of operands holds, for the assembly.
const BYTES: u8 = 0;
const PAIRS: u8 = 1;

/// Bytes from one row of sums to the next.
const SUM_STRIDE: usize = Sums::STRIDE * size_of::<Slot>();

impl Tiles {
    #[inline(always)]
    fn zero(self) {
        // SAFETY: `self` proves that the registers are configured.
        unsafe {
            asm!(
                "tilezero tmm0", "tilezero tmm1", "tilezero tmm2", "tilezero tmm3",
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                options(nomem, nostack, preserves_flags)
            );
        }
    }

    /// Adds the products of a step of `R` tiles of rows and of two of columns. Rows are loaded with the hint that they
    /// need not stay in L1: all rows of a block pass by the same panels, which should.
    ///
    /// # Safety
    /// Valid for reading: the lines of a step of each of 16 R rows of `lhs`, which are `stride` bytes apart; 16 times
    /// as many of each panel.
    #[inline(always)]
    unsafe fn multiply<const KIND: u8, const R: usize>(
        self,
        lhs: *const Slot,
        stride: usize,
        panels: [*const Slot; 2],
    ) {
        const { assert!(R == 1 || R == 2) };
        // SAFETY: `self` proves that the registers are configured; the contract names what is read.
        unsafe {
            asm!(
                ".macro product sum, lhs, rhs",
                ".if {kind} == 0",
                "tdpbusd \\sum, \\lhs, \\rhs",
                ".else",
                "tdpbf16ps \\sum, \\lhs, \\rhs",
                ".endif",
                ".endm",
                "tileloaddt1 tmm4, [{lhs} + {stride}*1]",
                "tileloadd tmm6, [{first} + {line}*1]",
                "product tmm0, tmm4, tmm6",
                "tileloadd tmm7, [{second} + {line}*1]",
                "product tmm1, tmm4, tmm7",
                ".if {rows} == 2",
                "tileloaddt1 tmm5, [{below} + {stride}*1]",
                "product tmm2, tmm5, tmm6",
                "product tmm3, tmm5, tmm7",
                ".endif",
                ".purgem product",
                kind = const KIND,
                rows = const R,
                lhs = in(reg) lhs,
                below = in(reg) lhs.wrapping_byte_add(ROWS * stride),
                first = in(reg) panels[0],
                second = in(reg) panels[1],
                stride = in(reg) stride,
                line = in(reg) LINE * size_of::<Slot>(),
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(readonly, nostack, preserves_flags)
            );
        }
    }

    /// Writes the sums of `R` tiles of rows and `C` of columns, `stride` bytes from row to row.
    ///
    /// # Safety
    /// They can be written.
    #[inline(always)]
    unsafe fn store<const R: usize, const C: usize>(self, to: *mut Slot, stride: usize) {
        // SAFETY: `self` proves that the registers are configured; the contract names what is written.
        unsafe {
            asm!(
                "tilestored [{to} + {stride}*1], tmm0",
                ".if {columns} == 2",
                "tilestored [{to} + {stride}*1 + 64], tmm1",
                ".endif",
                ".if {rows} == 2",
                "tilestored [{below} + {stride}*1], tmm2",
                ".if {columns} == 2",
                "tilestored [{below} + {stride}*1 + 64], tmm3",
                ".endif",
                ".endif",
                rows = const R,
                columns = const C,
                to = in(reg) to,
                below = in(reg) to.wrapping_byte_add(ROWS * stride),
                stride = in(reg) stride,
                options(nostack, preserves_flags)
            );
        }
    }

    /// The products of a whole tile, while what is pending is finished.
    ///
    /// # Safety
    /// As [`Product::tile`] says, with 1 to 16 R rows.
    #[inline(always)]
    unsafe fn sum<P: TileProduct, const KIND: u8, const R: usize>(
        self,
        product: P,
        simd: Avx512,
        panels: usize,
        t: &Tile,
        pending: &mut Pending,
    ) {
        // One panel is multiplied twice, for the sake of few kinds of tiles.
        let mut panels = [t.rhs, t.rhs.wrapping_add(if panels == 2 { t.output.panel_stride } else { 0 })];
        let stride = t.lhs_stride * size_of::<Slot>();
        let (mut lhs, mut ahead) = (t.lhs, t.ahead);
        let (steps, rest) = (t.k / LINE, t.k % LINE);
        self.zero();
        // SAFETY: the contract of a tile; of the lines of a panel, `rest` are read one by one.
        unsafe {
            pending.beside::<P, 2>(product, simd, steps, || {
                ahead.ask(simd, LINE);
                self.multiply::<KIND, R>(lhs, stride, panels);
                lhs = lhs.wrapping_add(LINE);
                panels = panels.map(|panel| panel.wrapping_add(ROWS * LINE));
            });
            if rest > 0 {
                #[repr(C, align(64))]
                struct Lines([[[Slot; LINE]; ROWS]; 2]);
                let mut filled = Lines([[[Slot::ZERO; LINE]; ROWS]; 2]);
                for (panel, filled) in panels.into_iter().zip(&mut filled.0) {
                    filled[..rest]
                        .copy_from_slice(std::slice::from_raw_parts(panel.cast::<[Slot; LINE]>(), rest));
                }
                self.multiply::<KIND, R>(lhs, stride, filled.0.each_ref().map(|lines| lines.as_ptr().cast()));
            }
        }
    }

    #[inline(always)]
    fn in_registers<const KIND: u8>(self, rounds: usize, operations: u64) -> (u64, f32) {
        // Of zeros a core makes a quarter more products in a second: it slows down for what draws more power.
        #[repr(C, align(64))]
        struct Operands([u32; 4 * ROWS * LINE]);
        let mut bits = 1u32;
        let operands = Operands(std::array::from_fn(|_| {
            // Numerical Recipes' generator, whose high bits are the better ones.
            bits = bits.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let bytes = bits ^ bits >> 16;
            // Pairs of bfloat16 are in 1..2 and -2..-1.
            if KIND == BYTES { bytes } else { bytes & 0x807f_807f | 0x3f80_3f80 }
        }));
        // SAFETY: `self` proves that the registers are configured; four of them are loaded from as many times 16 lines.
        unsafe {
            asm!(
                "tileloadd tmm4, [{from} + {line}*1]",
                "tileloadd tmm5, [{from} + {line}*1 + 1024]",
                "tileloadd tmm6, [{from} + {line}*1 + 2048]",
                "tileloadd tmm7, [{from} + {line}*1 + 3072]",
                from = in(reg) operands.0.as_ptr(),
                line = in(reg) LINE * size_of::<Slot>(),
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(readonly, nostack, preserves_flags)
            );
        }
        self.zero();
        for _ in 0..rounds {
            // SAFETY: `self` proves that the registers are configured.
            unsafe {
                asm!(
                    ".if {kind} == 0",
                    "tdpbusd tmm0, tmm4, tmm6", "tdpbusd tmm1, tmm4, tmm7",
                    "tdpbusd tmm2, tmm5, tmm6", "tdpbusd tmm3, tmm5, tmm7",
                    ".else",
                    "tdpbf16ps tmm0, tmm4, tmm6", "tdpbf16ps tmm1, tmm4, tmm7",
                    "tdpbf16ps tmm2, tmm5, tmm6", "tdpbf16ps tmm3, tmm5, tmm7",
                    ".endif",
                    kind = const KIND,
                    out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                    options(nomem, nostack, preserves_flags)
                );
            }
        }
        let mut sums = [0.0; 2 * ROWS * Sums::STRIDE];
        // SAFETY: there is room for four tiles.
        unsafe { self.store::<2, 2>(sums.as_mut_ptr().cast(), SUM_STRIDE) };
        ((rounds * 4 * ROWS * ROWS * LINE) as u64 * operations, sums.iter().sum())
    }

    /// A tile of a product.
    ///
    /// # Safety
    /// As [`Product::tile`] says.
    #[inline(always)]
    unsafe fn tile<P: TileProduct, const KIND: u8>(
        self,
        product: P,
        simd: Avx512,
        rows: usize,
        panels: usize,
        t: Tile,
        pending: &mut Pending,
    ) {
        let (output, dst_stride) = (t.output, t.output.dst_stride * size_of::<Slot>());
        // SAFETY: the contract; sums have room for four registers, and those of which values are made have been stored.
        unsafe {
            if rows > ROWS {
                self.sum::<P, KIND, 2>(product, simd, panels, &t, pending);
            } else {
                self.sum::<P, KIND, 1>(product, simd, panels, &t, pending);
            }
            match (output.is_plain() && !P::BYTES, rows, panels) {
                (true, 32, 2) => return self.store::<2, 2>(output.dst, dst_stride),
                (true, 32, 1) => return self.store::<2, 1>(output.dst, dst_stride),
                (true, 16, 2) => return self.store::<1, 2>(output.dst, dst_stride),
                _ => self.store::<2, 2>(pending.sums.as_mut_ptr(), SUM_STRIDE),
            }
            pending.begin(product, simd, output, rows, panels);
        }
    }
}

#[inline(always)]
fn add_i32(_: Avx512, a: __m512, b: __m512) -> __m512 {
    // SAFETY: an `Avx512` proves AVX-512F.
    unsafe { _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(a), _mm512_castps_si512(b))) }
}

impl Product<Avx512> for TileBytes {
    const BYTES: bool = true;
    const ROUNDED: bool = true;
    const MR: usize = 2 * ROWS;
    const LHS_UNIT: usize = ROWS;
    const ACTIVATES: bool = true;
    const STORES_PAIRS: bool = true;
    type Pending = Pending;
    #[inline(always)]
    unsafe fn tile(self, simd: Avx512, rows: usize, panels: usize, t: Tile, pending: &mut Pending) {
        // SAFETY: the caller meets the same contract.
        unsafe { self.0.tile::<Self, BYTES>(self, simd, rows, panels, t, pending) }
    }
    #[inline(always)]
    fn complete(self, simd: Avx512, pending: &mut Pending) {
        pending.complete::<Self, 2>(self, simd);
    }
    #[inline(always)]
    fn in_registers(self, _: Avx512, rounds: usize) -> (u64, f32) {
        self.0.in_registers::<BYTES>(rounds, 8)
    }
}

impl Product<Avx512> for TilePairs {
    const BYTES: bool = false;
    const ROUNDED: bool = true;
    const MR: usize = 2 * ROWS;
    const LHS_UNIT: usize = ROWS;
    const ACTIVATES: bool = true;
    const STORES_PAIRS: bool = true;
    type Pending = Pending;
    #[inline(always)]
    unsafe fn tile(self, simd: Avx512, rows: usize, panels: usize, t: Tile, pending: &mut Pending) {
        // SAFETY: the caller meets the same contract.
        unsafe { self.0.tile::<Self, PAIRS>(self, simd, rows, panels, t, pending) }
    }
    #[inline(always)]
    fn complete(self, simd: Avx512, pending: &mut Pending) {
        pending.complete::<Self, 2>(self, simd);
    }
    #[inline(always)]
    fn in_registers(self, _: Avx512, rounds: usize) -> (u64, f32) {
        self.0.in_registers::<PAIRS>(rounds, 4)
    }
}

impl TileProduct for TileBytes {
    #[inline(always)]
    unsafe fn sum(
        simd: Avx512,
        output: &Output,
        columns: Columns<Avx512>,
        row: usize,
        sums: *const Slot,
    ) -> __m512 {
        // SAFETY: the caller meets the same contract.
        unsafe {
            let start = output.start_of_bytes(simd, columns, row);
            simd.convert_i32(add_i32(simd, simd.load_slots_raw(sums), start))
        }
    }
    #[inline(always)]
    fn pairs(self, simd: Avx512, values: [__m512; 2]) -> __m512 {
        self.1.along(simd, values)
    }
}

impl TileProduct for TilePairs {
    #[inline(always)]
    unsafe fn sum(simd: Avx512, _: &Output, _: Columns<Avx512>, _: usize, sums: *const Slot) -> __m512 {
        // SAFETY: the caller meets the same contract.
        unsafe { simd.load_slots_raw(sums) }
    }
    #[inline(always)]
    fn pairs(self, simd: Avx512, values: [__m512; 2]) -> __m512 {
        self.1.along(simd, values)
    }
}

impl FloatProduct<Avx512> for TilePairs {
    const SLOT_VALUES: usize = Bf16::SLOT_VALUES;
    #[inline(always)]
    fn along(self, simd: Avx512, values: [__m512; 2]) -> __m512 {
        self.1.along(simd, values)
    }
    #[inline(always)]
    fn across(self, simd: Avx512, rows: [__m512; 2]) -> [__m512; 2] {
        self.1.across(simd, rows)
    }
}
