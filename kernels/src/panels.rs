//! Panels: a right-hand side as tiles read it, and what they ask the cache for meanwhile.

use std::marker::PhantomData;
use std::ops::Range;

use crate::PANEL;
use crate::simd::Simd;
use crate::slot::Slot;
use crate::view::Rows;

/// Bytes of a panel between what a tile reads and what it asks the cache for where nothing asked before: far enough for
/// L3 to answer in time. The hardware's own prefetching ends with each page of 4 KiB.
const PREFETCH: usize = 96 * LINE;

/// Bytes of a step along k in a panel.
const LINE: usize = PANEL * size_of::<Slot>();

/// A right-hand side of depth `k` in panels of [`PANEL`] columns: packed, or rows read where they are.
#[derive(Clone, Copy)]
pub(crate) struct Panels<'a> {
    pub(crate) data: *const Slot,
    pub(crate) k: usize,
    pub(crate) n: usize,
    pub(crate) k_stride: usize,
    pub(crate) panel_stride: usize,
    source: Source,
    borrow: PhantomData<&'a [Slot]>,
}

/// Where panels come from, which decides what tiles ask the cache for.
#[derive(Clone, Copy)]
pub(crate) enum Source {
    /// They are near: there is nothing to ask for.
    Near,
    /// From far away. While the tiles of one group of panels run, all together ask for the next group, so that the
    /// first of them does not wait for memory while the others do without.
    Far {
        /// Whether the first group has been asked for.
        first_is_near: bool,
        next: Option<Upcoming>,
    },
}

/// What will be read after some panels.
#[derive(Clone, Copy)]
pub(crate) struct Upcoming {
    pub(crate) data: *const Slot,
    pub(crate) panel_bytes: usize,
}

impl<'a> Panels<'a> {
    /// Panels of `k` x [`PANEL`] one after the other, the last filled up.
    pub(crate) fn packed(data: &'a [Slot], k: usize, n: usize) -> Self {
        assert!(data.len() >= n.div_ceil(PANEL) * k * PANEL, "packed panels of {n} columns and depth {k}");
        let panel_stride = k * PANEL;
        Self {
            data: data.as_ptr(),
            k,
            n,
            k_stride: PANEL,
            panel_stride,
            source: Source::Near,
            borrow: PhantomData,
        }
    }

    /// Panels of `slots` x [`PANEL`] slots, each behind `before` lines and in front of one of scales.
    pub(crate) fn scaled(data: &'a [Slot], before: usize, slots: usize, n: usize) -> Self {
        let panel_stride = (before + slots + 1) * PANEL;
        assert!(data.len() >= n.div_ceil(PANEL) * panel_stride, "panels of {n} columns and {slots} slots");
        Self {
            data: data.as_ptr().wrapping_add(before * PANEL),
            panel_stride,
            ..Self::packed(data, slots, n)
        }
    }

    /// The rows of a matrix of f32, whose columns must be whole panels.
    pub(crate) fn in_place(rows: Rows<'a>) -> Self {
        assert!(rows.cols().is_multiple_of(PANEL), "{} columns are no whole panels", rows.cols());
        Self {
            data: rows.float_slots().as_ptr(),
            k: rows.rows(),
            n: rows.cols(),
            k_stride: rows.row_stride(),
            panel_stride: PANEL,
            source: Source::Near,
            borrow: PhantomData,
        }
    }

    /// Some of their lines: a part of the depth.
    pub(crate) fn depth_range(self, lines: Range<usize>) -> Self {
        assert!(lines.start <= lines.end && lines.end <= self.k, "lines {lines:?} of {}", self.k);
        Self { data: self.data.wrapping_add(lines.start * self.k_stride), k: lines.len(), ..self }
    }

    pub(crate) fn with_source(self, source: Source) -> Self {
        Self { source, ..self }
    }

    /// What `tiles` tiles ask for while they multiply by the panels from `panel` on.
    #[inline(always)]
    pub(crate) fn asking(&self, panel: usize, tile_panels: usize, tiles: usize) -> Asking {
        let here = self.data.wrapping_add(panel * self.panel_stride);
        let nothing = Ahead { data: here, step: 0, apart: 0, own: false };
        let Source::Far { first_is_near, next } = self.source else {
            return Asking { cold: 0, first: nothing, then: nothing, tile_bytes: 0 };
        };
        let panel_bytes = self.k * LINE;
        let cold = usize::from(!first_is_near && (panel == 0 || tiles == 1));
        let data = here.wrapping_byte_add(PREFETCH);
        let first = Ahead { data, step: LINE, apart: panel_bytes, own: true };
        let last = panel + tile_panels >= self.n.div_ceil(PANEL);
        let following = Upcoming { data: here.wrapping_add(tile_panels * self.panel_stride), panel_bytes };
        let then = (if last { next } else { Some(following) }).map_or(nothing, |next| {
            let step = next.panel_bytes.div_ceil(((tiles - cold) * self.k).max(1));
            Ahead { data: next.data, step, apart: next.panel_bytes, own: false }
        });
        Asking { cold, first, then, tile_bytes: self.k * then.step }
    }
}

/// What the tiles that multiply by the same panels ask the cache for.
#[derive(Clone, Copy)]
pub(crate) struct Asking {
    /// Tiles that ask for what they read themselves.
    cold: usize,
    first: Ahead,
    /// What the others ask for together, each for so many bytes of a panel.
    then: Ahead,
    tile_bytes: usize,
}

impl Asking {
    /// What tile `i` asks for.
    #[inline(always)]
    pub(crate) fn of_tile(&self, i: usize) -> Ahead {
        if i < self.cold {
            return self.first;
        }
        Ahead { data: self.then.data.wrapping_byte_add((i - self.cold) * self.tile_bytes), ..self.then }
    }
}

/// What a tile asks the cache for: bytes from step to step along k, and from panel to panel.
#[derive(Clone, Copy)]
pub(crate) struct Ahead {
    pub(crate) data: *const Slot,
    pub(crate) step: usize,
    pub(crate) apart: usize,
    /// Whether that is what the tile reads itself, soon.
    pub(crate) own: bool,
}

impl Ahead {
    /// Asks for what some steps ask for, whole lines of it.
    #[inline(always)]
    pub(crate) fn ask<S: Simd>(&mut self, simd: S, steps: usize) {
        for at in (0..steps * self.step).step_by(LINE) {
            for panel in 0..S::TILE_PANELS {
                simd.prefetch_l2(self.data.wrapping_byte_add(at + panel * self.apart));
            }
        }
        self.data = self.data.wrapping_byte_add(steps * self.step);
    }
}
