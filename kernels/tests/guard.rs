//! Operands that end, or begin, where memory does: what assembly reads and writes is seen by no sanitizer.
#![cfg(target_os = "linux")]

mod common;

use std::ptr::null_mut;
use std::sync::Arc;

use common::{Random, for_each_isa, to_bytes};
use crossrank_kernels::{
    Activation, AttentionScratch, Epilogue, FineRows, Heads, Isa, LhsRows, LinearScratch, PackedWeights,
    PanelDtype, PositionBias, Positions, RowFormat, Rows, RowsMut, SharedBytes, Stored, StoredMatrix, linear,
    positional_attention,
};

/// Which side of the memory is next to a page that can be neither read nor written; the other side is in a page with
/// it.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Edge {
    End,
    Start,
}

/// Memory next to such pages.
struct Guarded {
    map: *mut libc::c_void,
    map_len: usize,
    start: *mut u8,
    len: usize,
}

// SAFETY: it owns its memory, which moves nowhere, as a `Vec<u8>` does.
unsafe impl Send for Guarded {}
// SAFETY: as above; only `&mut self` writes.
unsafe impl Sync for Guarded {}

impl Guarded {
    fn zeros(len: usize, edge: Edge) -> Self {
        // SAFETY: it asks for a number.
        let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap();
        let inner = len.next_multiple_of(page).max(page);
        let map_len = inner + 2 * page;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a new map, wherever there is room.
        let map = unsafe { libc::mmap(null_mut(), map_len, libc::PROT_NONE, flags, -1, 0) };
        assert_ne!(map, libc::MAP_FAILED);
        let first = map.wrapping_byte_add(page);
        // SAFETY: the pages between the first and the last of that map.
        let done = unsafe { libc::mprotect(first, inner, libc::PROT_READ | libc::PROT_WRITE) };
        assert_eq!(done, 0);
        for outside in [first.wrapping_byte_sub(1), first.wrapping_byte_add(inner)] {
            // SAFETY: the system reads the name of a file there, or says that it cannot.
            let found = unsafe { libc::access(outside.cast(), libc::F_OK) };
            let error = std::io::Error::last_os_error().raw_os_error();
            assert_eq!((found, error), (-1, Some(libc::EFAULT)), "a page that should be out of reach");
        }
        let offset = if edge == Edge::End { inner - len } else { 0 };
        Self { map, map_len, start: first.wrapping_byte_add(offset).cast(), len }
    }

    fn of(bytes: &[u8], edge: Edge) -> Self {
        let mut guarded = Self::zeros(bytes.len(), edge);
        guarded.bytes_mut().copy_from_slice(bytes);
        guarded
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: `zeros` has made so many bytes writable there, which are borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.start, self.len) }
    }
}

impl AsRef<[u8]> for Guarded {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: `zeros` has made so many bytes readable there.
        unsafe { std::slice::from_raw_parts(self.start, self.len) }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // SAFETY: the map is this value's own, and nothing borrows from it any more.
        unsafe { libc::munmap(self.map, self.map_len) };
    }
}

/// Rows without a gap, which end and begin with their memory.
struct Memory {
    guarded: Guarded,
    format: RowFormat,
    rows: usize,
    cols: usize,
}

impl Memory {
    /// Values are rounded where pairs are to be made of them.
    fn of(values: &[f32], format: RowFormat, rows: usize, cols: usize, edge: Edge) -> Self {
        assert_eq!(values.len(), rows * cols);
        let bytes = match format {
            RowFormat::F32 => to_bytes(values),
            RowFormat::Bf16Pairs => {
                values.iter().flat_map(|&x| half::bf16::from_f32(x).to_le_bytes()).collect()
            }
        };
        Self { guarded: Guarded::of(&bytes, edge), format, rows, cols }
    }

    fn view(&self) -> Rows<'_> {
        let bytes = self.guarded.as_ref();
        match self.format {
            RowFormat::F32 => Rows::new(bytemuck::cast_slice(bytes), self.rows, self.cols, self.cols),
            RowFormat::Bf16Pairs => {
                Rows::pairs(bytemuck::cast_slice(bytes), self.rows, self.cols, self.cols / 2)
            }
        }
    }

    fn view_mut(&mut self) -> RowsMut<'_> {
        let (rows, cols) = (self.rows, self.cols);
        let bytes = self.guarded.bytes_mut();
        match self.format {
            RowFormat::F32 => RowsMut::new(bytemuck::cast_slice_mut(bytes), rows, cols, cols),
            RowFormat::Bf16Pairs => RowsMut::pairs(bytemuck::cast_slice_mut(bytes), rows, cols, cols / 2),
        }
    }
}

/// What there is for the inside of rows on a set that makes pairs of a dtype, and on others.
fn formats(isa: Isa, dtype: PanelDtype) -> &'static [RowFormat] {
    if isa.stores_pairs(dtype) { &[RowFormat::F32, RowFormat::Bf16Pairs] } else { &[RowFormat::F32] }
}

#[test]
fn products_stay_within_their_operands() {
    const SHAPES: [(usize, usize); 9] =
        [(1, 1), (16, 32), (17, 33), (32, 4), (32, 64), (48, 100), (64, 128), (33, 62), (96, 192)];
    for_each_isa(|isa| {
        for dtype in [isa.panel_dtype(PanelDtype::F32), PanelDtype::Bf16, PanelDtype::Int8] {
            for (n, k) in SHAPES {
                let mut random = Random((n * k) as u64);
                let (values, bias) = (to_bytes(&random.vec(n * k)), random.vec(n));
                let matrix = StoredMatrix::new(Stored::F32, &values, &[], n, k);
                let packed = PackedWeights::pack(isa, dtype, &[(matrix, &bias)]);
                for m in [1, 2, 15, 16, 17, 31, 32, 33, 48, 68] {
                    product(isa, &packed, &bias, m, &mut random);
                }
            }
        }
    });
}

/// The bits are those of operands in the midst of memory.
fn product(isa: Isa, packed: &PackedWeights, bias: &[f32], m: usize, random: &mut Random) {
    let (dtype, n, k) = (packed.dtype(), packed.n(), packed.k());
    let (values, before, scale) = (random.vec(m * k), random.vec(m * n), random.vec(n));
    let panels = packed.panel_bytes();
    let epilogues = [Epilogue::Bias, Epilogue::Activation(Activation::Gelu), Epilogue::Residual(&scale)];
    for edge in [Edge::End, Edge::Start] {
        let shared: SharedBytes = Arc::new(Guarded::of(&panels, edge));
        let guarded = PackedWeights::from_panels(dtype, [n, k], bias, &shared, 0..panels.len());
        assert_eq!(guarded.shared_bytes(), panels.len(), "read where they lie");
        for &from in formats(isa, dtype).iter().filter(|format| **format == RowFormat::F32 || k % 2 == 0) {
            let lhs = Memory::of(&values, from, m, k, edge);
            // The same with room around it.
            let (mut roomy, stride) = (vec![0u32; (m + 32) * (k + 32)], k + 32);
            for i in 0..m {
                let row = &values[i * k..(i + 1) * k];
                let to = &mut roomy[i * stride..];
                match from {
                    RowFormat::F32 => to.iter_mut().zip(row).for_each(|(to, x)| *to = x.to_bits()),
                    RowFormat::Bf16Pairs => to.iter_mut().zip(row.as_chunks().0).for_each(|(to, pair)| {
                        let [low, high] = pair.map(|x| u32::from(half::bf16::from_f32(x).to_bits()));
                        *to = high << 16 | low;
                    }),
                }
            }
            let roomy = match from {
                RowFormat::F32 => Rows::new(bytemuck::cast_slice(&roomy), m, k, stride),
                RowFormat::Bf16Pairs => Rows::pairs(&roomy, m, k, stride),
            };
            for epilogue in epilogues {
                let plain = epilogue.residual_scale().is_none();
                for &to in formats(isa, dtype) {
                    if to == RowFormat::Bf16Pairs && !(plain && n % 32 == 0) {
                        continue;
                    }
                    let run = |weights: &PackedWeights, rows: Rows<'_>, dst: RowsMut<'_>| {
                        let lhs = LhsRows { rows, fine: FineRows::new(&[0, 16]) };
                        linear(isa, lhs, weights, epilogue, &mut LinearScratch::default(), dst);
                    };
                    let mut found = Memory::of(&before, to, m, n, edge);
                    run(&guarded, lhs.view(), found.view_mut());
                    let mut expected = Memory::of(&before, to, m, n, edge);
                    run(packed, roomy, expected.view_mut());
                    let same = found.guarded.as_ref() == expected.guarded.as_ref();
                    let what = format!("{} {}: {m} x {n} x {k}", isa.name(), dtype.name());
                    assert!(same, "{what}, {from:?} to {to:?}, {edge:?}, {epilogue:?}");
                }
            }
        }
    }
}

#[test]
fn attention_stays_within_its_operands() {
    for_each_isa(|isa| {
        for dtype in [PanelDtype::F32, PanelDtype::Bf16, PanelDtype::Int8] {
            for (seq_len, dim) in [(1, 2), (15, 16), (16, 32), (17, 20), (33, 32), (68, 64), (130, 8)] {
                for span in [None, Some(1), Some(20)] {
                    for edge in [Edge::End, Edge::Start] {
                        attend(isa, dtype, [seq_len, dim], span, edge);
                    }
                }
            }
        }
    });
}

/// Two heads, of which all queries and the last one alone are asked for.
fn attend(isa: Isa, dtype: PanelDtype, [seq_len, dim]: [usize; 2], span: Option<usize>, edge: Edge) {
    let cols = 2 * dim;
    let mut random = Random((seq_len * dim) as u64);
    let qkv = [(); 3].map(|()| random.vec(seq_len * cols));
    let heads = Heads { dim, scale: 0.3, dtype };
    for &format in formats(isa, dtype) {
        let qkv = qkv.each_ref().map(|part| Memory::of(part, format, seq_len, cols, edge));
        let [q, k, v] = qkv.each_ref().map(Memory::view);
        let attend = |first_query| {
            let rows = seq_len - first_query;
            let q = q.row_range(first_query..seq_len);
            let positions = Positions { first_query, span, bias: PositionBias::None };
            let zeros = vec![0.0; rows * cols];
            let mut dst = Memory::of(&zeros, RowFormat::F32, rows, cols, edge);
            let mut scratch = AttentionScratch::default();
            positional_attention(isa, [q, k, v], heads, positions, &mut scratch, dst.view_mut());
            dst.guarded.as_ref().to_vec()
        };
        let (all, last) = (attend(0), attend(seq_len - 1));
        let what = format!("{} {}: {seq_len} x {dim}, {span:?}, {edge:?}", isa.name(), dtype.name());
        assert!(all.ends_with(&last), "{what}, {format:?}");
    }
}
