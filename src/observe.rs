//! What the Linear layers of the encoder read, for tools that decide how their weights are rounded.

use crossrank_kernels::{Matrix, Rows};

use crate::error::Result;
use crate::reranker::Reranker;
use crate::tokenized::Tokenized;

/// What Linear layers read.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct Reading<'a> {
    /// Names of all that read it, without `.weight`.
    pub linears: &'a [String],
    /// A row a token, or a row a pair: its `[CLS]`.
    pub rows: Rows<'a>,
    /// Where false, the rows are those of `[CLS]`.
    pub all_tokens: bool,
    /// What is added to the product of each row before the norm that follows, if one does.
    pub residual: Option<Rows<'a>>,
    /// Where each column is what the activation makes of an output of another Linear layer, that one.
    pub neurons_of: Option<&'a str>,
    /// Where a dtype rounds the rows, the norm that they come from and the norm whose residual they are: nothing else
    /// has them.
    pub norms: Option<&'a [String; 2]>,
}

/// For tools; no part of the stable interface.
#[doc(hidden)]
impl Reranker {
    /// What enters the first layer of some pairs: a row a token, pair after pair.
    ///
    /// # Errors
    /// When ids do not fit the model, naming the pair by its index as a document.
    pub fn embed(&self, pairs: &[Tokenized]) -> Result<Matrix> {
        self.check_all(pairs)?;
        Ok(self.model().embed_pairs(pairs))
    }

    /// Takes `hidden`, what enters a layer of these pairs, through it, on the caller's thread, and shows the input of
    /// each of its Linear layers to `observer`. The last layer, of which only the `[CLS]` row is wanted, reads that row
    /// alone except for its keys and values, and leaves it alone in `hidden`; the pooler, if there is one, follows.
    ///
    /// Inputs may hold NaN or infinities where the weights are broken.
    ///
    /// # Panics
    /// When there is no such layer, or `hidden` has not a row for each token.
    pub fn observe(
        &self,
        layer: usize,
        pairs: &[Tokenized],
        hidden: &mut Matrix,
        observer: &mut dyn FnMut(Reading<'_>),
    ) {
        let wrappers = self.model().weights().wrappers();
        if wrappers.is_empty() {
            return self.model().observe(layer, pairs, hidden, observer);
        }
        // Tools look for the names in the file.
        let whole = |name: &str| format!("{wrappers}{name}");
        self.model().observe(layer, pairs, hidden, &mut |reading| {
            let linears: Vec<String> = reading.linears.iter().map(|name| whole(name)).collect();
            let neurons_of = reading.neurons_of.map(whole);
            let norms = reading.norms.map(|norms| norms.each_ref().map(|name| whole(name)));
            observer(Reading {
                linears: &linears,
                neurons_of: neurons_of.as_deref(),
                norms: norms.as_ref(),
                ..reading
            });
        });
    }
}
