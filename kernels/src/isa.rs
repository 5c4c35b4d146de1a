//! Which instructions may be used: the only place that asks the CPU.
//!
//! An [`Isa`] can only be had by passing the check for it, so holding one is the proof that its instructions may
//! run. It is resolved once, when a model is loaded, and carried along.

#[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
use crate::arch::portable::Portable;
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
use crate::arch::simd128::Simd128;
#[cfg(target_arch = "x86_64")]
use crate::arch::{avx2::Avx2, avx512::Avx512};
use crate::simd::Simd;

/// The most rows of a block on any instruction set.
pub(crate) const MAX_BLOCK_ROWS: usize = 128;

/// An instruction set that this machine has been seen to offer.
///
/// Which kernels serve which dtype is decided by the set alone; scores are the same bits for the same set, and may
/// differ in the last bits between sets. `avx512_bf16` is `avx512` that rounds both sides of products to bfloat16 where
/// `avx512` would widen one: [`PanelDtype::Bf16`](crate::PanelDtype), and attention beside any dtype but f32. `amx`
/// does so, too, multiplies whole tiles of bytes and of bfloat16, and f32 in [digits](crate::PanelDtype::Digits) of a
/// byte. `simd128` is WebAssembly's, and `simd128_relaxed` that with relaxed dot products, whose results are the same
/// bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Isa(Level);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Level {
    #[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
    Portable(Portable),
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
    #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
    Simd128(Simd128),
}

/// A name that is no instruction set, or one that this machine lacks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UnavailableIsa {
    /// The name that was asked for.
    pub name: String,
}

impl std::fmt::Display for UnavailableIsa {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let known = if Isa::NAMES.contains(&self.name.as_str()) { "not available here" } else { "unknown" };
        let available: Vec<&str> = Isa::available().map(Isa::name).collect();
        write!(
            f,
            "instruction set `{}` is {known}: available on this machine are {}",
            self.name,
            available.join(", ")
        )
    }
}

impl std::error::Error for UnavailableIsa {}

impl Isa {
    /// Every name there is, slowest first, whether this machine has it or not.
    pub const NAMES: [&'static str; 7] =
        ["portable", "avx2", "avx512", "avx512_bf16", "amx", "simd128", "simd128_relaxed"];

    /// What every machine has that can run this at all. A WebAssembly module with SIMD128 has no other set: it would be
    /// twice as large, for code that never runs.
    #[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
    const LEAST: Isa = Isa(Level::Portable(Portable));
    #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
    const LEAST: Isa = Isa(Level::Simd128(Simd128::PLAIN));

    /// The instruction sets of this machine, slowest first: `portable` is always among them, or `simd128`.
    pub fn available() -> impl Iterator<Item = Isa> {
        Self::NAMES.into_iter().filter_map(Self::detect)
    }

    /// The fastest instruction set of this machine: the last that is there, save `avx512_bf16` where the CPU multiplies
    /// pairs of bfloat16 slower than f32 (Intel's). To see whether `amx` is there asks the system to let the process
    /// use it.
    pub fn best() -> Isa {
        Self::available().filter(|isa| isa.is_fast()).last().unwrap_or(Self::LEAST)
    }

    fn is_fast(self) -> bool {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Level::Avx512(token) => token.is_fast(),
            _ => true,
        }
    }

    /// The instruction set of that name.
    ///
    /// # Errors
    /// When the name is none of [`Isa::NAMES`], or the machine lacks the instructions.
    pub fn by_name(name: &str) -> Result<Isa, UnavailableIsa> {
        Self::detect(name).ok_or_else(|| UnavailableIsa { name: name.to_owned() })
    }

    /// The name, as [`Isa::by_name`] takes it.
    pub fn name(self) -> &'static str {
        match self.0 {
            #[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
            Level::Portable(token) => token.name(),
            #[cfg(target_arch = "x86_64")]
            Level::Avx2(token) => token.name(),
            #[cfg(target_arch = "x86_64")]
            Level::Avx512(token) => token.name(),
            #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
            Level::Simd128(token) => token.name(),
        }
    }

    /// The name that the kernels themselves report when they run under this set: what tests assert, so that no
    /// test passes on another set than it says.
    pub fn in_force(self) -> &'static str {
        struct Name;
        impl Kernel for Name {
            type Output = &'static str;
            #[inline(always)]
            fn run<S: Simd>(self, simd: S) -> &'static str {
                simd.name()
            }
        }
        self.run(Name)
    }

    /// Rows of a tile that blocks of rows are made of, and the most of a block: few enough to stay in L2 beside a
    /// panel, and enough that a panel which comes from L3 is used often.
    pub(crate) fn block_shape(self) -> (usize, usize) {
        // Products of tile registers are through with a panel so soon that more rows should share it. For all others
        // the tiles of AVX-512, of which those of AVX2 and of portable code (6 and 2 rows) divide the largest block.
        if self.has_tiles() { (32, MAX_BLOCK_ROWS) } else { (14, 84) }
    }

    pub(crate) fn has_tiles(self) -> bool {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Level::Avx512(token) => token.has_tiles(),
            _ => false,
        }
    }

    /// Whether products of bfloat16 round both sides.
    pub(crate) fn multiplies_pairs(self) -> bool {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Level::Avx512(token) => token.multiplies_pairs(),
            _ => false,
        }
    }

    /// The same set on a machine without instructions for products of bytes, so that tests run what such machines run.
    /// None where the set has none to lose.
    #[doc(hidden)]
    pub fn without_dot_products(self) -> Option<Isa> {
        let without = match self.0 {
            #[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
            Level::Portable(_) => self,
            #[cfg(target_arch = "x86_64")]
            Level::Avx2(token) => Isa(Level::Avx2(token.without_vnni())),
            #[cfg(target_arch = "x86_64")]
            Level::Avx512(token) => Isa(Level::Avx512(token.without_vnni())),
            #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
            Level::Simd128(_) => Isa(Level::Simd128(Simd128::PLAIN)),
        };
        (without != self).then_some(without)
    }

    fn detect(name: &str) -> Option<Isa> {
        match name {
            #[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
            Portable::NAME => Some(Self::LEAST),
            #[cfg(target_arch = "x86_64")]
            Avx2::NAME => Avx2::detect().map(|token| Isa(Level::Avx2(token))),
            #[cfg(target_arch = "x86_64")]
            Avx512::NAME => Avx512::detect().map(|token| Isa(Level::Avx512(token))),
            #[cfg(target_arch = "x86_64")]
            Avx512::BF16_NAME => Avx512::detect_bf16().map(|token| Isa(Level::Avx512(token))),
            #[cfg(target_arch = "x86_64")]
            Avx512::AMX_NAME => Avx512::detect_amx().map(|token| Isa(Level::Avx512(token))),
            #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
            Simd128::NAME => Some(Self::LEAST),
            #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
            Simd128::RELAXED_NAME => Simd128::relaxed().map(|token| Isa(Level::Simd128(token))),
            _ => None,
        }
    }

    /// Runs a kernel compiled for this instruction set.
    pub(crate) fn run<K: Kernel>(self, kernel: K) -> K::Output {
        match self.0 {
            #[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
            Level::Portable(token) => kernel.run(token),
            #[cfg(target_arch = "x86_64")]
            Level::Avx2(token) => token.enter(kernel),
            #[cfg(target_arch = "x86_64")]
            Level::Avx512(token) => token.enter(kernel),
            #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
            Level::Simd128(token) => kernel.run(token),
        }
    }
}

/// An operation written once for every instruction set. `run` must be `#[inline(always)]`, so that its body is
/// compiled with the instructions of the set that enters it.
pub(crate) trait Kernel {
    type Output;
    fn run<S: Simd>(self, simd: S) -> Self::Output;
}
