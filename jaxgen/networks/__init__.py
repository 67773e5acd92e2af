"""Encoders, decoders, generators and critics: linen modules that know no loss."""
