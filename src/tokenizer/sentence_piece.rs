//! A SentencePiece model, as it stands before there is a `tokenizer.json`: the few fields of its protocol buffer that
//! make ids.

/// What counts of a model.
#[derive(Default)]
pub(super) struct SentencePieceModel {
    pub(super) pieces: Vec<Piece>,
    /// `trainer_spec.model_type`.
    model_type: u64,
    /// `normalizer_spec.precompiled_charsmap`.
    pub(super) map: Vec<u8>,
}

pub(super) struct Piece {
    pub(super) text: String,
    pub(super) score: f64,
    pub(super) kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Normal,
    Unknown,
    Control,
    UserDefined,
    Other,
}

const UNIGRAM: u64 = 1;

impl SentencePieceModel {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let mut model = Self { model_type: UNIGRAM, ..Self::default() };
        let mut message = Message { bytes, at: 0, name: "the model" };
        while let Some((field, value)) = message.next()? {
            match (field, value) {
                (1, Value::Bytes(bytes)) => {
                    let piece = Piece::parse(bytes, model.pieces.len())?;
                    model.pieces.push(piece);
                }
                (2, Value::Bytes(bytes)) => {
                    let mut spec = Message { bytes, at: 0, name: "`trainer_spec`" };
                    while let Some((field, value)) = spec.next()? {
                        if let (3, Value::Number(number)) = (field, value) {
                            model.model_type = number;
                        }
                    }
                }
                (3, Value::Bytes(bytes)) => {
                    let mut spec = Message { bytes, at: 0, name: "`normalizer_spec`" };
                    while let Some((field, value)) = spec.next()? {
                        if let (2, Value::Bytes(map)) = (field, value) {
                            model.map = map.to_vec();
                        }
                    }
                }
                _ => {}
            }
        }
        if model.model_type != UNIGRAM {
            let found = if model.model_type == 2 { "BPE".into() } else { format!("{}", model.model_type) };
            return Err(format!("`trainer_spec.model_type`: expected UNIGRAM, found {found}"));
        }
        if !model.pieces.iter().any(|piece| piece.kind == Kind::Unknown) {
            let count = model.pieces.len();
            return Err(format!(
                "`pieces`: expected one of type UNKNOWN, which stands for what is unknown, found none among {count}"
            ));
        }
        Ok(model)
    }
}

impl Piece {
    fn parse(bytes: &[u8], number: usize) -> Result<Self, String> {
        let mut piece = Self { text: String::new(), score: 0.0, kind: Kind::Normal };
        let mut message = Message { bytes, at: 0, name: "a piece" };
        while let Some((field, value)) = message.next()? {
            match (field, value) {
                (1, Value::Bytes(text)) => {
                    let text =
                        str::from_utf8(text).map_err(|error| format!("`pieces`: piece {number}: {error}"))?;
                    piece.text = text.to_owned();
                }
                (2, Value::Single(score)) => piece.score = f64::from(score),
                (3, Value::Number(kind)) => {
                    piece.kind = match kind {
                        1 => Kind::Normal,
                        2 => Kind::Unknown,
                        3 => Kind::Control,
                        4 => Kind::UserDefined,
                        _ => Kind::Other,
                    };
                }
                _ => {}
            }
        }
        if !piece.score.is_finite() {
            let Self { text, score, .. } = &piece;
            return Err(format!(
                "`pieces`: expected a finite score of piece {number}, `{text}`, found {score}"
            ));
        }
        Ok(piece)
    }
}

/// A message of a protocol buffer, read field by field.
struct Message<'a> {
    bytes: &'a [u8],
    at: usize,
    name: &'static str,
}

enum Value<'a> {
    Number(u64),
    Single(f32),
    Bytes(&'a [u8]),
    Other,
}

impl<'a> Message<'a> {
    /// The next field's number and value; None at the end.
    fn next(&mut self) -> Result<Option<(u64, Value<'a>)>, String> {
        if self.at == self.bytes.len() {
            return Ok(None);
        }
        let key = self.number()?;
        let value = match key & 7 {
            0 => Value::Number(self.number()?),
            1 => {
                self.take(8)?;
                Value::Other
            }
            2 => {
                let len = self.number()?;
                Value::Bytes(self.take(len)?)
            }
            5 => {
                let mut single = [0; 4];
                single.copy_from_slice(self.take(4)?);
                Value::Single(f32::from_le_bytes(single))
            }
            kind => {
                return Err(format!(
                    "no SentencePiece model: expected a field of {} at its byte {}, found wire type {kind}",
                    self.name, self.at
                ));
            }
        };
        Ok(Some((key >> 3, value)))
    }

    fn number(&mut self) -> Result<u64, String> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(format!("no SentencePiece model: a number of {} is longer than 64 bits", self.name))
    }

    fn take(&mut self, len: u64) -> Result<&'a [u8], String> {
        let rest = &self.bytes[self.at..];
        match usize::try_from(len).ok().filter(|&len| len <= rest.len()) {
            Some(len) => {
                self.at += len;
                Ok(&rest[..len])
            }
            None => Err(format!(
                "the file is cut short: expected {len} bytes more of {} at its byte {}, found {}",
                self.name,
                self.at,
                rest.len()
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Kind, SentencePieceModel};

    fn model(kind: &str, name: &str) -> Vec<u8> {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tokenizers").join(kind);
        std::fs::read(folder.join(name)).unwrap()
    }

    #[test]
    fn pieces_and_map_are_read() {
        let model = SentencePieceModel::parse(&model("xlmr", "sentencepiece.bpe.model")).unwrap();
        assert!(model.pieces.len() > 100 && !model.map.is_empty());
        let first: Vec<&str> = model.pieces[..3].iter().map(|piece| &*piece.text).collect();
        assert_eq!(first, ["<unk>", "<s>", "</s>"]);
        assert!(model.pieces[0].kind == Kind::Unknown && model.pieces[1].kind == Kind::Control);
        assert!(model.pieces[3].score < 0.0 && model.pieces[3].kind == Kind::Normal);
    }

    #[test]
    fn a_file_cut_anywhere_is_refused_or_lacks_its_end() {
        let whole = model("albert", "spiece.model");
        let count = SentencePieceModel::parse(&whole).unwrap().pieces.len();
        let mut refused = 0;
        for len in (0..whole.len()).step_by(7) {
            match SentencePieceModel::parse(&whole[..len]) {
                Ok(model) => assert!(model.pieces.len() <= count),
                Err(error) => {
                    refused += 1;
                    assert!(error.contains("cut short") || error.contains("UNKNOWN"), "{error}");
                }
            }
        }
        assert!(refused > whole.len() / 7 / 2, "{refused}");
    }

    #[test]
    fn bytes_that_are_no_model_are_refused() {
        for bytes in
            [&b"<!DOCTYPE html>"[..], b"version https://git-lfs.github.com/spec/v1", &[0xff; 40], b""]
        {
            assert!(SentencePieceModel::parse(bytes).is_err());
        }
    }
}
