"""What the makers of published corpora share: listing trees (scan), archives still packed (packed), data directories
(data_dirs), recordings without a speaker (sounds), and what is known of VoxCeleb (voxceleb, meta)."""
