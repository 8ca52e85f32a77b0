"""What pages ask for: functions that run in a process of their own, take plain values and return what is shown."""
