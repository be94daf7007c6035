# What the tests need besides cargo: BullMQ itself, pinned in tests/interop/node/package-lock.json.
.PHONY: setup
setup:
	cd tests/interop/node && npm ci --ignore-scripts --no-audit --no-fund
