"""The scenario that `make demo` plays: real people's data, a real model, a real fault, and the product's own surfaces."""
