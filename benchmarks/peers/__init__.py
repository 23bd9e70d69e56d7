"""The contestants: what somebody would use instead, written as its documentation shows it."""
