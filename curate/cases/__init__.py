"""Cases: one published case made into a harmonised one, with the record that it is whole."""
