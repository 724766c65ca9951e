"""One model replica: ranks and slots, sequences, batches, and the loop that steps them."""
