"""What an endpoint was at a moment: who served what, from which files, under which rules; kept and compared."""
