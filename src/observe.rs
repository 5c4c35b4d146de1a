//! What the Linear layers of the encoder read, for tools that decide how their weights are rounded.

use crossrank_kernels::Rows;

use crate::error::Result;
use crate::reranker::Reranker;
use crate::tokenized::Tokenized;

/// What Linear layers read.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct Reading<'a> {
    /// Names of all that read it, without `.weight`.
    pub linears: &'a [String],
    /// A row a token.
    pub rows: Rows<'a>,
    /// Where a dtype rounds the rows, the norm that they come from and the norm whose residual they are: nothing else
    /// has them.
    pub norms: Option<&'a [String; 2]>,
}

impl Reranker {
    /// Takes pairs through the network together, on the caller's thread, and shows the input of each Linear layer of
    /// encoder and pooler to `observer`. The last layer, of which only the `[CLS]` row is wanted, reads that row alone
    /// except for its keys and values.
    ///
    /// Inputs may hold NaN or infinities where the weights are broken. For tools; no part of the stable interface.
    ///
    /// # Errors
    /// When ids do not fit the model, naming the pair by its index as a document.
    #[doc(hidden)]
    pub fn observe(&self, pairs: &[Tokenized], observer: &mut dyn FnMut(Reading<'_>)) -> Result<()> {
        self.check_all(pairs)?;
        if !pairs.is_empty() {
            self.model().observe(pairs, observer);
        }
        Ok(())
    }
}
