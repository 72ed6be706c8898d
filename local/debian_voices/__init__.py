"""What fetch_debian_voices.py knows of the Debian archive (sources) and of making utterances (clips)."""
