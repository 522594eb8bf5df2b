"""How good the answers are: accuracy and loss, estimated and known; labels' delay; groups; slices; skew."""
