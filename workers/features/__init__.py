"""What two texts say, compared: measures, codes, numbers, negations, abbreviations. All pure."""
