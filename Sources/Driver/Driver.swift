// Room Driver: see docs/architecture.md.
