//! Embeddings against f64, from tables of every type at any alignment.

mod common;

use common::approx::Approx;
use common::{Grid, Random, assert_close, assert_panics, assert_same_bits, for_each_isa, wide};
use crossrank_kernels::{Isa, LayerNorm, Stored, StoredMatrix, TableRows, embed, reference};

const ROWS: [usize; 3] = [11, 20, 2];

/// A table of `rows` x `cols` in bytes, scales, and what they say in f32.
struct Table {
    stored: Stored,
    bytes: Vec<u8>,
    scales: Vec<u8>,
    values: Vec<f32>,
    cols: usize,
}

impl Table {
    fn random(stored: Stored, rows: usize, cols: usize, random: &mut Random) -> Self {
        let values = random.vec(rows * cols);
        let mut scales = Vec::new();
        let (bytes, values) = match stored {
            Stored::F32 => (common::to_bytes(&values), values),
            Stored::F16 => {
                let halves: Vec<half::f16> = values.iter().map(|&x| half::f16::from_f32(x)).collect();
                (
                    halves.iter().flat_map(|x| x.to_le_bytes()).collect(),
                    halves.iter().map(|x| x.to_f32()).collect(),
                )
            }
            Stored::Bf16 => {
                let halves: Vec<half::bf16> = values.iter().map(|&x| half::bf16::from_f32(x)).collect();
                (
                    halves.iter().flat_map(|x| x.to_le_bytes()).collect(),
                    halves.iter().map(|x| x.to_f32()).collect(),
                )
            }
            Stored::I8 => {
                let bytes = random.bytes(rows * cols);
                let row_scales = random.vec(rows);
                scales = common::to_bytes(&row_scales);
                let value = |(i, &byte): (usize, &u8)| f32::from(byte as i8) * row_scales[i / cols];
                let values = bytes.iter().enumerate().map(value).collect();
                (bytes, values)
            }
        };
        Self { stored, bytes, scales, values, cols }
    }

    fn row(&self, i: u32) -> &[f32] {
        &self.values[i as usize * self.cols..][..self.cols]
    }
}

/// Runs `f` with the tables at `offset` bytes behind an aligned address.
fn with_tables<R>(tables: &[Table; 3], offset: usize, f: impl FnOnce([StoredMatrix<'_>; 3]) -> R) -> R {
    let shifted = |bytes: &[u8]| [&[0xff; 3][..offset], bytes].concat();
    let parts = tables.each_ref().map(|table| (shifted(&table.bytes), shifted(&table.scales)));
    f(std::array::from_fn(|i| {
        let (bytes, scales) = &parts[i];
        StoredMatrix::new(tables[i].stored, &bytes[offset..], &scales[offset..], ROWS[i], tables[i].cols)
    }))
}

fn run(
    isa: Isa,
    [words, positions, token_types]: [StoredMatrix<'_>; 3],
    norm: &LayerNorm,
    ids: &[u32],
    types: &[u32],
    gap: usize,
) -> Vec<f32> {
    let mut dst = Grid::poisoned(ids.len(), words.cols(), gap);
    let places: Vec<u32> = (0..ids.len() as u32).collect();
    let tables = [(words, ids), (token_types, types), (positions, &places)];
    let tables = tables.map(|(table, rows)| TableRows { table, rows });
    embed(isa, &tables, Some(norm), dst.view_mut());
    dst.values()
}

/// Bounds by running error analysis: two additions, then what `layer_norm.rs` does; see `common/approx.rs`.
#[test]
fn embeddings_of_every_type_and_width_are_those_of_f64_at_any_alignment() {
    let eps = 1e-3;
    for stored in [Stored::F32, Stored::F16, Stored::Bf16, Stored::I8] {
        for cols in [1, 2, 7, 8, 9, 12, 15, 16, 17, 33, 60, 384, 768] {
            let mut random = Random(cols as u64);
            let tables = ROWS.map(|rows| Table::random(stored, rows, cols, &mut random));
            let (weight, bias) = (random.vec(cols), random.vec(cols));
            let (ids, types) = ([10, 0, 3, 3, 7, 1], [0, 0, 1, 1, 0, 1]);
            let (mut expected, mut bounds) = (Vec::new(), Vec::new());
            for (i, (&id, &token_type)) in ids.iter().zip(&types).enumerate() {
                let rows = [tables[0].row(id), tables[2].row(token_type), tables[1].row(i as u32)];
                let [word, segment, position] = rows.map(wide);
                let exact = [&word[..], &segment, &position];
                expected.extend(reference::embed(exact, &wide(&weight), &wide(&bias), f64::from(eps)));
                let [word, segment, position] = rows.map(Approx::all);
                let sum: Vec<Approx> =
                    (0..cols).map(|d| word[d].plus(segment[d]).plus(position[d])).collect();
                bounds.extend(Approx::errors(&Approx::layer_norm(&sum, &weight, &bias, eps)));
            }
            let norm = LayerNorm::new(weight, bias, eps);
            for_each_isa(|isa| {
                let what = format!("{}: {stored:?}, {cols} columns", isa.name());
                let aligned = with_tables(&tables, 0, |tables| run(isa, tables, &norm, &ids, &types, 3));
                assert_close(&what, &aligned, &expected, &bounds);
                for offset in 1..=3 {
                    let found =
                        with_tables(&tables, offset, |tables| run(isa, tables, &norm, &ids, &types, 0));
                    assert_same_bits(&format!("{what}, offset {offset}"), &found, &aligned);
                }
            });
        }
    }
}

#[test]
fn tables_of_different_types_go_together() {
    let cols = 33;
    let mut random = Random(1);
    let tables = [(Stored::I8, ROWS[0]), (Stored::F16, ROWS[1]), (Stored::F32, ROWS[2])]
        .map(|(stored, rows)| Table::random(stored, rows, cols, &mut random));
    let as_f32 = tables.each_ref().map(|table| Table {
        stored: Stored::F32,
        bytes: common::to_bytes(&table.values),
        scales: Vec::new(),
        values: table.values.clone(),
        cols,
    });
    let norm = LayerNorm::new(random.vec(cols), random.vec(cols), 1e-12);
    for_each_isa(|isa| {
        let found = with_tables(&tables, 1, |tables| run(isa, tables, &norm, &[5, 6], &[1, 0], 0));
        let expected = with_tables(&as_f32, 0, |tables| run(isa, tables, &norm, &[5, 6], &[1, 0], 0));
        assert_same_bits(isa.name(), &found, &expected);
    });
}

#[test]
fn nan_in_a_table_makes_the_rows_nan_that_use_it() {
    let cols = 17;
    let mut random = Random(2);
    let mut tables = ROWS.map(|rows| Table::random(Stored::F32, rows, cols, &mut random));
    tables[0].bytes[4 * (3 * cols + 16)..][..4].copy_from_slice(&f32::NAN.to_le_bytes());
    let norm = LayerNorm::new(random.vec(cols), random.vec(cols), 1e-12);
    for_each_isa(|isa| {
        let found = with_tables(&tables, 0, |tables| run(isa, tables, &norm, &[1, 3, 2], &[0; 3], 0));
        for (i, row) in found.chunks(cols).enumerate() {
            assert!(row.iter().all(|x| x.is_nan() == (i == 1)), "{}: row {i}: {row:?}", isa.name());
        }
    });
}

#[test]
fn what_is_beyond_a_table_panics() {
    let cols = 4;
    let mut random = Random(3);
    let tables = ROWS.map(|rows| Table::random(Stored::F32, rows, cols, &mut random));
    let norm = LayerNorm::new(vec![1.0; cols], vec![0.0; cols], 1e-12);
    for_each_isa(|isa| {
        with_tables(&tables, 0, |tables| {
            let run = |ids: &[u32], types: &[u32]| run(isa, tables, &norm, ids, types, 0);
            run(&[10; 20], &[1; 20]);
            run(&[], &[]);
            assert_panics("id", "row 11 of 11", || run(&[11], &[0]));
            assert_panics("id", "row 4294967295 of 11", || run(&[u32::MAX], &[0]));
            assert_panics("type", "row 2 of 2", || run(&[0], &[2]));
            assert_panics("position", "row 20 of 20", || run(&[0; 21], &[0; 21]));
            assert_panics("type ids", "rows that are taken of a table, and dst", || run(&[0; 2], &[0]));
        });
    });
}
