"""The numbers behind the presets: functions of the data, the length and the machine, one module a kind of model."""
