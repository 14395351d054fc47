"""Scores that other programs have written: read from their files, paired, compared. No pandas, no store."""
