//! Four-letter words, answered from published status and metrics.
