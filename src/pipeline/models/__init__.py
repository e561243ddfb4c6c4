"""Networks: tensors to tensors, no training here."""
