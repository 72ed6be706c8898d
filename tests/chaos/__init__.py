"""The suite under fire; see conftest.py."""
