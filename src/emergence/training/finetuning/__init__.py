"""Fine-tuning: a trained network, a head where one is needed, labelled examples, and a loop with early stopping."""

__all__ = ["ADAPTABLE", "WRITERS"]

#: Own families with hidden states that a head can stand on, and those of them that learn to write answers.
ADAPTABLE = ("gpt", "gpt2", "lstm", "mamba", "bert", "seq2seq", "vae", "word2vec")
WRITERS = ("gpt", "gpt2", "lstm", "mamba", "seq2seq")
