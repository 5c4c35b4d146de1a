"""Other engines and crossrank on the same texts, alternately, in one run."""
