//! Texts to token ids, by the checkpoint's own `tokenizer.json`.

mod backend;
mod bert;
mod charsmap;
mod class;
mod guard;
mod inner;
mod sentence_piece;
mod settings;
mod source;
mod special_map;
mod template;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_of_kinds;
mod unigram;
mod vocabulary;
mod window;
mod word_piece;

use self::backend::{Any, BertPipeline, Outline, Parsed, WordPieceFile};
use self::bert::Bert;
use self::class::Class;
use self::sentence_piece::SentencePieceModel;
use self::settings::Settings;
pub use self::settings::TokenizerRules;
pub(crate) use self::source::Source;
use self::template::Template;
pub use self::window::Truncation;
use self::window::Window;
use crate::checkpoint::files::File;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::tokenized::Tokenized;

/// Of English prose; other texts have fewer.
const BYTES_PER_TOKEN: usize = 4;

/// The tokenizer of a model, with the window that pairs must fit.
pub(crate) struct Tokenizer {
    texts: Texts,
    template: Template,
    max_length: usize,
    truncation: Truncation,
    /// It is put in front of every query.
    prompt: Option<String>,
    /// A line for each thing that the files say otherwise than each other.
    notes: Vec<String>,
    /// Whose token ids pairs get, and from what.
    ids: String,
}

/// How one text becomes ids.
enum Texts {
    /// The form of nearly all BERT checkpoints, which costs a fraction.
    Bert(Bert),
    /// Whatever else `tokenizers` knows.
    Any(Any),
}

/// Of a class whose tokenizer is made anew, whatever its file says.
const MAX_CHARS: usize = 100;
const PREFIX: &str = "##";

impl Texts {
    /// What a file and the settings beside it make together, and what else the file has. Texts are lower-cased before
    /// anything else if `lowercase_first`.
    fn parse(
        source: &Source,
        settings: &mut Settings,
        lowercase_first: bool,
    ) -> std::result::Result<(Self, Outline), String> {
        settings.has_no_json = !matches!(source, Source::Json(_));
        let word_pieces = match source {
            Source::Json(file) => WordPieceFile::parse((*file.bytes).as_ref()),
            Source::WordPiece(file) if settings.kind.is_bert() => {
                let words = source::words((*file.bytes).as_ref())?;
                Some(WordPieceFile::of(words, settings.unknown.clone(), PREFIX, MAX_CHARS))
            }
            Source::WordPiece(_) => {
                return Err(source::unfit(settings, "BertTokenizer, DistilBertTokenizer or MPNetTokenizer"));
            }
            _ => None,
        };
        if let Some(mut file) = word_pieces {
            let added = check_outline(&file.outline, settings)?;
            if settings.bert.is_some() {
                note_model(&file, settings);
                file.unknown.clone_from(&settings.unknown);
                file.max_chars = MAX_CHARS;
                file.prefix = PREFIX.into();
            }
            let outline = file.outline.take();
            if let Some(bert) = settings.bert.or(outline.bert()) {
                let pipeline = BertPipeline::new(bert, lowercase_first);
                if let Some(bert) = Bert::new(file, pipeline, &added, settings.split_special) {
                    return Ok((Self::Bert(bert), outline));
                }
            }
        }
        let parsed = match source {
            Source::Json(file) => Parsed::of((*file.bytes).as_ref())?,
            Source::WordPiece(file) => Parsed::of_words(source::words((*file.bytes).as_ref())?)?,
            Source::Merges(words, merges) if settings.kind == Class::Roberta => {
                Parsed::of_merges(source::merges(words, merges)?)?
            }
            Source::Merges(..) => return Err(source::unfit(settings, "RobertaTokenizer")),
            Source::SentencePiece(file) => {
                let model = SentencePieceModel::parse((*file.bytes).as_ref())?;
                let map = model.map.clone();
                let (pieces, added) = source::pieces(model, settings)?;
                Parsed::of_pieces(pieces, added, &map)?
            }
        };
        let added = check_outline(&parsed.outline, settings)?;
        let (mut any, outline) = match settings.bert {
            Some(bert) => parsed
                .into_bert(bert, &settings.unknown, MAX_CHARS, PREFIX)
                .map_err(|reason| format!("{reason}, but class {} has it", settings.class()))?,
            None => parsed.into_any(settings)?,
        };
        any.check()?;
        if lowercase_first {
            any.lowercase_first()?;
        }
        any.add(&added)?;
        any.split_special(settings.split_special);
        Ok((Self::Any(any), outline))
    }

    /// The token with the largest id.
    fn largest(&self) -> Option<(String, u32)> {
        match self {
            Self::Bert(bert) => bert.vocabulary().largest().map(|(token, id)| (token.to_owned(), id)),
            Self::Any(any) => any.largest(),
        }
    }

    fn id(&self, token: &str) -> Option<u32> {
        match self {
            Self::Bert(bert) => bert.vocabulary().id(token),
            Self::Any(any) => any.id(token),
        }
    }

    /// `limit` is the one that [`Texts::limit`] was told.
    fn encode(&self, text: &str, limit: usize) -> std::result::Result<Vec<u32>, String> {
        match self {
            Self::Bert(bert) => bert.encode(text, limit),
            Self::Any(any) => any.encode(text, limit),
        }
    }

    /// Tokens beyond the limit are never looked at, so the model need not make them.
    fn limit(&mut self, limit: usize) -> std::result::Result<(), String> {
        match self {
            Self::Bert(_) => Ok(()),
            Self::Any(any) => any.limit(limit),
        }
    }
}

/// The added tokens that count. Fails where the file asks for what is done otherwise here.
fn check_outline(
    outline: &Outline,
    settings: &Settings,
) -> std::result::Result<Vec<settings::Added>, String> {
    if outline.truncates_left && !settings.cuts_right {
        return Err("`truncation.direction`: expected Right, as texts are cut there, found Left".into());
    }
    settings.added(&outline.added)
}

/// Notes what the model of a file has otherwise than its class.
fn note_model(file: &WordPieceFile, settings: &mut Settings) {
    if file.unknown != settings.unknown {
        let line = format!("`model.unk_token` is `{}`, but `{}` counts", file.unknown, settings.unknown);
        settings.notes.push(format!("tokenizer.json: {line}"));
    }
    if file.max_chars != MAX_CHARS {
        let found = file.max_chars;
        let line = format!("`model.max_input_chars_per_word` is {found}, but {MAX_CHARS} counts");
        settings.notes.push(format!("tokenizer.json: {line}, as class {} has it", settings.class()));
    }
    if file.prefix != PREFIX {
        let line = format!("`model.continuing_subword_prefix` is `{}`, but `{PREFIX}` counts", file.prefix);
        settings.notes.push(format!("tokenizer.json: {line}, as class {} has it", settings.class()));
    }
}

/// What the caller chooses.
#[derive(Clone, Default)]
pub(crate) struct Options {
    pub(crate) max_length: Option<usize>,
    pub(crate) truncation: Option<Truncation>,
    pub(crate) rules: TokenizerRules,
    /// What is put in front of queries, where the caller says so.
    pub(crate) prompt: Option<String>,
}

/// The template of a pair: the class's own, or the file's.
fn pair_template(
    texts: &Texts,
    outline: &Outline,
    settings: &mut Settings,
) -> std::result::Result<Template, String> {
    let id = |field: &str, token: &str| {
        texts.id(token).ok_or_else(|| format!("{field} `{token}` is not in its vocabulary"))
    };
    // ALBERT's is the file's in all versions.
    if !settings.is_made_anew() || settings.kind == Class::Albert && !settings.has_no_json {
        let template = Template::of(outline)?;
        return Ok(if settings.segments { template } else { template.without_segments() });
    }
    let (template, name) = match settings.kind {
        Class::XlmRoberta | Class::Camembert => {
            let (bos, eos) = (id("bos_token", &settings.bos)?, id("eos_token", &settings.eos)?);
            (Template::roberta(bos, eos), "RoBERTa")
        }
        kind => {
            let (cls, sep) = (id("cls_token", &settings.cls)?, id("sep_token", &settings.sep)?);
            if kind.is_roberta() {
                (Template::roberta(cls, sep), "RoBERTa")
            } else {
                (Template::bert(cls, sep), "BERT")
            }
        }
    };
    if settings.has_no_json {
        return Ok(if settings.segments { template } else { template.without_segments() });
    }
    let mut lines = settings.bert.map_or(vec![], |bert| outline.differences(bert));
    match Template::of(outline) {
        Ok(file) if file == template => {}
        Ok(_) => lines
            .push(format!("`post_processor` makes another pair of texts than {name}'s, but {name}'s counts")),
        Err(reason) => lines.push(format!("{reason}, but {name}'s counts")),
    }
    let class = settings.class().to_owned();
    let notes = lines.into_iter().map(|line| format!("tokenizer.json: {line}, as class {class} has it"));
    settings.notes.extend(notes);
    Ok(if settings.segments { template } else { template.without_segments() })
}

impl Tokenizer {
    /// `settings` are `tokenizer_config.json` and `special_tokens_map.json`. `options.max_length` is the caller's, if there is one; the model's and
    /// the position table's apply too.
    pub(crate) fn load(
        source: &Source,
        (settings, special_tokens): (Option<&File>, Option<&File>),
        config: &Config,
        options: Options,
    ) -> Result<Self> {
        let broken = |reason: String| Error::Tokenizer { file: source.name().to_owned(), reason };
        let facts = config.facts();
        let class = config.settings.tokenizer_class.as_deref().or(facts.tokenizer_class);
        let (settings, notes) = special_map::merged(settings, special_tokens)?;
        let mut settings = Settings::parse(settings.as_deref(), class, options.rules)?;
        settings.notes.extend(notes);
        settings.segments &= facts.segments;
        let sentence = &config.settings.texts;
        let (mut texts, outline) = Texts::parse(source, &mut settings, sentence.lowercase).map_err(broken)?;
        let template = pair_template(&texts, &outline, &mut settings).map_err(broken)?;
        if let Some((token, id)) = texts.largest()
            && id as usize >= config.facts().vocab
        {
            let reason = format!(
                "token `{token}` has id {id}, but the model's vocab_size is {}",
                config.facts().vocab
            );
            return Err(broken(reason));
        }
        template.check(config, settings.segments).map_err(broken)?;

        let window = options.max_length.map_or(config.window(), |limit| limit.min(config.window()));
        let special = template.special_tokens();
        if window < special + 2 {
            let needed = format!("too few for {special} special tokens and one token of either text");
            return Err(if window < config.window() {
                Error::option("max_length", format!("{window} tokens are {needed}"))
            } else {
                broken(format!("{window} tokens, the {}, are {needed}", config.window_field()))
            });
        }
        texts.limit(window + 1).map_err(broken)?;
        let default =
            if sentence.only_document { Truncation::OnlyDocument } else { Truncation::LongestFirst };
        Ok(Self {
            texts,
            template,
            max_length: window,
            truncation: options.truncation.unwrap_or(default),
            prompt: options.prompt.or_else(|| sentence.prompt.clone()).filter(|prompt| !prompt.is_empty()),
            notes: settings.notes,
            ids: format!("{}, from {}", options.rules.whose(), source.kind()),
        })
    }

    /// The most tokens that a pair may have, special tokens included.
    pub(crate) fn max_length(&self) -> usize {
        self.max_length
    }

    /// A line for each thing that the files say otherwise than each other, or than transformers 5.23 takes it.
    pub(crate) fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Whose token ids pairs get, and what they are read from, in words.
    pub(crate) fn ids(&self) -> &str {
        &self.ids
    }

    /// About how many tokens a pair will have, from the tokens of its query and the bytes of what is not tokenised yet.
    pub(crate) fn estimate(&self, query: usize, bytes: usize) -> usize {
        (self.template.special_tokens() + query.min(self.max_length) + bytes / BYTES_PER_TOKEN)
            .min(self.max_length)
    }

    /// Ids of one text, without special tokens, cut to one more than the window, which shows that there was more. An
    /// error is the end of a sentence.
    pub(crate) fn encode(&self, text: &str) -> std::result::Result<Vec<u32>, String> {
        self.encode_up_to(text, self.max_length + 1)
    }

    /// As [`Tokenizer::encode`], with the checkpoint's prompt in front.
    pub(crate) fn encode_query(&self, query: &str) -> std::result::Result<Vec<u32>, String> {
        match &self.prompt {
            None => self.encode(query),
            Some(prompt) => self.encode(&format!("{prompt}{query}")),
        }
    }

    /// Puts an encoded query and a document, number `index` of the call, into the checkpoint's own template. Of the document
    /// no more than `most` tokens count; `truncation` is the call's, where it has one of its own.
    pub(crate) fn pair(
        &self,
        index: usize,
        query: &[u32],
        document: &str,
        most: Option<usize>,
        truncation: Option<Truncation>,
    ) -> Result<Tokenized> {
        let most = most.unwrap_or(usize::MAX);
        let mut document = self
            .encode_up_to(document, most.saturating_add(1))
            .map_err(|reason| Error::document_error(index, format!("it {reason}")))?;
        let cut = document.len() > most;
        document.truncate(most);
        let kept = self.window(truncation).fit(query.len(), document.len());
        let kept = kept.map_err(|reason| Error::document_error(index, reason))?;
        let truncated = cut || kept != (query.len(), document.len());
        Ok(self.fill(&query[..kept.0], &document[..kept.1], truncated))
    }

    /// The room that a pair's texts share, and the rule by which they do.
    pub(crate) fn window(&self, truncation: Option<Truncation>) -> Window {
        Window {
            max_length: self.max_length,
            special: self.template.special_tokens(),
            truncation: truncation.unwrap_or(self.truncation),
        }
    }

    /// A pair of encoded texts that fit.
    pub(crate) fn fill(&self, query: &[u32], document: &[u32], truncated: bool) -> Tokenized {
        let (ids, type_ids) = self.template.fill(query, document);
        Tokenized { ids, type_ids, truncated }
    }

    /// Whether the ids of sentences, side by side, are those of their text: a sentence ends where no step of the
    /// tokenizer sees across.
    pub(crate) fn joins_sentences(&self) -> bool {
        matches!(self.texts, Texts::Bert(_))
    }

    /// The first `limit` ids of a text, at most one more than the window. An error is the end of a sentence.
    pub(crate) fn encode_up_to(&self, text: &str, limit: usize) -> std::result::Result<Vec<u32>, String> {
        let limit = limit.min(self.max_length + 1);
        self.texts.encode(text, limit).map_err(|error| format!("cannot be tokenised: {error}"))
    }
}
