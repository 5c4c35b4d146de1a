//! `config.json` and its neighbours: sizes, activation, head. What is not supported is refused by name.

use crate::checkpoint::files::Files;
use crate::checkpoint::json::Fields;
use crate::checkpoint::settings::Settings;
use crate::error::Result;
use crate::family::Family;

/// What a model's configuration says, checked.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) family: Family,
    pub(crate) vocab: usize,
    pub(crate) max_positions: usize,
    pub(crate) token_types: usize,
    /// The activation inside the feed-forward network, as the config names it.
    pub(crate) hidden_act_name: String,
    /// What the files say beside the network.
    pub(crate) settings: Settings,
}

impl Config {
    pub(crate) fn parse(files: &Files) -> Result<Self> {
        let json = files.config.json()?;
        let fields = Fields::new(&files.config, &json)?;
        let family = Family::parse(&fields)?;
        let Family::Bert(bert) = &family;
        Ok(Self {
            vocab: bert.vocab,
            max_positions: bert.positions,
            token_types: bert.token_types,
            hidden_act_name: bert.activation_name.clone(),
            family,
            settings: Settings::parse(files, &fields)?,
        })
    }

    /// The most tokens of a pair that the model and its settings allow.
    pub(crate) fn window(&self) -> usize {
        self.settings.limit.as_ref().map_or(self.max_positions, |(limit, _)| (*limit).min(self.max_positions))
    }

    /// Where that limit stands.
    pub(crate) fn window_field(&self) -> &str {
        match &self.settings.limit {
            Some((limit, field)) if *limit < self.max_positions => field,
            _ => "max_position_embeddings of config.json",
        }
    }
}
