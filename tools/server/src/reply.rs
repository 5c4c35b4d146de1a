//! Answers, as each contract writes them: no null, scores as the shortest decimal that is the same f32, and extras that
//! clients who do not know them pass over.

use std::borrow::Cow;

use crossrank::{Passage, Ranked};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::ask::{Ask, Document, Form};
use crate::options::DocumentForm;
use crate::service::Answer;

/// Documents of a search unit, as Cohere bills them.
const SEARCH_UNIT: usize = 100;

/// Writes an answer. `version` is that of Cohere's interface by whose path the request came.
pub(crate) fn write(
    ask: &Ask,
    answer: &Answer,
    form: DocumentForm,
    version: &'static str,
) -> serde_json::Result<Vec<u8>> {
    match ask.form {
        Form::Tei => serde_json::to_vec(&tei(ask, answer)),
        Form::Results | Form::Data => serde_json::to_vec(&results(ask, answer, form, version)),
        Form::Weaviate => serde_json::to_vec(&weaviate(ask, answer)),
        Form::Nim => serde_json::to_vec(&nim(answer)),
        Form::Score => serde_json::to_vec(&score(answer)),
    }
}

/// One of TEI's array.
#[derive(Serialize)]
pub(crate) struct TeiRank<'a> {
    index: usize,
    score: f32,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tokens: Option<usize>,
    #[serde(skip_serializing_if = "is_false")]
    truncated: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    passage: Option<PassageOf<'a>>,
}

/// TEI's array.
pub(crate) fn tei<'a>(ask: &'a Ask, answer: &Answer) -> Vec<TeiRank<'a>> {
    let rank = |ranked: &Ranked| {
        let text = &*ask.documents[ranked.index].text;
        TeiRank {
            index: ranked.index,
            score: ranked.score,
            text: ask.return_documents.then_some(text),
            tokens: ask.return_tokens.then_some(ranked.tokens),
            truncated: ranked.truncated,
            passage: ranked.passage.as_ref().map(|passage| PassageOf::new(passage, text)),
        }
    };
    answer.ranking.iter().map(rank).collect()
}

#[derive(Serialize)]
struct Results<'a> {
    id: String,
    model: &'a str,
    results: Vec<Result<'a>>,
    /// The same once more, under Voyage's and mixedbread's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Vec<Result<'a>>>,
    #[serde(skip_serializing_if = "<[usize]>::is_empty")]
    not_scored: &'a [usize],
    usage: Usage,
    meta: Meta,
}

#[derive(Serialize)]
struct Result<'a> {
    index: usize,
    relevance_score: f32,
    /// mixedbread's name of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    score: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    document: Option<DocumentOf<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tokens: Option<usize>,
    #[serde(skip_serializing_if = "is_false")]
    truncated: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    passage: Option<PassageOf<'a>>,
    /// By which it stands, where the first stage counts, too.
    #[serde(skip_serializing_if = "Option::is_none")]
    fused: Option<f32>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum DocumentOf<'a> {
    Text(&'a str),
    Object {
        text: &'a str,
    },
    /// As it came, with whatever else it has.
    Given(&'a RawValue),
}

impl<'a> DocumentOf<'a> {
    fn new(document: &'a Document, form: DocumentForm) -> Self {
        let has_text = |object: &RawValue| object.get().contains("\"text\"");
        match (form, &document.object) {
            (DocumentForm::Text, _) => Self::Text(&document.text),
            (DocumentForm::Object, Some(object)) if has_text(object) => Self::Given(object),
            (DocumentForm::Object, _) => Self::Object { text: &document.text },
        }
    }
}

/// The best passage of a document, in code points.
#[derive(Serialize)]
struct PassageOf<'a> {
    index: usize,
    count: usize,
    start: usize,
    end: usize,
    text: &'a str,
}

impl<'a> PassageOf<'a> {
    fn new(passage: &Passage, text: &'a str) -> Self {
        let code_points = passage.code_points(text);
        Self {
            index: passage.index,
            count: passage.count,
            start: code_points.start,
            end: code_points.end,
            text: passage.text(text),
        }
    }
}

#[derive(Serialize)]
struct Usage {
    prompt_tokens: usize,
    total_tokens: usize,
}

impl Usage {
    fn of(answer: &Answer) -> Self {
        Self { prompt_tokens: answer.tokens, total_tokens: answer.tokens }
    }
}

#[derive(Serialize)]
struct Meta {
    api_version: Version,
    billed_units: Billed,
    tokens: MetaTokens,
}

#[derive(Serialize)]
struct Version {
    version: &'static str,
    is_experimental: bool,
}

#[derive(Serialize)]
struct Billed {
    search_units: usize,
}

#[derive(Serialize)]
struct MetaTokens {
    input_tokens: usize,
    output_tokens: usize,
}

fn results<'a>(ask: &'a Ask, answer: &'a Answer, form: DocumentForm, version: &'static str) -> Results<'a> {
    let data = ask.form == Form::Data;
    let all = || {
        let result = |ranked: &Ranked| {
            let document = &ask.documents[ranked.index];
            Result {
                index: ranked.index,
                relevance_score: ranked.score,
                score: data.then_some(ranked.score),
                document: ask.return_documents.then(|| DocumentOf::new(document, form)),
                tokens: ask.return_tokens.then_some(ranked.tokens),
                truncated: ranked.truncated,
                passage: ranked.passage.as_ref().map(|passage| PassageOf::new(passage, &document.text)),
                fused: ranked.fused,
            }
        };
        answer.ranking.iter().map(result).collect()
    };
    Results {
        id: uuid::Uuid::new_v4().to_string(),
        model: &answer.model.name,
        results: all(),
        data: data.then(all),
        not_scored: &answer.not_scored,
        usage: Usage::of(answer),
        meta: Meta {
            api_version: Version { version, is_experimental: false },
            billed_units: Billed { search_units: ask.documents.len().div_ceil(SEARCH_UNIT) },
            tokens: MetaTokens { input_tokens: answer.tokens, output_tokens: 0 },
        },
    }
}

/// As the reference server of Weaviate writes it, whose client reads either `scores` or `score`.
#[derive(Serialize)]
struct Weaviate<'a> {
    query: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    scores: Option<Vec<WeaviateScore<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    property: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    score: Option<f32>,
}

#[derive(Serialize)]
struct WeaviateScore<'a> {
    document: &'a str,
    score: f32,
}

fn weaviate<'a>(ask: &'a Ask, answer: &Answer) -> Weaviate<'a> {
    let query = ask.queries.first().map_or("", |query| query);
    let mut scores = in_order(answer)
        .map(|ranked| WeaviateScore { document: &ask.documents[ranked.index].text, score: ranked.score });
    match ask.property {
        true => {
            let only = scores.next();
            let (property, score) = (only.as_ref().map(|it| it.document), only.as_ref().map(|it| it.score));
            Weaviate { query, scores: None, property, score }
        }
        false => Weaviate { query, scores: Some(scores.collect()), property: None, score: None },
    }
}

#[derive(Serialize)]
struct Nim {
    rankings: Vec<NimRank>,
    usage: Usage,
}

#[derive(Serialize)]
struct NimRank {
    index: usize,
    logit: f32,
    #[serde(skip_serializing_if = "is_false")]
    truncated: bool,
}

fn nim(answer: &Answer) -> Nim {
    let rank =
        |ranked: &Ranked| NimRank { index: ranked.index, logit: ranked.score, truncated: ranked.truncated };
    Nim { rankings: answer.ranking.iter().map(rank).collect(), usage: Usage::of(answer) }
}

#[derive(Serialize)]
struct Scores<'a> {
    id: Cow<'static, str>,
    object: &'static str,
    model: &'a str,
    data: Vec<ScoreOf>,
    usage: Usage,
}

#[derive(Serialize)]
struct ScoreOf {
    index: usize,
    object: &'static str,
    score: f32,
    #[serde(skip_serializing_if = "is_false")]
    truncated: bool,
}

fn score(answer: &Answer) -> Scores<'_> {
    let score = |ranked: &Ranked| ScoreOf {
        index: ranked.index,
        object: "score",
        score: ranked.score,
        truncated: ranked.truncated,
    };
    Scores {
        id: format!("score-{}", uuid::Uuid::new_v4()).into(),
        object: "list",
        model: &answer.model.name,
        data: in_order(answer).map(score).collect(),
        usage: Usage::of(answer),
    }
}

/// In the order of the documents.
fn in_order(answer: &Answer) -> impl Iterator<Item = &Ranked> {
    let mut all: Vec<&Ranked> = answer.ranking.iter().collect();
    all.sort_unstable_by_key(|ranked| ranked.index);
    all.into_iter()
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_false(value: &bool) -> bool {
    !value
}
