//! What the Linear layers of the encoder read, for tools that decide how their weights are rounded.

use crossrank_kernels::Rows;

use crate::error::Result;
use crate::reranker::Reranker;
use crate::tokenized::Tokenized;

impl Reranker {
    /// Takes pairs through the network together, on the caller's thread, and shows the input of each Linear layer of
    /// encoder and pooler to `observer`: the names of the layers that read it, without `.weight`, and a row a token. The
    /// last layer, of which only the `[CLS]` row is wanted, reads that row alone except for its keys and values.
    ///
    /// Inputs may hold NaN or infinities where the weights are broken. For tools; no part of the stable interface.
    ///
    /// # Errors
    /// When ids do not fit the model, naming the pair by its index as a document.
    #[doc(hidden)]
    pub fn observe(&self, pairs: &[Tokenized], observer: &mut dyn FnMut(&[String], Rows<'_>)) -> Result<()> {
        self.check_all(pairs)?;
        if !pairs.is_empty() {
            self.model().observe(pairs, observer);
        }
        Ok(())
    }
}
