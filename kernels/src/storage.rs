//! Where panels lie: in memory of their own, or in that of a file which holds them packed.

use std::ops::Range;
use std::sync::Arc;

use crate::matrix::Buffer;

/// Bytes that live as long as whoever reads them: a map, a `Vec<u8>`, a `&'static [u8]`.
pub type SharedBytes = Arc<dyn AsRef<[u8]> + Send + Sync>;

/// f32 values that are not written again.
#[derive(Clone)]
pub(crate) enum Storage {
    Owned(Buffer),
    Shared(SharedSlice),
}

/// Aligned f32 values within shared bytes.
#[derive(Clone)]
pub(crate) struct SharedSlice {
    values: *const f32,
    len: usize,
    /// Keeps the values where they are.
    _owner: SharedBytes,
}

// SAFETY: `values` points to memory that is only read, and that `_owner`, which is `Send` and `Sync`, keeps.
unsafe impl Send for SharedSlice {}
// SAFETY: as above.
unsafe impl Sync for SharedSlice {}

impl Storage {
    /// The little-endian f32 in `range` of `bytes`: where they lie when that is the start of a cache line, else copied.
    ///
    /// # Panics
    /// When the range is out of bounds, or no whole number of f32.
    pub(crate) fn new(owner: &SharedBytes, range: Range<usize>) -> Self {
        const SIZE: usize = size_of::<f32>();
        let bytes = &(**owner).as_ref()[range];
        assert!(bytes.len().is_multiple_of(SIZE), "{} bytes are no whole number of f32", bytes.len());
        if cfg!(target_endian = "little") && bytes.as_ptr().addr().is_multiple_of(Buffer::ALIGN) {
            // The slice borrows what the reference count keeps and nobody can borrow exclusively, so it stays valid.
            let (values, len) = (bytes.as_ptr().cast(), bytes.len() / SIZE);
            return Self::Shared(SharedSlice { values, len, _owner: owner.clone() });
        }
        let mut buffer = Buffer::zeros(bytes.len() / SIZE);
        for (value, bytes) in buffer.as_mut_slice().iter_mut().zip(bytes.chunks_exact(SIZE)) {
            *value = f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        }
        Self::Owned(buffer)
    }

    pub(crate) fn as_slice(&self) -> &[f32] {
        match self {
            Self::Owned(buffer) => buffer.as_slice(),
            // SAFETY: `new` has seen `len` aligned f32 there, for which every value is valid; `_owner` keeps them.
            Self::Shared(shared) => unsafe { std::slice::from_raw_parts(shared.values, shared.len) },
        }
    }

    /// Whether the memory is its own.
    pub(crate) fn is_owned(&self) -> bool {
        matches!(self, Self::Owned(_))
    }
}

impl std::fmt::Debug for Storage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = if self.is_owned() { "Owned" } else { "Shared" };
        f.debug_tuple(kind).field(&self.as_slice().len()).finish()
    }
}
