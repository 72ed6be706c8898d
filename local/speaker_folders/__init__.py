"""What make_speaker_folders.py knows of utterances and their names (utterances) and of whom to try (trials)."""
