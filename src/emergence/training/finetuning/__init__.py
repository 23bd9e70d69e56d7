"""Fine-tuning: a trained network, a head where one is needed, labelled examples, and a loop with early stopping."""
