//! AMX: products of tiles of 16 rows x 64 bytes, beside AVX-512 for all else. A tile of a product is two by two of them.
//!
//! Their intrinsics are unstable, so they are assembly. Between the pieces of it sums stay in tile registers, which the
//! compiler does not use. The design of the tile follows Intel's optimization manual (248966, chapter on AMX).

use std::arch::asm;
use std::arch::x86_64::{__cpuid_count, __m512, _mm512_add_epi32, _mm512_castps_si512, _mm512_castsi512_ps, _xgetbv};
use std::mem::MaybeUninit;

use super::avx512::Avx512;
use crate::PANEL;
use crate::matmul::{Product, Tile, finish, start_of_bytes};
use crate::operand::FloatProduct;
use crate::simd::Simd;

/// Rows of a tile register, and lines of a panel in one.
const ROWS: usize = 16;

/// Slots of f32 in a line of a tile register.
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
        const EIGHT: usize = 8;
        static CONFIG: Config = Config {
            palette: 1,
            start_row: 0,
            reserved: [0; 14],
            line_bytes: {
                let mut bytes = [0; 16];
                let mut i = 0;
                while i < EIGHT {
                    bytes[i] = 64;
                    i += 1;
                }
                bytes
            },
            rows: {
                let mut rows = [0; 16];
                let mut i = 0;
                while i < EIGHT {
                    rows[i] = ROWS as u8;
                    i += 1;
                }
                rows
            },
        };
        struct Release;
        impl Drop for Release {
            fn drop(&mut self) {
                // SAFETY: AMX is there, or nothing would have been configured.
                unsafe { asm!("tilerelease", options(nomem, nostack, preserves_flags)) }
            }
        }
        // SAFETY: `self` proves AMX; the configuration is 64 bytes of the only palette there is.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const CONFIG, options(readonly, nostack, preserves_flags)) };
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

/// Proof that tile registers are configured. It lives no longer than they are.
#[derive(Clone, Copy)]
pub(crate) struct Tiles(());

/// Products of bytes.
#[derive(Clone, Copy)]
pub(crate) struct TileBytes(pub(crate) Tiles);

/// Products of pairs of bfloat16.
#[derive(Clone, Copy)]
pub(crate) struct TilePairs<V>(pub(crate) Tiles, pub(crate) V);

/// What a line of operands holds, for the assembly.
const BYTES: u8 = 0;
const PAIRS: u8 = 1;

/// Sums of a tile: rows of both panels, side by side.
#[repr(C, align(64))]
struct Sums([MaybeUninit<f32>; 2 * ROWS * 2 * PANEL]);

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

    /// Adds the products of `steps` lines of `R` tiles of rows and of two of columns.
    ///
    /// # Safety
    /// Valid for reading: `steps` lines of each of 16 R rows of `lhs`, which are `stride` slots apart; 16 `steps` lines of
    /// each panel. `steps` is not 0.
    #[inline(always)]
    unsafe fn multiply<const KIND: u8, const R: usize>(
        self,
        lhs: *const f32,
        stride: usize,
        panels: [*const f32; 2],
        steps: usize,
    ) {
        const { assert!(R == 1 || R == 2) };
        let stride = stride * size_of::<f32>();
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
                "2:",
                "tileloadd tmm4, [{lhs} + {stride}*1]",
                "tileloadd tmm6, [{first} + {line}*1]",
                "product tmm0, tmm4, tmm6",
                "tileloadd tmm7, [{second} + {line}*1]",
                "product tmm1, tmm4, tmm7",
                ".if {rows} == 2",
                "tileloadd tmm5, [{below} + {stride}*1]",
                "product tmm2, tmm5, tmm6",
                "product tmm3, tmm5, tmm7",
                "add {below}, 64",
                ".endif",
                "add {lhs}, 64",
                "add {first}, 1024",
                "add {second}, 1024",
                "dec {steps}",
                "jnz 2b",
                ".purgem product",
                kind = const KIND,
                rows = const R,
                lhs = inout(reg) lhs => _,
                below = inout(reg) lhs.wrapping_byte_add(ROWS * stride) => _,
                first = inout(reg) panels[0] => _,
                second = inout(reg) panels[1] => _,
                stride = in(reg) stride,
                line = in(reg) LINE * size_of::<f32>(),
                steps = inout(reg) steps => _,
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(readonly, nostack)
            );
        }
    }

    /// Writes the sums of `R` tiles of rows.
    #[inline(always)]
    fn store<const R: usize>(self, sums: &mut Sums) {
        // SAFETY: `self` proves that the registers are configured; `sums` has room for all four.
        unsafe {
            asm!(
                "tilestored [{sums} + {stride}*1], tmm0",
                "tilestored [{sums} + {stride}*1 + 64], tmm1",
                ".if {rows} == 2",
                "tilestored [{sums} + {stride}*1 + 2048], tmm2",
                "tilestored [{sums} + {stride}*1 + 2112], tmm3",
                ".endif",
                rows = const R,
                sums = in(reg) sums,
                stride = in(reg) 2 * LINE * size_of::<f32>(),
                options(nostack, preserves_flags)
            );
        }
    }

    /// The products of a whole tile.
    ///
    /// # Safety
    /// As [`Product::tile`] says, with 1 to 16 R rows.
    #[inline(always)]
    unsafe fn sums<const KIND: u8, const R: usize>(self, panels: usize, t: &Tile, sums: &mut Sums) {
        // One panel is multiplied twice, for the sake of few kinds of tiles.
        let panel = |i: usize| t.rhs.wrapping_add(if panels == 2 { i * t.rhs_panel_stride } else { 0 });
        let (steps, rest) = (t.k / LINE, t.k % LINE);
        self.zero();
        // SAFETY: the contract of a tile; of the lines of a panel, `rest` are read one by one.
        unsafe {
            if steps > 0 {
                self.multiply::<KIND, R>(t.lhs, t.lhs_stride, [panel(0), panel(1)], steps);
            }
            if rest > 0 {
                #[repr(C, align(64))]
                struct Lines([[[f32; LINE]; ROWS]; 2]);
                let mut lines = Lines([[[0.0; LINE]; ROWS]; 2]);
                for (i, lines) in lines.0.iter_mut().enumerate() {
                    let from = panel(i).add(steps * ROWS * LINE).cast::<[f32; LINE]>();
                    lines[..rest].copy_from_slice(std::slice::from_raw_parts(from, rest));
                }
                let lhs = t.lhs.add(steps * LINE);
                self.multiply::<KIND, R>(lhs, t.lhs_stride, lines.0.each_ref().map(|lines| lines.as_ptr().cast()), 1);
            }
        }
        self.store::<R>(sums);
    }

    #[inline(always)]
    fn in_registers<const KIND: u8>(self, rounds: usize, operations: u64) -> (u64, f32) {
        self.zero();
        for _ in 0..rounds {
            // SAFETY: `self` proves that the registers are configured.
            unsafe {
                asm!(
                    ".if {kind} == 0",
                    "tdpbusd tmm0, tmm4, tmm5", "tdpbusd tmm1, tmm4, tmm5",
                    "tdpbusd tmm2, tmm4, tmm5", "tdpbusd tmm3, tmm4, tmm5",
                    ".else",
                    "tdpbf16ps tmm0, tmm4, tmm5", "tdpbf16ps tmm1, tmm4, tmm5",
                    "tdpbf16ps tmm2, tmm4, tmm5", "tdpbf16ps tmm3, tmm4, tmm5",
                    ".endif",
                    kind = const KIND,
                    out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                    options(nomem, nostack, preserves_flags)
                );
            }
        }
        let mut sums = Sums([MaybeUninit::uninit(); 2 * ROWS * 2 * PANEL]);
        self.store::<2>(&mut sums);
        // SAFETY: all has been stored.
        let sum = sums.0.iter().map(|sum| unsafe { sum.assume_init() }).sum();
        ((rounds * 4 * ROWS * ROWS * LINE) as u64 * operations, sum)
    }
}

/// Sums in memory, as `finish` wants them.
macro_rules! tile {
    ($self:expr, $kind:expr, $tiles:expr, $simd:expr, $rows:expr, $panels:expr, $t:expr) => {{
        let (tiles, simd, rows, panels, t): (Tiles, Avx512, usize, usize, &Tile) = ($tiles, $simd, $rows, $panels, &$t);
        let mut sums = Sums([MaybeUninit::uninit(); 2 * ROWS * 2 * PANEL]);
        // SAFETY: the caller meets the contract of a tile, of `rows` rows and `panels` panels.
        unsafe {
            if rows > ROWS {
                tiles.sums::<{ $kind }, 2>(panels, t, &mut sums);
            } else {
                tiles.sums::<{ $kind }, 1>(panels, t, &mut sums);
            }
            for row in 0..rows {
                for panel in 0..panels {
                    let lines = t.rhs.add(panel * t.rhs_panel_stride);
                    let mut sum = simd.load_raw(sums.0.as_ptr().add((2 * row + panel) * LINE).cast());
                    if $kind == BYTES {
                        sum = add_i32(simd, sum, start_of_bytes(simd, t, row, lines.sub(PANEL)));
                    }
                    finish::<Avx512, Self>(simd, t, lines.add(t.k * LINE), row, panel * PANEL, sum);
                }
            }
        }
    }};
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
    #[inline(always)]
    unsafe fn tile(self, simd: Avx512, rows: usize, panels: usize, t: Tile) {
        tile!(self, BYTES, self.0, simd, rows, panels, t)
    }
    #[inline(always)]
    fn in_registers(self, _: Avx512, rounds: usize) -> (u64, f32) {
        self.0.in_registers::<BYTES>(rounds, 8)
    }
}

impl<V: FloatProduct<Avx512>> Product<Avx512> for TilePairs<V> {
    const BYTES: bool = false;
    const ROUNDED: bool = true;
    const MR: usize = 2 * ROWS;
    const LHS_UNIT: usize = ROWS;
    #[inline(always)]
    unsafe fn tile(self, simd: Avx512, rows: usize, panels: usize, t: Tile) {
        tile!(self, PAIRS, self.0, simd, rows, panels, t)
    }
    #[inline(always)]
    fn in_registers(self, _: Avx512, rounds: usize) -> (u64, f32) {
        self.0.in_registers::<PAIRS>(rounds, 4)
    }
}

/// Slots are those of the vectors' products.
impl<V: FloatProduct<Avx512>> FloatProduct<Avx512> for TilePairs<V> {
    const DEPTH: usize = V::DEPTH;
    #[inline(always)]
    fn along(self, simd: Avx512, values: [__m512; 2]) -> __m512 {
        self.1.along(simd, values)
    }
    #[inline(always)]
    fn across(self, simd: Avx512, values: [__m512; 2]) -> __m512 {
        self.1.across(simd, values)
    }
}
