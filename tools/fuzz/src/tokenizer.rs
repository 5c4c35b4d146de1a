//! `tokenizer.json`.

use crossrank::ModelBytes;

use crate::model::{self, CONFIG, WEIGHTS};

/// The bytes are `tokenizer.json`: of BERT's own class, which takes little but the vocabulary from it, and of a class
/// for which the file counts whole, by which it is valid.
pub fn tokenizer(bytes: &[u8]) -> bool {
    let [_, whole] = ["BertTokenizer", "PreTrainedTokenizerFast"].map(|class| {
        let settings = format!("{{\"tokenizer_class\": \"{class}\"}}");
        let model = ModelBytes::new(CONFIG, WEIGHTS).tokenizer(bytes.to_vec());
        model::load(model.tokenizer_config(settings.into_bytes())).is_some()
    });
    whole
}
