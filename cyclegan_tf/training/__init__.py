"""Training a model: sessions, steps, and the timetable of what is due."""
