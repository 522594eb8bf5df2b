"""The scenario that `make demo` plays: real people's data, a real model, a real fault, the product's own surfaces."""
