//! Logits to a token id: filters, then a choice.
