//! `model.safetensors` as `crossrank pack` writes it.

use crossrank::{Dtype, ModelBytes};

use crate::model::{self, CONFIG, TOKENIZER, WEIGHTS};

/// Where panels lie as the kernels want them, which a map of a file gives.
const LINE: usize = 64;

/// Bytes that begin at a multiple of [`LINE`].
struct Aligned {
    bytes: Vec<u8>,
    start: usize,
}

impl Aligned {
    fn new(bytes: &[u8]) -> Self {
        let mut room = vec![0; bytes.len() + LINE];
        let start = room.as_ptr().align_offset(LINE).min(LINE);
        room[start..][..bytes.len()].copy_from_slice(bytes);
        room.truncate(start + bytes.len());
        Self { bytes: room, start }
    }
}

impl AsRef<[u8]> for Aligned {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[self.start..]
    }
}

/// The bytes are a packed `model.safetensors`, whose panels are used in place, and copied.
pub fn packed(bytes: &[u8]) -> bool {
    let of = |weights: ModelBytes| model::load(weights.tokenizer(TOKENIZER));
    let in_place = of(ModelBytes::new(CONFIG, Aligned::new(bytes)));
    let copied = of(ModelBytes::new(CONFIG, bytes.to_vec()));
    assert_eq!(in_place.is_some(), copied.is_some(), "whether it loads depends on where it lies");
    let (Some(in_place), Some(copied)) = (in_place, copied) else { return false };
    assert_eq!(model::score(&in_place), model::score(&copied), "a logit depends on where the weights lie");
    match in_place.verify() {
        Ok(packed) => packed,
        Err(error) => {
            model::check_error(&error);
            false
        }
    }
}

/// What the engine of today writes of the small model, by the name of the seed; all instruction sets take it.
///
/// # Errors
/// When the small model does not load or cannot be packed.
pub fn packed_seeds() -> crossrank::Result<Vec<(String, Vec<u8>)>> {
    let seed = |dtype: Dtype| {
        let bytes = ModelBytes::new(CONFIG, WEIGHTS).tokenizer(TOKENIZER);
        let mut packed = Vec::new();
        model::builder().isa("portable").dtype(dtype).from_bytes(bytes)?.write_packed(&mut packed)?;
        Ok((format!("valid-{}", dtype.name()), packed))
    };
    [Dtype::F32, Dtype::Bf16, Dtype::Int8].into_iter().map(seed).collect()
}
