//! How a checkpoint was quantised: one account of it, from which its metadata and both reports are made.

use serde::{Serialize, Serializer};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// What says how the bytes are to be read; the engine takes no I8 without it.
const SCHEME: [(&str, &str); 2] =
    [("quantization", "crossrank-int8-rowwise-symmetric"), ("quantization_version", "1")];

/// What was done, with what, to what.
#[derive(Default)]
pub struct Recipe {
    /// None where each number went to the nearest byte.
    pub calibration: Option<Calibration>,
    /// Tensors in I8; the scales of their rows are not counted.
    pub tensors_i8: usize,
    /// Biases that make up for what rounding adds to their products, on average, and norms that smooth what they give;
    /// so in F32, whatever they were.
    pub tensors_f32: usize,
    /// Neurons of feed-forward networks that gave way to copies of others.
    pub neurons_replaced: usize,
    /// Tensors as they were.
    pub tensors_kept: usize,
    /// Of the source's weights files, one after the other.
    pub source_sha256: String,
}

/// What activations were smoothed by, and the rounding of Linear weights made up for its errors with. (Embeddings go to
/// the nearest byte all the same.)
#[derive(Clone)]
pub struct Calibration {
    /// The power of the largest magnitudes in the factors.
    pub smoothing: f64,
    /// Added to each variance, as a part of their mean.
    pub damping: f64,
    /// How often a `[CLS]` row counts for one of another token.
    pub cls_weight: u32,
    pub pairs: usize,
    pub tokens: usize,
    /// Of the file of texts.
    pub sha256: String,
    /// The instruction set that the source ran on: another gives sums with other last bits, and so some other bytes.
    pub isa: &'static str,
}

impl Recipe {
    /// All there is to say, under the names that metadata and JSON have for it.
    fn fields(&self) -> Vec<(&'static str, Value)> {
        let mut fields = vec![("rounding", json!(self.rounding()))];
        if let Some(calibration) = &self.calibration {
            fields.extend([
                ("smoothing", json!(calibration.smoothing)),
                ("damping", json!(calibration.damping)),
                ("cls_weight", json!(calibration.cls_weight)),
                ("neurons_replaced", json!(self.neurons_replaced)),
                ("calibration_pairs", json!(calibration.pairs)),
                ("calibration_tokens", json!(calibration.tokens)),
                ("calibration_sha256", json!(calibration.sha256)),
                ("calibration_isa", json!(calibration.isa)),
            ]);
        }
        fields.extend([
            ("tensors_i8", json!(self.tensors_i8)),
            ("tensors_f32", json!(self.tensors_f32)),
            ("tensors_kept", json!(self.tensors_kept)),
            ("source_sha256", json!(self.source_sha256)),
            ("written_by", json!(written_by())),
        ]);
        fields
    }

    fn rounding(&self) -> &'static str {
        if self.calibration.is_some() { "compensated" } else { "nearest" }
    }

    /// Keys and values for the header of a safetensors file.
    pub fn metadata(&self) -> Vec<(String, String)> {
        let scheme = SCHEME.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let fields = self.fields().into_iter().map(|(key, value)| {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            (format!("quantization_{key}"), value)
        });
        scheme.into_iter().chain(fields).collect()
    }

    /// For people.
    pub fn facts(&self) -> Vec<(&'static str, String)> {
        let mut rounding = self.rounding().to_owned();
        if let Some(Calibration { smoothing, damping, cls_weight, pairs, tokens, .. }) = &self.calibration {
            rounding += &format!(
                ", smoothing {smoothing}, damping {damping}, [CLS] weight {cls_weight}, {} neurons replaced, on {pairs} \
                 pairs, {tokens} tokens",
                self.neurons_replaced
            );
        }
        let mut facts = vec![("rounding", rounding)];
        if let Some(Calibration { sha256, isa, .. }) = &self.calibration {
            facts.push(("calibration", format!("sha256 {sha256}, seen on {isa}")));
        }
        facts.extend([
            ("tensors in I8", self.tensors_i8.to_string()),
            ("vectors made F32", self.tensors_f32.to_string()),
            ("tensors as they were", self.tensors_kept.to_string()),
            ("source", format!("sha256 {}", self.source_sha256)),
            ("written by", written_by()),
        ]);
        facts
    }
}

/// For JSON.
impl Serialize for Recipe {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.fields())
    }
}

/// This program.
fn written_by() -> String {
    format!("crossrank {}", env!("CARGO_PKG_VERSION"))
}

/// A digest as it is written.
pub fn hex(digest: Sha256) -> String {
    digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_and_json_have_the_same_keys_and_values() {
        let calibration = Calibration {
            smoothing: 0.5,
            damping: 0.01,
            cls_weight: 17,
            pairs: 2,
            tokens: 30,
            sha256: hex(Sha256::new_with_prefix("texts")),
            isa: "portable",
        };
        for calibration in [None, Some(calibration)] {
            let recipe = Recipe { calibration, tensors_i8: 4, tensors_kept: 5, ..Recipe::default() };
            let json = serde_json::to_value(&recipe).unwrap();
            let metadata = recipe.metadata();
            assert_eq!(metadata[..2], SCHEME.map(|(key, value)| (key.to_owned(), value.to_owned())));
            assert_eq!(json.as_object().unwrap().len(), metadata.len() - 2);
            for (key, value) in &metadata[2..] {
                let json = &json[key.strip_prefix("quantization_").unwrap()];
                assert_eq!(*value, json.as_str().map_or_else(|| json.to_string(), str::to_owned), "{key}");
            }
        }
    }

    #[test]
    fn a_digest_is_written_in_hex() {
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(hex(Sha256::new_with_prefix("abc")), expected);
    }
}
