//! What a person sees while training: a progress line, a log in JSON lines, and the curves at the end.
