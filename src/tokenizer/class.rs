//! What the class of a tokenizer makes of its files, by the name that they give it.

/// Classes with rules of their own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Class {
    Bert,
    /// BERT's, but it gives no segments.
    DistilBert,
    /// BERT's words between RoBERTa's special tokens.
    MpNet,
    Roberta,
    XlmRoberta,
    Camembert,
    Albert,
    /// It stands for `tokenizer.json`, whatever that is.
    Whole,
    /// One whose rules are not known.
    Other,
}

/// Special tokens by their names, in the order of [`NAMED`]; None where a class has none.
type Names = [Option<&'static str>; NAMED.len()];

pub(super) const NAMED: [&str; 7] =
    ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

const BERT_NAMES: Names =
    [None, None, Some("[UNK]"), Some("[SEP]"), Some("[PAD]"), Some("[CLS]"), Some("[MASK]")];
const ROBERTA_NAMES: Names =
    [Some("<s>"), Some("</s>"), Some("<unk>"), Some("</s>"), Some("<pad>"), Some("<s>"), Some("<mask>")];
const MPNET_NAMES: Names =
    [Some("<s>"), Some("</s>"), Some("[UNK]"), Some("</s>"), Some("<pad>"), Some("<s>"), Some("<mask>")];
const ALBERT_NAMES: Names = [
    Some("[CLS]"),
    Some("[SEP]"),
    Some("<unk>"),
    Some("[SEP]"),
    Some("<pad>"),
    Some("[CLS]"),
    Some("[MASK]"),
];

impl Class {
    /// `name` is as the files have it, with or without `Fast` at its end.
    pub(super) fn of(name: &str) -> Self {
        match name.strip_suffix("Fast").unwrap_or(name) {
            "BertTokenizer"
            | "ElectraTokenizer"
            | "MobileBertTokenizer"
            | "SqueezeBertTokenizer"
            | "LayoutLMTokenizer"
            | "LxmertTokenizer" => Self::Bert,
            "DistilBertTokenizer" => Self::DistilBert,
            "MPNetTokenizer" => Self::MpNet,
            "RobertaTokenizer" => Self::Roberta,
            "XLMRobertaTokenizer" => Self::XlmRoberta,
            "CamembertTokenizer" => Self::Camembert,
            "AlbertTokenizer" => Self::Albert,
            "PreTrainedTokenizer" | "TokenizersBackend" => Self::Whole,
            _ => Self::Other,
        }
    }

    /// Whether texts are BERT's words, by this class and its settings whatever the file says.
    pub(super) fn is_bert(self) -> bool {
        matches!(self, Self::Bert | Self::DistilBert | Self::MpNet)
    }

    /// Whether the pair is `<s> A </s></s> B </s>`.
    pub(super) fn is_roberta(self) -> bool {
        matches!(self, Self::MpNet | Self::Roberta | Self::XlmRoberta | Self::Camembert)
    }

    /// Whether transformers 5 takes no more than the vocabulary, added tokens and map of characters from the file.
    pub(super) fn is_made_anew(self) -> bool {
        !matches!(self, Self::Whole | Self::Other)
    }

    /// Whether no version gives segments.
    pub(super) fn has_no_segments(self) -> bool {
        self == Self::DistilBert || self.is_roberta()
    }

    pub(super) fn names(self) -> Names {
        match self {
            Self::Bert | Self::DistilBert => BERT_NAMES,
            Self::MpNet => MPNET_NAMES,
            Self::Roberta | Self::XlmRoberta | Self::Camembert => ROBERTA_NAMES,
            Self::Albert => ALBERT_NAMES,
            Self::Whole | Self::Other => [None; NAMED.len()],
        }
    }
}
