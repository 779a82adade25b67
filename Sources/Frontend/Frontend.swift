// Room Frontend: see docs/architecture.md.
