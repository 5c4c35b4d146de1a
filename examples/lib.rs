//! Examples of crossrank, in a package of their own: to run one, nothing is built that only benches and tests need.
