"""Dense nets, plain CNNs, recurrent nets, regression, bags of words: what the first thresholds were set on."""
