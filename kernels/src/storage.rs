//! Where panels lie: in memory of their own, or in that of a file which holds them packed.

use std::ops::Range;
use std::sync::Arc;

use crate::matrix::Buffer;
use crate::slot::Slot;

/// Bytes that live as long as whoever reads them: a map, a `Vec<u8>`, a `&'static [u8]`.
pub type SharedBytes = Arc<dyn AsRef<[u8]> + Send + Sync>;

/// Slots that are not written again.
#[derive(Clone)]
pub(crate) enum Storage {
    Owned(Buffer<Slot>),
    Shared(SharedSlice),
}

/// Aligned slots within shared bytes.
#[derive(Clone)]
pub(crate) struct SharedSlice {
    slots: *const Slot,
    len: usize,
    /// Keeps the slots where they are.
    _owner: SharedBytes,
}

// SAFETY: `slots` points to memory that is only read, and that `_owner`, which is `Send` and `Sync`, keeps.
unsafe impl Send for SharedSlice {}
// SAFETY: as above.
unsafe impl Sync for SharedSlice {}

impl Storage {
    /// The little-endian slots in `range` of `bytes`: where they lie when that is the start of a cache line, else copied.
    ///
    /// # Panics
    /// When the range is out of bounds, or no whole number of slots.
    pub(crate) fn new(owner: &SharedBytes, range: Range<usize>) -> Self {
        const SIZE: usize = size_of::<Slot>();
        let bytes = &(**owner).as_ref()[range];
        assert!(bytes.len().is_multiple_of(SIZE), "{} bytes are no whole number of slots", bytes.len());
        if cfg!(target_endian = "little") && bytes.as_ptr().addr().is_multiple_of(Buffer::<Slot>::ALIGN) {
            // The slice borrows what the reference count keeps and nobody can borrow exclusively, so it stays valid.
            let (slots, len) = (bytes.as_ptr().cast(), bytes.len() / SIZE);
            return Self::Shared(SharedSlice { slots, len, _owner: owner.clone() });
        }
        let mut buffer = Buffer::zeros(bytes.len() / SIZE);
        for (slot, bytes) in buffer.as_mut_slice().iter_mut().zip(bytes.chunks_exact(SIZE)) {
            *slot = Slot::from_bits(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]));
        }
        Self::Owned(buffer)
    }

    pub(crate) fn as_slice(&self) -> &[Slot] {
        match self {
            Self::Owned(buffer) => buffer.as_slice(),
            // SAFETY: `new` has seen `len` aligned slots there, for which every value is valid; `_owner` keeps them.
            Self::Shared(shared) => unsafe { std::slice::from_raw_parts(shared.slots, shared.len) },
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
