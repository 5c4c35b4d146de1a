//! `config.json` and its neighbours: sizes, activation, head. What is not supported is refused by name.

use crate::checkpoint::files::Files;
use crate::checkpoint::json::Fields;
use crate::checkpoint::settings::Settings;
use crate::error::Result;
use crate::family::{Facts, Family};

/// What a model's configuration says, checked.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) family: Family,
    /// What the files say beside the network.
    pub(crate) settings: Settings,
}

impl Config {
    pub(crate) fn parse(files: &Files) -> Result<Self> {
        let json = files.config.json()?;
        let fields = Fields::new(&files.config, &json)?;
        let family = Family::parse(files, &fields)?;
        Ok(Self { family, settings: Settings::parse(files, &fields)? })
    }

    /// What config.json says of the network.
    pub(crate) fn facts(&self) -> &Facts {
        self.family.facts()
    }

    /// The most tokens of a pair that the model allows.
    pub(crate) fn max_positions(&self) -> usize {
        self.facts().window.0
    }

    /// The most tokens of a pair that the model and its settings allow.
    pub(crate) fn window(&self) -> usize {
        let most = self.max_positions();
        self.settings.limit.as_ref().map_or(most, |(limit, _)| (*limit).min(most))
    }

    /// Where that limit stands.
    pub(crate) fn window_field(&self) -> String {
        let (most, field) = self.facts().window;
        match &self.settings.limit {
            Some((limit, field)) if *limit < most => field.clone(),
            _ => format!("{field} of config.json"),
        }
    }
}
